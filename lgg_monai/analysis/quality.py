"""Scores of the test patients of all runs: every convention, paired differences, and patients by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lgg_monai.analysis.paired import paired_difference, paired_differences
from lgg_monai.analysis.runs import Run
from lgg_monai.engines.summary import summarise

WORST = 5  # patients that a comparison and a cross-validation tell of


def common_patients(runs: Sequence[Run]) -> list[str]:
    """Name the patients that every run scored and none of them saw in training, sorted."""
    return sorted(set.intersection(*(set(run.patients) for run in runs)))


def compare_quality(runs: Sequence[Run]) -> dict[str, Any]:
    """Compare the runs on their test patients.

    Returns:
        ``available``; where it is False, ``reasons`` (one a run that lacks scores), else ``patients`` (those that all
        runs tested on), ``summaries`` (of `summarise`, one a run, over these patients), ``paired`` (one a run after the
        first: ``volume_dice`` and so on, other minus first), ``groups`` (``all``, missing sequences, sites, and
        folds where all runs are cross-validations with the same), ``table`` (the patients' Dice by run) and ``worst``
        (the rows of those with the lowest Dice in the mean of the runs).
    """
    reasons = [f"{run.label}: {run.unscored}" for run in runs if run.unscored]
    names = [] if reasons else common_patients(runs)
    if not reasons and not names:
        reasons = ["the runs have no test patient in common"]
    if reasons:
        return {"available": False, "reasons": reasons}
    rows = [[run.patients[name] for name in names] for run in runs]
    table = [_patient(name, runs) for name in names]
    return {
        "available": True,
        "reasons": [],
        "patients": names,
        "left_out": sorted(set().union(*(run.patients for run in runs)) - set(names)),
        "summaries": [summarise(own) for own in rows],
        "paired": [paired_differences(rows[0], own) for own in rows[1:]],
        "groups": [_group(title, members, runs) for title, members in _groups(runs, names)],
        "table": table,
        "worst": sorted(table, key=lambda row: (float(np.mean(row["volume_dice"])), row["patient"]))[:WORST],
    }


def _groups(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Give each group's title and its patients; a group without patients is left out."""
    run = runs[0]
    missing = {name for name in names if _number(run, name, "missing_sequences") > 0}
    groups = [
        ("all patients", list(names)),
        ("all sequences acquired", [name for name in names if name not in missing]),
        ("a sequence missing", [name for name in names if name in missing]),
    ]
    for site in sorted({str(run.patients[name]["site"]) for name in names}):
        groups.append((f"site {site}", [name for name in names if run.patients[name]["site"] == site]))
    if all([set(part.patients) for part in own.folds] == [set(part.patients) for part in run.folds] for own in runs):
        groups += [(part.folder.name, [name for name in names if name in part.patients]) for part in run.folds]
    return [(title, members) for title, members in groups if members]


def _group(title: str, members: Sequence[str], runs: Sequence[Run]) -> dict[str, Any]:
    rows = [[run.patients[name] for name in members] for run in runs]
    dice = [[row["volume_dice"] for row in own] for own in rows]
    return {
        "title": title,
        "n": len(members),
        "mean": [float(np.mean(own)) for own in dice],
        "median": [float(np.median(own)) for own in dice],
        "paired": [paired_difference("volume_dice", rows[0], own) for own in rows[1:]],
    }


def _patient(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    first = runs[0].patients[name]
    return {
        "patient": name,
        "site": first["site"],
        "missing_sequences": _number(runs[0], name, "missing_sequences"),
        "tumour_voxels": first["tumour_voxels"],
        "volume_dice": [run.patients[name]["volume_dice"] for run in runs],
    }


def _number(run: Run, name: str, key: str) -> float:
    value = float(run.patients[name].get(key, 0.0))
    return 0.0 if math.isnan(value) else value
