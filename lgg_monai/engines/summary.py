"""Aggregates of per-patient scores, each named by its convention and with a bootstrap interval over patients."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.people import scans_of
from lgg_monai.engines.bootstrap import RESAMPLES, draw_people, drawn_sums, drawn_values, finite, interval, people_of
from lgg_monai.errors import LggError
from lgg_monai.files import replacing
from lgg_monai.words import counted

Row = Mapping[str, Any]
IDENTITY = ("patient", "site", "part")


@dataclass(frozen=True)
class Metric:
    """How a metric is averaged.

    Args:
        definition: one sentence for reports.
        weight: None for the mean over patients; for a metric that pools slices, the column with each patient's
            number of such slices; for one that divides two pooled counts, the column below the fraction.
        numerator: the column above the fraction, where it is not the metric times its weight.
        if_nothing: the value where there is nothing to divide by.
    """

    definition: str
    weight: str | None = None
    numerator: str | None = None
    if_nothing: float = math.nan


METRICS: dict[str, Metric] = {
    "volume_dice": Metric(
        "Dice over a patient's whole volume, then mean and median over patients; empty and empty is 1."
    ),
    "volume_iou": Metric(
        "IoU over a patient's whole volume, then mean and median over patients; empty and empty is 1."
    ),
    "pooled_iou": Metric(
        "One intersection over one union of all voxels of all patients.",
        weight="union",
        numerator="intersection",
        if_nothing=1.0,
    ),
    "tumour_slice_iou": Metric("Mean IoU over all slices whose mask is not empty.", weight="tumour_slices"),
    "all_slice_iou": Metric(
        "Mean IoU over all slices; empty and empty is 1, empty and not empty 0: reads high, as most slices are empty.",
        weight="slices",
    ),
    "false_positive_slices": Metric(
        "Share of all tumour-free slices with any predicted voxel.",
        weight="empty_slices",
        numerator="false_positive_slice_count",
    ),
    "hd95_px": Metric(
        "95th percentile Hausdorff distance of the volume's surfaces in voxel steps (no spacing is recorded), over "
        "patients; undefined where just one mask is empty."
    ),
    "surface_dice_2px": Metric(
        "Share of both surfaces within 2 voxel steps of the other, over patients; one empty mask is 0."
    ),
    "sensitivity": Metric(
        "Share of a patient's tumour voxels that are predicted, over patients; undefined without tumour."
    ),
    "precision": Metric(
        "Share of a patient's predicted voxels that are tumour, over patients; undefined where nothing is predicted."
    ),
}


def summarise(rows: Sequence[Row], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Aggregate the rows of `score_volume` over patients.

    All intervals are 95 % percentile bootstrap intervals that resample people, each with all scans, never scans or
    slices: those of one person are not independent. The same resamples serve every metric.

    Args:
        rows: one mapping a patient with the keys of `score_volume`, ``patient`` and, if known, ``site`` and ``part``.
        resamples: number of bootstrap resamples.
        seed: makes the intervals reproducible.

    Returns:
        For each name in `METRICS` a dictionary with ``mean``, ``ci95`` of the mean as ``[low, high]``, ``median``,
        ``median_ci95``, ``std`` (of a sample, n - 1), ``min``, ``max``, ``n`` (patients with a defined value),
        ``undefined`` (the others) and ``definition``. A pooled metric has the pooled value as its mean and None for
        what is a property of single patients (median, std, min, max). Then ``patients``, ``people`` (fewer, where
        names tell several scans of one person), ``slices``, ``tumour_slices``, ``bootstrap`` (resamples, seed) and,
        where rows name sites, ``by_site`` with ``n``, ``mean`` and ``median`` of ``volume_dice``. Undefined numbers
        are None, so that it is valid JSON; so are the intervals of a single person.

    Raises:
        LggError: there are no rows.
    """
    if not rows:
        raise LggError("no patient was scored in this evaluation: give at least one patient that has a label")
    people = people_of([row["patient"] for row in rows])
    drawn = draw_people(people, resamples, seed)
    summary: dict[str, Any] = {name: _aggregate(name, metric, rows, people, drawn) for name, metric in METRICS.items()}
    summary["patients"] = len(rows)
    summary["people"] = len(set(people))
    summary["slices"] = int(_column(rows, "slices").sum())
    summary["tumour_slices"] = int(_column(rows, "tumour_slices").sum())
    summary["bootstrap"] = {"resamples": resamples, "seed": seed, "unit": "person"}
    sites = sorted({str(row["site"]) for row in rows if row.get("site")})
    if sites:
        summary["by_site"] = {site: _site([row for row in rows if row.get("site") == site]) for site in sites}
    return summary


def write_patients_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write one line a patient: who it is, counts, scores with six decimals; an undefined score is an empty cell.

    Args:
        path: the file, replaced at once or not at all.
        rows: as for `summarise`; the first row's keys order the columns.
    """
    scores = [key for key in (rows[0] if rows else {}) if key not in IDENTITY]
    with replacing(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*IDENTITY, *scores])
        for row in rows:
            writer.writerow([*(row.get(key, "") for key in IDENTITY), *(_cell(row.get(key)) for key in scores)])


def format_summary(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as a plain text table for the log: one line a metric, no trailing newline."""
    table = [["metric", "mean", "median", "95 % interval", "n"]]
    for name in METRICS:
        entry = summary[name]
        bounds = "-" if entry["ci95"] is None else " to ".join(_number(bound) for bound in entry["ci95"])
        table.append([name, _number(entry["mean"]), _number(entry["median"]), bounds, str(entry["n"])])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in table)
    ]
    patients, people = summary["patients"], summary["people"]
    scans = "" if people == patients else f" ({scans_of(people)})"
    who = counted(patients, "patient") + scans
    counts = f"{who}, {counted(summary['slices'], 'slice')}, {summary['tumour_slices']} with tumour"
    unit = "patients" if people == patients else "people"
    bounds = f"interval of the mean, bootstrap over {unit}" if people > 1 else "one person allows no interval"
    return "\n".join([*lines, f"{counts}; {bounds}"])


def _aggregate(name: str, metric: Metric, rows: Sequence[Row], people: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    above, below, defined = quotient(name, rows)
    pooled = metric.weight is not None
    several = len(set(people[defined])) > 1
    mean = divide(above.sum(), below.sum(), metric.if_nothing)
    means = divide(drawn_sums(above, people, drawn), drawn_sums(below, people, drawn), metric.if_nothing)
    entry: dict[str, Any] = {
        "mean": finite(mean),
        "median": None,
        "ci95": interval(means) if several else None,
        "median_ci95": None,
        "std": None,
        "n": int(defined.sum()),
        "undefined": int((~defined).sum()),
        "min": None,
        "max": None,
        "definition": metric.definition,
    }
    if not pooled and defined.any():
        values = np.where(defined, above, math.nan)
        known = values[defined]
        entry.update(median=finite(np.median(known)), min=finite(known.min()), max=finite(known.max()))
        if len(known) > 1:
            entry.update(std=finite(known.std(ddof=1)))
        if several:
            entry.update(median_ci95=interval(_row_medians(drawn_values(values, people, drawn))))
    return entry


def quotient(name: str, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write a metric as a quotient of sums over patients: one formula serves means, pooled slices and pooled voxels.

    Args:
        name: of `METRICS`.
        rows: scores, one row a patient.

    Returns:
        What each patient adds above and below the fraction, and for which patients the metric is defined, all [N].
    """
    metric = METRICS[name]
    if metric.weight and metric.numerator:
        below = _column(rows, metric.weight)
        defined = np.ones(len(rows), dtype=bool) if not math.isnan(metric.if_nothing) else below > 0
        return _column(rows, metric.numerator), below, defined
    values = _column(rows, name)
    defined = np.isfinite(values)
    weights = _column(rows, metric.weight) if metric.weight else np.ones(len(rows))
    return np.where(defined, np.nan_to_num(values) * weights, 0.0), np.where(defined, weights, 0.0), defined


def _row_medians(samples: np.ndarray) -> np.ndarray:
    """Take the median of each row without undefined values: sorting puts them last, far faster than nanmedian."""
    ordered = np.sort(samples, axis=1)
    known = np.isfinite(samples).sum(axis=1)
    lower = np.maximum((known - 1) // 2, 0)
    upper = np.minimum(known // 2, samples.shape[1] - 1)
    row = np.arange(len(samples))
    return np.where(known > 0, (ordered[row, lower] + ordered[row, upper]) / 2, np.nan)


def divide(above: Any, below: Any, if_nothing: float) -> Any:
    """Divide what a metric has above its fraction by what it has below; ``if_nothing`` where there is nothing below."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), if_nothing)


def _column(rows: Iterable[Row], key: str) -> np.ndarray:
    return np.array([math.nan if row[key] is None else float(row[key]) for row in rows])


def _site(rows: Sequence[Row]) -> dict[str, Any]:
    dice = _column(rows, "volume_dice")
    return {"n": len(rows), "mean": finite(dice.mean()), "median": finite(np.median(dice))}


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
