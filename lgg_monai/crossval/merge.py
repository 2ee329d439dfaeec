"""The folds' scores as one table: every patient scored once, by a model that never saw it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.quality import WORST
from lgg_monai.analysis.runs import Run, load_run
from lgg_monai.crossval.folds import fold_folder, require_same_settings
from lgg_monai.crossval.plan import Plan
from lgg_monai.data.seen import identities, seen_as
from lgg_monai.engines.checkpoints import BEST
from lgg_monai.engines.settings import different_settings, shared_settings
from lgg_monai.engines.summary import METRICS, summarise, write_patients_csv
from lgg_monai.errors import LggError
from lgg_monai.files import write_json

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"
PATIENTS = "patients.csv"
SCORED_WITH = {"network_def", "preprocessing", "postprocessing"}
"""What training and evaluation share, and scores depend on."""
# The headline metrics of the worst patients' list, and what tells why they are the worst.
TOLD = ("volume_dice", "hd95_px", "sensitivity", "precision", "false_positive_slice_count", "tumour_voxels")


def merge_folds(plan: Plan, output: Path) -> dict[str, Any]:
    """Pool the out-of-fold scores and write ``patients.csv`` and ``summary.json``.

    Args:
        plan: of the cross-validation.
        output: its folder, with every fold scored.

    Returns:
        What ``summary.json`` holds.

    Raises:
        LggError: a fold is missing, has other data or settings, saw a patient that it scored, or does not score the
            best epoch's weights; or a patient is scored twice or not at all.
    """
    runs = [load_run(fold_folder(output, fold), f"fold {fold}") for fold in range(plan.folds)]
    for fold, run in enumerate(runs):
        _require_sound(plan, fold, run, runs[0])
    _require_once(runs)
    rows = [_row(fold, row) for fold, run in enumerate(runs) for row in run.patients.values()]
    rows.sort(key=lambda row: row["patient"])
    folds = [_fold(plan, fold, run) for fold, run in enumerate(runs)]
    remarks = _remarks(runs)
    for remark in remarks:
        logger.warning("%s", remark)
    summary = {
        "bundle": plan.bundle,
        "split": plan.split,
        "folds": plan.folds,
        "phantom": any(run.phantom for run in runs),
        "fingerprint": runs[0].datalist["fingerprint"],
        "overrides": plan.overrides,
        "evaluation_overrides": plan.evaluation,
        "remarks": remarks,
        **summarise(rows),
        "by_fold": folds,
        "fold_spread": {name: _spread([fold["scores"][name] for fold in folds]) for name in METRICS},
        "worst": [
            {key: row[key] for key in ("patient", "site", "fold", *TOLD)}
            for row in sorted(rows, key=lambda row: (row["volume_dice"], row["patient"]))[:WORST]
        ],
    }
    write_patients_csv(output / PATIENTS, rows)
    write_json(output / SUMMARY, summary)
    return summary


def _require_sound(plan: Plan, fold: int, run: Run, first: Run) -> None:
    if run.unscored:
        raise LggError(f"{run.folder}: {run.unscored}: run the cross-validation again, which scores it")
    require_same_settings(plan, run.folder)
    if run.datalist.get("fingerprint") != first.datalist.get("fingerprint"):
        raise LggError(f"{run.folder} was trained on other data than {first.folder}: train both on the same patients")
    if run.datalist.get("fold") != fold:
        message = (
            f"{run.folder} holds fold {run.datalist.get('fold')} by its datalist: name each fold's folder by its fold"
        )
        raise LggError(message)
    scored, expected = Path(str(run.evaluation.get("checkpoint"))).parts[-3:], (run.folder.name, "checkpoints", BEST)
    if scored != expected:
        message = (
            f"{run.folder} was scored with {run.evaluation.get('checkpoint')}, not its own {BEST}: "
            "remove its evaluation folder and run the cross-validation again"
        )
        raise LggError(message)
    ways = [own.evaluation.get("config") or {} for own in (first, run)]
    # A fold may have been scored by itself since, without repeating what matters to its training alone.
    of_training = plan.settings.keys() - SCORED_WITH
    by_purpose = {"checkpoint", "pictures", "probabilities", "subset"}
    differences = set(different_settings(*map(shared_settings, ways))) - of_training - by_purpose
    if differences:
        message = (
            f"{first.folder} and {run.folder} were scored with different settings "
            f"({', '.join(sorted(differences)[:5])}): remove the evaluation folders of both, "
            "and run the cross-validation again"
        )
        raise LggError(message)


def _require_once(runs: Sequence[Run]) -> None:
    """Prove that each patient is tested in one fold, and that this fold's model learnt and chose nothing by it."""
    everyone = {entry["patient"] for run in runs for part in ("training", "validation") for entry in run.datalist[part]}
    owners: dict[str, Run] = {}
    for run in runs:
        learnt = [entry for part in ("training", "validation") for entry in seen_as(run.datalist, part)]
        seen = {identity for entry in learnt for identity in identities(entry)}
        for entry in run.datalist["test"]:
            other = owners.setdefault(entry["patient"], run)
            if other is not run:
                raise LggError(f"patient {entry['patient']} is tested in {other.folder} and {run.folder}: split anew")
            if identities(entry) & seen:
                message = f"patient {entry['patient']} of {run.folder}, or another scan of this person,"
                raise LggError(f"{message} took part in its training: split anew")
    untested = sorted(everyone - set(owners))
    if untested:
        raise LggError(f"patient {untested[0]} is tested in no fold ({len(untested)} in all): split anew")


def _row(fold: int, row: dict[str, Any]) -> dict[str, Any]:
    """Put the fold beside the patient; counts, which were read as any number, are whole again."""
    scores = {key: value for key, value in row.items() if key not in ("patient", "site", "part")}
    whole = {key: _whole(value) if key not in METRICS else value for key, value in scores.items()}
    return {"patient": row["patient"], "site": row["site"], "part": row["part"], "fold": fold} | whole


def _whole(value: float) -> float | int:
    return int(value) if math.isfinite(value) and value == int(value) else value


def _fold(plan: Plan, fold: int, run: Run) -> dict[str, Any]:
    own = summarise(list(run.patients.values()))
    return {
        "fold": fold,
        **({"site": plan.sites[fold]} if plan.sites else {}),
        "patients": len(run.patients),
        "epochs": run.record.get("epochs"),
        "seconds": sum(float(row["seconds"]) for row in run.history),
        "device": run.record.get("device"),
        "dtype": run.record.get("precision"),
        "commit": run.record.get("commit"),
        "versions": run.record.get("versions"),
        "median_volume_dice": own["volume_dice"]["median"],
        "scores": {name: own[name]["mean"] for name in METRICS},
    }


def _remarks(runs: Sequence[Run]) -> list[str]:
    """Say by what folds differ that were made on several machines, or before and after an update: no settings do."""
    remarks = []
    records = {"trained": [run.record for run in runs], "scored": [run.evaluation for run in runs]}
    for what, own in records.items():
        facts = [
            {"type": record.get("dtype", record.get("precision")), "commit": record.get("commit")}
            | (record.get("versions") or {})
            for record in own
        ]
        for name in dict.fromkeys(name for fact in facts for name in fact):
            folds: dict[str, list[str]] = {}
            for fold, fact in enumerate(facts):
                folds.setdefault(str(fact.get(name)), []).append(str(fold))
            if len(folds) > 1:
                found = ", ".join(f"{value} (fold {', '.join(numbers)})" for value, numbers in folds.items())
                remarks.append(f"The folds were not {what} alike: {name} is {found}.")
    for fold, run in enumerate(runs):
        for before in run.record.get("made_with_before") or []:
            made = ", ".join(f"{name} {value}" for name, value in before.items())
            remarks.append(f"Fold {fold} was resumed with something else than what made its first part: {made}.")
    return remarks


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Describe the folds' means: unlike the interval over patients, it shows how far trainings differ."""
    known = np.array([value for value in values if value is not None])
    if not known.size:
        return {"mean": None, "std": None, "min": None, "max": None}
    std = float(known.std(ddof=1)) if known.size > 1 else None
    return {"mean": float(known.mean()), "std": std, "min": float(known.min()), "max": float(known.max())}
