"""The robustness table: mean Dice under each degradation, and its paired difference to the clean scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lgg_monai.analysis.output import new_folder, require_new_folder, write_table
from lgg_monai.analysis.paired import RESAMPLES, SEED, paired_difference
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import summarise, write_patients_csv
from lgg_monai.extras import require_packages
from lgg_monai.files import write_json
from lgg_monai.progress import Progress, followed
from lgg_monai.robustness.charts import draw, robustness_chart
from lgg_monai.robustness.degradations import CLEAN, DEGRADATIONS
from lgg_monai.robustness.degrade import Degradation, degrade, restore
from lgg_monai.robustness.trained import TrainedModel, describe, load_models, patients

COLUMNS = (
    "degradation", "severity", "patients", "mean_dice", "median_dice", "difference", "low", "high", "worse",
    "lowest_dice", "sensitivity", "precision", "false_positive_slices", "definition",
)  # fmt: skip
METHOD = (
    "Each degradation is applied to the scan as it was read, before preprocessing; predictions of moved scans are "
    "mapped back to the scan's own grid as probabilities. Difference: mean volume Dice minus that of the clean scans, "
    f"people resampled in pairs {RESAMPLES} times with seed {SEED}, 95 % percentile interval; worse: patients who "
    "lose Dice. Changes that the normalisation undoes exactly show as 0."
)


def measure_robustness(
    sources: Sequence[Path],
    output: Path,
    dataset_dir: Path | None = None,
    subset: str | None = None,
    checkpoint: Path | None = None,
    device: str | None = None,
    degradations: Sequence[Degradation] = DEGRADATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score patients with clean and degraded scans, and write the table.

    Args:
        sources: see :func:`lgg_monai.robustness.trained.load_models`.
        output: a new or empty folder for ``robustness.csv``, ``robustness.json``, ``patients.csv`` and
            ``robustness.png``.
        dataset_dir: see there.
        subset: see there.
        checkpoint: weights instead of the run's best.
        device: see there.
        degradations: what is done, one row each.
        seed: of what is random in them.
        progress: called with patients done, their number, and a name.

    Returns:
        What ``robustness.json`` holds.

    Raises:
        LggError: the model cannot be loaded, or the folder cannot be written.
    """
    require_new_folder(output)
    require_packages("compare", "matplotlib", what="drawing the results")
    models = load_models(sources, dataset_dir, subset, [checkpoint] if checkpoint else [], device)
    rows = score_degraded(models, degradations, seed, progress)
    table = robustness_table(rows, degradations)
    content = {
        **describe(models),
        "seed": seed,
        "method": METHOD,
        "clean": summarise(rows[CLEAN.label]),
        "table": table,
    }
    with new_folder(output) as folder:
        write_table(folder / "robustness.csv", COLUMNS, table)
        write_json(folder / "robustness.json", content)
        every = [row for degradation in (CLEAN, *degradations) for row in rows[degradation.label]]
        write_patients_csv(folder / "patients.csv", every)
        draw(folder, robustness_chart(table), content["phantom"])
    return content


def score_degraded(
    models: Sequence[TrainedModel],
    degradations: Sequence[Degradation],
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Score every patient clean and under each degradation; each patient is read once.

    Returns:
        Rows of scores by the degradation's label, patients in one order.
    """
    rows: dict[str, list[dict[str, Any]]] = {degradation.label: [] for degradation in (CLEAN, *degradations)}
    for model, entry in followed(patients(models), progress, lambda own: own[1]["patient"]):
        image, label = model.read(entry), model.label_of(entry)[0].numpy().astype(bool)
        for degradation in (CLEAN, *degradations):
            degraded, transform = degrade(degradation, image, entry["copied_sequences"], entry["patient"], seed)
            found = model.probability(degraded.as_tensor())
            mask = model.mask(restore(degradation, transform, found, degraded))
            row = {key: entry[key] for key in ("patient", "site", "part")} | {"degradation": degradation.label}
            rows[degradation.label].append(row | score_volume(mask.numpy(), label))
    return rows


def robustness_table(
    rows: dict[str, list[dict[str, Any]]], degradations: Sequence[Degradation]
) -> list[dict[str, Any]]:
    """Make one line a degradation, the clean scans first."""
    table = []
    for degradation in (CLEAN, *degradations):
        own = rows[degradation.label]
        summary = summarise(own)
        entry = paired_difference("volume_dice", rows[CLEAN.label], own)
        low, high = entry["ci95"] or (None, None)
        table.append(
            {
                "degradation": degradation.name,
                "severity": degradation.severity,
                "patients": len(own),
                "mean_dice": summary["volume_dice"]["mean"],
                "median_dice": summary["volume_dice"]["median"],
                "difference": entry["difference"],
                "low": low,
                "high": high,
                "worse": entry["lower"],
                "lowest_dice": summary["volume_dice"]["min"],
                "sensitivity": summary["sensitivity"]["mean"],
                "precision": summary["precision"]["mean"],
                "false_positive_slices": summary["false_positive_slices"]["mean"],
                "definition": degradation.definition,
            }
        )
    return table
