"""Calibration and uncertainty of trained models on their patients, as tables, JSON and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lgg_monai.analysis.output import new_folder, require_new_folder
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import summarise, write_patients_csv
from lgg_monai.extras import require_packages
from lgg_monai.files import write_json
from lgg_monai.progress import Progress, followed
from lgg_monai.robustness.calibration import DEFINITIONS, Counts, calibration, count_voxels, head_of
from lgg_monai.robustness.charts import draw, trust_chart
from lgg_monai.robustness.temperature import DEFINITION, count_logits, judge_temperature
from lgg_monai.robustness.trained import TrainedModel, describe, load_models, patients
from lgg_monai.robustness.uncertainty import MEASURES, judge, uncertainties

REGIONS = ("head", "band")


def measure_trust(
    sources: Sequence[Path],
    output: Path,
    dataset_dir: Path | None = None,
    subset: str | None = None,
    checkpoints: Sequence[Path] = (),
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure calibration and uncertainty, and write them.

    Args:
        sources: see :func:`lgg_monai.robustness.trained.load_models`.
        output: a new or empty folder for ``calibration.json``, ``patients.csv`` and ``calibration.png``.
        dataset_dir: see there.
        subset: see there.
        checkpoints: see there; of several, the mean probability is judged, and their disagreement is an uncertainty.
        device: see there.
        progress: called with patients done, their number, and a name.

    Returns:
        What ``calibration.json`` holds.

    Raises:
        LggError: a model cannot be loaded, or the folder cannot be written.
    """
    require_new_folder(output)
    require_packages("compare", "matplotlib", what="drawing the results")
    models = load_models(sources, dataset_dir, subset, checkpoints, device)
    rows, counts, logits = [], [], []
    members = patients(models)
    for model, entry in followed(members, progress, lambda own: own[1]["patient"]):
        row, own, own_logits = judge_patient(model, entry)
        rows.append(row)
        counts.append(own)
        logits.append(own_logits)
    dice, scans = [row["volume_dice"] for row in rows], [row["patient"] for row in rows]
    names = [name for name in MEASURES if all(name in row for row in rows)]
    content = {
        **describe(models),
        "definitions": DEFINITIONS | {"temperature": DEFINITION} | {name: MEASURES[name] for name in names},
        "volume_dice": summarise(rows)["volume_dice"],
        "calibration": {region: calibration([own[region] for own in counts], scans) for region in REGIONS},
        "temperature": judge_temperature(logits, scans, [model.label for model, _ in members]),
        "uncertainty": {name: judge([row[name] for row in rows], dice, scans) for name in names},
    }
    with new_folder(output) as folder:
        write_json(folder / "calibration.json", content)
        write_patients_csv(folder / "patients.csv", rows)
        draw(folder, trust_chart(content, rows), content["phantom"])
    return content


def judge_patient(model: TrainedModel, entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Counts], np.ndarray]:
    """Segment one patient with every network, as it is and mirrored.

    Returns:
        The patient's row (scores, calibration error of its own, uncertainties), its counts by region, and those of the
        head by logit.
    """
    image, label = model.read(entry), model.label_of(entry)[0].numpy().astype(bool)
    plain = [model.probability(image, number) for number in range(len(model.networks))]
    mirrored = [model.probability(image, number, mirrored=True) for number in range(len(model.networks))]
    probability = torch.stack(plain).mean(dim=0)
    mask = model.mask(probability).numpy()
    head = head_of(np.asarray(image))
    counts = count_voxels(probability[0].numpy(), label, head)
    row = {key: entry[key] for key in ("patient", "site", "part")} | score_volume(mask, label)
    for region in REGIONS:
        row[f"ece_{region}"] = calibration([counts[region]], [entry["patient"]], resamples=1)["ece"]
    masks, mirrors = ([model.mask(own).numpy() for own in several] for several in (plain, mirrored))
    row |= uncertainties(probability[0].numpy(), mask, masks, mirrors)
    return row, counts, count_logits(probability[0].numpy(), label, head)
