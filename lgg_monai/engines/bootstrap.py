"""Percentile bootstrap over people: several scans of one person are not independent, and are drawn together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lgg_monai.data.people import person_of

INTERVAL = (2.5, 97.5)
RESAMPLES = 2000


def people_of(patients: Sequence[str]) -> np.ndarray:
    """Number who was scanned, as :func:`lgg_monai.data.people.person_of` tells by the names of the scans.

    Args:
        patients: one name a scan.

    Returns:
        A number a scan, from 0, in the order in which people first come.
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(person_of(name), len(numbers)) for name in patients], dtype=int)


def draw_people(people: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw as many people as there are, with replacement.

    Args:
        people: of `people_of`.
        resamples: number of draws.
        seed: makes them reproducible.

    Returns:
        Numbers of people, ``[resamples, people]``.
    """
    count = int(people.max()) + 1
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def drawn_sums(values: np.ndarray, people: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Sum the values of all scans of those drawn.

    Args:
        values: one a scan.
        people: of `people_of`.
        drawn: of `draw_people`.

    Returns:
        ``[resamples]``.
    """
    return np.bincount(people, weights=values)[drawn].sum(axis=1)


def drawn_values(values: np.ndarray, people: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Give the values of all scans of those drawn, for what is no sum, such as a median.

    Args:
        values: one a scan.
        people: of `people_of`.
        drawn: of `draw_people`.

    Returns:
        ``[resamples, people * scans of whom has most]``; NaN where someone has fewer.
    """
    table = np.full((int(people.max()) + 1, int(np.bincount(people).max())), np.nan)
    places = np.zeros(len(table), dtype=int)
    for person, value in zip(people, values, strict=True):
        table[person, places[person]] = value
        places[person] += 1
    return table[drawn].reshape(len(drawn), -1)


def interval(estimates: np.ndarray) -> list[float] | None:
    """Give the 95 % percentile interval of a statistic's resamples; None where it is defined in none."""
    known = estimates[np.isfinite(estimates)]
    return [float(bound) for bound in np.percentile(known, INTERVAL)] if known.size else None


def finite(value: Any) -> float | None:
    """Give a number for JSON; None where it is undefined."""
    return float(value) if math.isfinite(value) else None
