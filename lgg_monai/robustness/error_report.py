"""What the errors of scored runs consist of, and what mending each kind would bring, as tables, JSON and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.output import new_folder, require_new_folder, write_table
from lgg_monai.analysis.paired import paired_difference
from lgg_monai.analysis.runs import Run, require_scored_apart
from lgg_monai.analysis.scoring import describe_runs
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.predictions import PREDICTIONS, read_prediction
from lgg_monai.engines.probabilities import PROBABILITIES, read_probability
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import summarise, write_patients_csv
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.files import write_json
from lgg_monai.progress import Progress, followed
from lgg_monai.robustness.charts import draw, error_chart
from lgg_monai.robustness.error_types import (
    DEFINITIONS,
    GROUPS,
    TYPES,
    count_parts,
    error_types,
    mended,
    neighbour_dice,
)
from lgg_monai.robustness.labels import LabelReader
from lgg_monai.robustness.uncertainty import judge

CERTAIN = 0.95
COLUMNS = (
    "errors", "voxels", "share", "patients", "mean_dice_mended", "gain", "low", "high", "certain_share", "definition",
)  # fmt: skip
METHOD = {
    "share": "of all voxels in which prediction and label differ, patients pooled",
    "patients": "patients with at least one such voxel",
    "gain": "mean volume Dice had these voxels alone been right, minus what it is; 95 % interval over people",
    "certain_share": (
        f"share of these voxels where the network is certain of the contrary: its probability of tumour is below "
        f"{1 - CERTAIN:.2f} in tumour, above {CERTAIN} outside (needs the runs' kept probabilities)"
    ),
    "neighbour_dice": "mean Dice of every two neighbouring slices in which the label has tumour",
}


def explain_errors(
    sources: Sequence[Path], output: Path, dataset_dir: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Divide the errors of every test patient, and write what they consist of.

    Args:
        sources: scored run folders that were tested on different patients, or the folder of a cross-validation.
        output: a new or empty folder for ``errors.csv``, ``errors.json``, ``patients.csv`` and ``errors.png``.
        dataset_dir: folder of the patients; by default where they lay in training.
        progress: called with patients done, their number, and a name.

    Returns:
        What ``errors.json`` holds.

    Raises:
        LggError: a run is not scored, shares patients with another, or a label is missing or was changed since.
    """
    require_new_folder(output)
    require_packages("compare", "matplotlib", what="drawing the results")
    runs = require_scored_apart(sources)
    described = describe_runs(runs)
    reader = LabelReader(dataset_dir)
    members = [(run, entry) for run in runs for entry in run.datalist["test"]]
    rows = [_judge(run, entry, reader) for run, entry in followed(members, progress, lambda own: own[1]["patient"])]
    rows.sort(key=lambda row: row["patient"])
    content = {
        **described,
        "method": METHOD,
        "definitions": DEFINITIONS,
        "patients": len(rows),
        "volume_dice": summarise(rows)["volume_dice"],
        "table": error_table(rows),
        "parts": {
            name: sum(row[name] for row in rows)
            for name in ("label_parts", "missed_parts", "predicted_parts", "added_parts")
        },
        "neighbour_dice": {
            name: {
                "mean": _mean([row[f"neighbour_dice_{name}"] for row in rows]),
                **_correlation(rows, f"neighbour_dice_{name}"),
            }
            for name in ("label", "prediction")
        },
    }
    with new_folder(output) as folder:
        write_table(folder / "errors.csv", COLUMNS, content["table"])
        write_json(folder / "errors.json", content)
        write_patients_csv(folder / "patients.csv", rows)
        draw(folder, error_chart(content["table"]), content["phantom"])
    return content


def error_table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one line a type of error, then one a kind, both sides together.

    Args:
        rows: one a patient, with what :func:`lgg_monai.robustness.error_types.mended` needs, ``volume_dice``, and
            where probabilities are known ``certain_<type>``.

    Returns:
        Lines with the keys of `COLUMNS`.
    """
    total = sum(row[name] for row in rows for name in TYPES)
    table = []
    for name, types in GROUPS.items():
        voxels = [sum(row[own] for own in types) for row in rows]
        without = [{"volume_dice": mended(row, types)} for row in rows]
        gain = paired_difference("volume_dice", rows, without)
        low, high = gain["ci95"] or (None, None)
        known = all(f"certain_{own}" in row for row in rows for own in types)
        certain = sum(row[f"certain_{own}"] for row in rows for own in types) if known else 0
        table.append(
            {
                "errors": name,
                "voxels": sum(voxels),
                "share": sum(voxels) / total if total else None,
                "patients": sum(own > 0 for own in voxels),
                "mean_dice_mended": float(np.mean([row["volume_dice"] for row in without])),
                "gain": gain["difference"],
                "low": low,
                "high": high,
                "certain_share": certain / sum(voxels) if known and sum(voxels) else None,
                "definition": DEFINITIONS.get(name, "both sides together"),
            }
        )
    return table


def _judge(run: Run, entry: dict[str, Any], reader: LabelReader) -> dict[str, Any]:
    """Divide one patient's errors."""
    name, evaluation = entry["patient"], run.folder / EVALUATION
    prediction = read_prediction(evaluation / PREDICTIONS / f"{name}.npz")
    label = reader.of(run, entry, prediction.shape)
    scores = score_volume(prediction, label)
    # What was scored is what is divided here, or the table would explain other errors than those reported.
    if any(scores[key] != run.patients[name][key] for key in ("intersection", "union")):
        raise LggError(f"patient {name}: the prediction is not the one scored in {evaluation}: evaluate again")
    masks = error_types(prediction, label)
    row = {"patient": name, "site": entry["site"], "part": "test"} | scores
    row |= {kind: int(mask.sum()) for kind, mask in masks.items()} | count_parts(prediction, label)
    slices = np.asarray(label.any(axis=(0, 1)))
    row |= {
        "neighbour_dice_label": neighbour_dice(label, slices),
        "neighbour_dice_prediction": neighbour_dice(prediction, slices),
    }
    kept = evaluation / PROBABILITIES / f"{name}.npz"
    if kept.is_file():
        probability = read_probability(kept)
        # Of the contrary to what the label says, on either side.
        sure = np.where(label, probability < 1 - CERTAIN, probability > CERTAIN)
        row |= {f"certain_{kind}": int((mask & sure).sum()) for kind, mask in masks.items()}
    return row


def _mean(values: Sequence[float]) -> float | None:
    """Average what is defined; None where nothing is, as of patients without tumour."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _correlation(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Correlate a property of the patients with their Dice, by ranks, over those who have it."""
    known = [row for row in rows if np.isfinite(row[name])]
    if not known:
        return {"rank_correlation_with_dice": None, "rank_correlation_ci95": None}
    values, dice, patients = ([row[key] for row in known] for key in (name, "volume_dice", "patient"))
    entry = judge(values, dice, patients)
    return {
        "rank_correlation_with_dice": entry["rank_correlation"],
        "rank_correlation_ci95": entry["rank_correlation_ci95"],
    }
