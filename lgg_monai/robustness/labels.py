"""True masks of the patients that runs were tested on, proved to be those of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.runs import Run
from lgg_monai.data.integrity import fingerprint_of
from lgg_monai.data.patients import is_turned, patient_of, patients_by_name, read_patient
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.errors import LggError


class LabelReader:
    """Read labels from where they lay in training, or from another folder.

    Args:
        dataset_dir: folder of the patients; by default where they lay in training.
    """

    def __init__(self, dataset_dir: Path | None = None) -> None:
        self._here = patients_by_name(dataset_dir)

    def of(self, run: Run, entry: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        """Return a test patient's true mask, boolean ``[X, Y, Z]``.

        Raises:
            LggError: there is none, or image or mask are not those that were trained with and scored.
        """
        name = entry["patient"]
        patient = self._here.get(name) or patient_of(dict(entry))
        image, stored = read_patient(patient)
        if stored is None:
            raise LggError(f"patient {name} has no label in {patient.image}: give labelled patients by --dataset_dir")
        evaluation = run.folder / EVALUATION
        read = json.dumps(run.evaluation.get("config", {}).get("preprocessing", "")) if run.evaluation else ""
        if is_turned(patient) and "Orientation" not in read:
            # A mask turned upside down has the same size and as many voxels.
            message = (
                f"{evaluation} is of before NIfTI files were turned to LPS, as {name}'s has to be: evaluate it again"
            )
            raise LggError(message)
        label = np.asarray(stored)[0] > 0
        # Otherwise what is told here would be of other labels than those that were scored.
        same = label.shape == tuple(shape) and int(label.sum()) == run.patients[name]["tumour_voxels"]
        # Evaluations are of the data that the run was trained with. A list that was written by hand knows no pixels.
        known = entry.get("fingerprint")
        if not same or (known and fingerprint_of(image, stored) != known):
            message = (
                f"patient {name}: image or label in {patient.image} are not those that {evaluation} scored: give the "
                "patients as they were by --dataset_dir, or train and evaluate on those that are there"
            )
            raise LggError(message)
        return label
