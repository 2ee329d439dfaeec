"""The findings in words, written from the numbers: no winner where the interval spans zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lgg_monai.analysis.paired import FEWEST_PEOPLE, is_clear
from lgg_monai.analysis.speed import THRESHOLDS
from lgg_monai.data.people import scans_of
from lgg_monai.words import counted

COSTS = (
    ("seconds_per_epoch", "time an epoch"),
    ("peak_memory_mb", "training memory"),
    ("parameters", "parameters"),
    ("flops_per_slice", "arithmetic a slice"),
)


def write_findings(content: Mapping[str, Any]) -> list[str]:
    """Write one paragraph a topic: how it was scored, quality, speed of learning, cost, what numbers cannot say.

    Args:
        content: what :func:`lgg_monai.analysis.comparison.collect` returned.
    """
    labels = [run["label"] for run in content["runs"]]
    findings = []
    if content["phantom"]:
        findings.append("PHANTOM: synthetic patients were used, so nothing here says anything about real ones.")
    if content["differences"]:
        what = " and ".join(content["differences"])
        findings.append(f"DIFFERENT {what.upper()}: a difference between the runs need not be the network's.")
    findings += [*content["scoring"], *_quality(content["quality"], labels)]
    findings += _learning([run["speed"] for run in content["runs"]], labels)
    findings += [_cost(content["runs"][0]["label"], run) for run in content["runs"][1:]]
    chosen = [f"{run['slices_per_epoch']} ({run['label']})" for run in content["runs"] if run["slices_per_epoch"]]
    if chosen:
        findings.append(
            f"Slices in an epoch were set to {', '.join(chosen)}, where by default an epoch shows every tumour slice "
            "once and as many drawn from all slices: trainings of another length may rank the networks otherwise."
        )
    if any(run["cross_validation"] for run in content["runs"]):
        findings.append(
            "Each fold is one training with one seed: the intervals cover which patients were tested on, not how much "
            "other trainings, or other folds, would differ."
        )
        return findings
    findings.append(
        "Each run is one training with one seed on one split: the intervals cover which patients were tested on, "
        "not how much another training would differ."
    )
    return findings


def quality_sentence(first: str, other: str, means: Sequence[float], entry: Mapping[str, Any]) -> str:
    """Say what a paired difference of volume Dice allows to be said.

    Args:
        first: label of the first run.
        other: label of the other run.
        means: mean volume Dice of both, in this order.
        entry: of `paired_difference`, other minus first.
    """
    scores = f"{first} reaches a mean volume Dice of {means[0]:.3f} and {other} of {means[1]:.3f}"
    n, people, interval = entry["n"], entry["people"], entry["ci95"]
    if interval is None:
        return f"{scores} on {people} patient: one patient allows no interval, so neither can be called better."
    bounds = f"{interval[0]:+.3f} to {interval[1]:+.3f}"
    difference = f"a paired difference of {entry['difference']:+.3f} (95 % interval {bounds}"
    p = f", Wilcoxon p {format_p(entry['wilcoxon_p'])})" if entry["wilcoxon_p"] is not None else ")"
    scans = "" if people == n else f" ({scans_of(people)})"
    start = f"On {n} test patients{scans} {scores}: {difference}{p}"
    if interval[0] <= 0 <= interval[1]:
        if entry["wilcoxon_p"] is not None and entry["wilcoxon_p"] < 0.05 and entry["higher"] != entry["lower"]:
            usual, count = (other, entry["higher"]) if entry["higher"] > entry["lower"] else (first, entry["lower"])
            return (
                f"{start}. {usual} draws {count} of the {n} patients better, which the test calls no chance, but the "
                "interval of the mean includes zero, as a few differ by more: neither is better on both counts."
            )
        return f"{start}. The interval includes zero, so these patients do not tell which of the two is better."
    if people < FEWEST_PEOPLE:
        return f"{start}. The interval leaves out zero, but {people} patients are too few to call either better."
    if not is_clear(entry):
        return (
            f"{start}. The interval leaves out zero but the test does not confirm it, so neither can be called better."
        )
    better, worse = (other, first) if entry["difference"] > 0 else (first, other)
    return f"{start}. {better} is better than {worse} on these patients."


def format_p(p: float) -> str:
    """Write a p value as papers do."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _quality(quality: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    if not quality["available"]:
        return [f"Nothing can be said about quality: {'; '.join(quality['reasons'])}."]
    means = [summary["volume_dice"]["mean"] for summary in quality["summaries"]]
    return [
        quality_sentence(labels[0], label, (means[0], mean), paired["volume_dice"])
        for label, mean, paired in zip(labels[1:], means[1:], quality["paired"], strict=True)
    ]


def _learning(speeds: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    if any(speed["best"] is None for speed in speeds):
        return []
    bests = ", ".join(
        f"{label} {speed['best']['val_iou']:.3f} (epoch {speed['best']['epoch']})"
        for label, speed in zip(labels, speeds, strict=True)
    )
    sentence = f"Highest validation IoU: {bests}."
    reached = [f"{t:.1f}" for t in THRESHOLDS if all(s["reached"][f"{t:.1f}"]["epoch"] is not None for s in speeds)]
    if not reached:
        return [f"{sentence} No validation IoU from {THRESHOLDS[0]} up was reached by all of them."]
    entries = [speed["reached"][reached[-1]] for speed in speeds]
    times = ", ".join(
        f"{label} after {counted(entry['epoch'], 'epoch')} and {format_seconds(entry['seconds'])}"
        for label, entry in zip(labels, entries, strict=True)
    )
    return [f"{sentence} A validation IoU of {reached[-1]}, the highest mark that all reached, came to {times}."]


def format_seconds(seconds: float) -> str:
    """Write a duration for reading: ``48 s``, ``12.5 min``, ``1.7 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cost(first: str, run: Mapping[str, Any]) -> str:
    ratios = run["ratios"]
    known = [
        f"{ratios[name]['ratio']:.2f} times the {title}"
        + (f" (original: {ratios[name]['original']:.2f})" if ratios[name]["original"] else "")
        for name, title in COSTS
        if ratios[name]["ratio"] is not None
    ]
    if not known:
        return f"No cost of {run['label']} is known."
    return f"Next to {first}, {run['label']} takes {', '.join(known)}."
