"""Two runs on the same patients: the difference by every convention, its interval, and Wilcoxon's test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from lgg_monai.engines.bootstrap import draw_people, drawn_sums, finite, interval, people_of
from lgg_monai.engines.summary import METRICS, divide, quotient

RESAMPLES = 10_000
SEED = 0
# With fewer pairs, Wilcoxon's test cannot fall below 0.05 whatever the scores, and a bootstrap interval is too narrow.
FEWEST_PEOPLE = 6
Row = Mapping[str, Any]


def paired_differences(first: Sequence[Row], other: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Compare two runs patient by patient.

    Args:
        first: scores of the first run, one row a patient.
        other: scores of the other run, the same patients in the same order.

    Returns:
        For each metric of `METRICS` the entry of `paired_difference`.
    """
    names = [row["patient"] for row in first]
    if names != [row["patient"] for row in other]:
        raise ValueError("paired scores need the same patients in the same order")
    return {name: paired_difference(name, first, other) for name in METRICS}


def paired_difference(
    metric: str, first: Sequence[Row], other: Sequence[Row], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Any]:
    """Estimate ``other - first`` by one convention.

    Patients are resampled in pairs, so what makes a patient hard for both runs cancels. A pooled metric is pooled anew
    in each resample. Several scans of one person, who is known by their names, are drawn together, and are one value to
    the test: neither takes them for independent.

    Args:
        metric: a name of `METRICS`.
        first: as for `paired_differences`.
        other: as for `paired_differences`; only the first ones need ``patient``.
        resamples: number of bootstrap resamples.
        seed: makes the interval reproducible.

    Returns:
        ``n`` (patients for whom both are defined), ``people`` (fewer, where some were scanned several times),
        ``difference``, ``ci95`` (percentile bootstrap; None for fewer than two people), ``median``, ``higher``,
        ``lower``, ``equal`` (patients), ``wilcoxon_p`` (two-sided signed-rank test of the patients' values, of each
        person the mean; None for pooled metrics, which have none, and where no patient differs).
    """
    parts = [quotient(metric, rows) for rows in (first, other)]
    defined = parts[0][2] & parts[1][2]
    count = int(defined.sum())
    nothing: dict[str, Any] = dict.fromkeys(
        ("difference", "ci95", "median", "higher", "lower", "equal", "wilcoxon_p"), None
    )
    if not count:
        return {"n": 0, "people": 0, **nothing}
    sums = [(above[defined], below[defined]) for above, below, _ in parts]
    people = people_of([row["patient"] for row, known in zip(first, defined, strict=True) if known])
    several = len(set(people)) > 1
    drawn = draw_people(people, resamples, seed)
    if_nothing = METRICS[metric].if_nothing
    values = [divide(above.sum(), below.sum(), if_nothing) for above, below in sums]
    resampled = [
        divide(drawn_sums(above, people, drawn), drawn_sums(below, people, drawn), if_nothing) for above, below in sums
    ]
    entry = {"n": count, "people": len(set(people)), **nothing, "difference": finite(values[1] - values[0])}
    entry["ci95"] = interval(resampled[1] - resampled[0]) if several else None
    if METRICS[metric].weight is None:
        (above_first, _), (above_other, _) = sums
        # Stored scores have six decimals: a smaller difference is rounding.
        each = np.round(above_other - above_first, 6)
        entry |= {
            "median": float(np.median(each)),
            "higher": int((each > 0).sum()),
            "lower": int((each < 0).sum()),
            "equal": int((each == 0).sum()),
            "wilcoxon_p": _wilcoxon(np.round(np.bincount(people, weights=each) / np.bincount(people), 6)),
        }
    return entry


def is_clear(entry: Mapping[str, Any]) -> bool:
    """Tell whether a difference may be called one: the interval leaves out zero, and test and numbers allow it."""
    bounds, p = entry["ci95"], entry["wilcoxon_p"]
    apart = bounds is not None and (bounds[0] > 0 or bounds[1] < 0)
    return apart and entry["people"] >= FEWEST_PEOPLE and (p is None or p < 0.05)


def _wilcoxon(each: np.ndarray) -> float | None:
    if not each.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties and of small samples; the page says how many patients there are
        p = float(wilcoxon(each).pvalue)
    return p if math.isfinite(p) else None
