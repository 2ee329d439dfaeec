"""Probability maps that evaluations kept of their test patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lgg_monai.analysis.runs import Run
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.probabilities import PROBABILITIES, read_probability
from lgg_monai.errors import LggError


def require_probabilities(runs: Sequence[Run]) -> None:
    """Prove that runs were scored with kept probabilities, and that those of all test patients are there.

    Raises:
        LggError: names a run that was not, or lacks some.
    """
    for run in runs:
        folder = run.folder / EVALUATION / PROBABILITIES
        if not folder.is_dir():
            raise LggError(f"{run.folder} holds no probabilities: evaluate it with --probabilities True")
        names = [entry["patient"] for entry in run.datalist["test"]]
        missing = [name for name in names if not (folder / f"{name}.npz").is_file()]
        if missing:
            message = (
                f"{folder} lacks the probabilities of patient {missing[0]} ({len(missing)} of {len(names)} in all): "
                "copy them as well, or evaluate the run again with --probabilities True"
            )
            raise LggError(message)


def kept_probability(run: Run, entry: Mapping[str, Any]) -> np.ndarray:
    """Read a test patient's probability of tumour, float32 ``[X, Y, Z]``.

    Raises:
        LggError: there is none, or it cannot be read.
    """
    return read_probability(run.folder / EVALUATION / PROBABILITIES / f"{entry['patient']}.npz")
