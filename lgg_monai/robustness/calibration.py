"""Whether a probability of 0.7 means tumour in 7 of 10 voxels: binned counts, calibration error, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lgg_monai.drawing.overlays import intensity_window
from lgg_monai.engines.bootstrap import RESAMPLES, draw_people, finite, interval, people_of

BINS = 15
BAND = (0.01, 0.99)
AIR = 0.1  # share of the grey window below which a voxel is air
DEFINITIONS = {
    "head": "voxels brighter than a tenth of the grey window (1st to 99.5th percentile) in any sequence",
    "band": f"voxels with a probability from {BAND[0]} to {BAND[1]}: all that the network is not sure of",
    "ece": (
        f"expected calibration error: {BINS} bins of equal width, the distance of mean probability and share of tumour "
        "in each, weighted by its voxels; pooled over patients, interval by resampling people, each with all scans"
    ),
    "bias": "mean probability minus share of tumour, all bins together: above 0 is too much tumour",
    "brier": "mean squared distance of probability and truth",
}


@dataclass(frozen=True)
class Counts:
    """What calibration needs of one patient's voxels in one region, by bin of probability.

    Args:
        voxels: number of voxels, ``[BINS]``.
        probability: sum of their probabilities.
        tumour: number of them that are tumour.
        squared: sum of squared distances of probability and truth, over all bins.
    """

    voxels: np.ndarray
    probability: np.ndarray
    tumour: np.ndarray
    squared: float


def head_of(image: np.ndarray) -> np.ndarray:
    """Tell head from air.

    Args:
        image: ``[3, X, Y, Z]`` as stored.

    Returns:
        Boolean ``[X, Y, Z]``; everything, where the scan is of one value.
    """
    inside = np.zeros(image.shape[1:], dtype=bool)
    for sequence in image:
        low, high = intensity_window(sequence)
        inside |= sequence > low + AIR * (high - low)
    return inside if inside.any() else ~inside


def count_voxels(probability: np.ndarray, label: np.ndarray, head: np.ndarray) -> dict[str, Counts]:
    """Bin one patient's voxels.

    Args:
        probability: of tumour, ``[X, Y, Z]``.
        label: true mask, alike.
        head: where the head is, alike.

    Returns:
        The counts of the regions ``head`` and ``band``, see `DEFINITIONS`.
    """
    band = (probability >= BAND[0]) & (probability <= BAND[1])
    return {name: _count(probability[region], label[region]) for name, region in (("head", head), ("band", band))}


def calibration(counts: Sequence[Counts], patients: Sequence[str], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Pool patients' counts of one region.

    Args:
        counts: one a patient.
        patients: their names.
        resamples: number of bootstrap resamples of people.

    Returns:
        ``ece`` with ``ece_ci95``, ``bias`` with ``bias_ci95``, ``brier``, ``voxels`` and ``bins``:
        for each bin its bounds, voxels, mean probability and share of tumour (None where it is empty). All None where
        the region is empty; no intervals for one person.
    """
    voxels = np.stack([own.voxels for own in counts]).astype(float)
    probability = np.stack([own.probability for own in counts])
    tumour = np.stack([own.tumour for own in counts]).astype(float)
    people = people_of(patients)
    drawn = draw_people(people, resamples)
    weights = np.stack([(drawn == person).sum(axis=1) for person in people], axis=1).astype(float)
    everyone = np.ones((1, len(counts)))
    several = len(set(people)) > 1

    def both(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = weight @ probability - weight @ tumour
        total = (weight @ voxels).sum(axis=1)
        total = np.where(total > 0, total, np.nan)
        return np.abs(distance).sum(axis=1) / total, distance.sum(axis=1) / total

    ece, over = both(everyone)
    eces, overs = both(weights)
    total = voxels.sum()
    edges = np.linspace(0, 1, BINS + 1)
    bins = []
    for number, size in enumerate(voxels.sum(axis=0)):
        known = size > 0
        bins.append(
            {
                "from": float(edges[number]),
                "to": float(edges[number + 1]),
                "voxels": int(size),
                "mean_probability": float(probability[:, number].sum() / size) if known else None,
                "tumour_share": float(tumour[:, number].sum() / size) if known else None,
            }
        )
    return {
        "ece": finite(ece[0]),
        "ece_ci95": interval(eces) if several else None,
        "bias": finite(over[0]),
        "bias_ci95": interval(overs) if several else None,
        "brier": float(sum(own.squared for own in counts) / total) if total else None,
        "voxels": int(total),
        "bins": bins,
    }


def _count(probability: np.ndarray, label: np.ndarray) -> Counts:
    values, true = probability.astype(np.float64), label.astype(np.float64)
    number = np.minimum((values * BINS).astype(int), BINS - 1)
    return Counts(
        np.bincount(number, minlength=BINS),
        np.bincount(number, weights=values, minlength=BINS),
        np.bincount(number, weights=true, minlength=BINS),
        float(((values - true) ** 2).sum()),
    )
