"""One number that takes back too much certainty: the temperature of the logits (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from lgg_monai.engines.bootstrap import people_of
from lgg_monai.robustness.calibration import BAND, BINS, Counts, calibration

logger = logging.getLogger(__name__)

STEP = 0.05  # of a logit
EDGES = np.arange(-14.0, 14.0 + STEP / 2, STEP)  # beyond it a probability is as good as 0 or 1
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
TEMPERATURES = np.geomspace(0.25, 8, 101)  # steps of 3.5 %; 1 is among them
DEFINITION = (
    "logits are divided by it, which leaves masks as they are; the one of the least mean cross-entropy over the head's "
    "voxels, chosen for each patient on the patients of the other runs (of one run: on its other people); the band "
    "afterwards is what of the band before lies in the head"
)


def count_logits(probability: np.ndarray, label: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Bin one patient's voxels by logit.

    Args:
        probability: of tumour, ``[X, Y, Z]``.
        label: true mask, alike.
        region: the voxels that count, alike.

    Returns:
        Number of voxels ``[2, bins]``: without tumour, and with.
    """
    values = probability[region].astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(values) - np.log1p(-values), CENTRES[0], CENTRES[-1])
    true = label[region].astype(bool)
    return np.stack([np.histogram(logits[true == kind], EDGES)[0] for kind in (False, True)])


def choose_temperature(counts: np.ndarray) -> float:
    """Find the temperature of the least mean cross-entropy for voxels ``[2, bins]``."""
    scaled = CENTRES / TEMPERATURES[:, None]
    # -log(1 - p) where there is no tumour, -log(p) where there is
    loss = np.logaddexp(0, scaled) @ counts[0] + np.logaddexp(0, -scaled) @ counts[1]
    return float(TEMPERATURES[np.argmin(loss)])


def at_temperature(counts: np.ndarray, temperature: float) -> dict[str, Counts]:
    """Give what calibration needs of one patient, were its logits divided: of the head, and of the same band."""
    band = np.abs(CENTRES) <= np.log(BAND[1] / BAND[0])
    return {"head": _binned(counts, temperature), "band": _binned(counts * band, temperature)}


def judge_temperature(
    counts: Sequence[np.ndarray], patients: Sequence[str], groups: Sequence[Hashable]
) -> dict[str, Any] | None:
    """Choose a temperature for each group of patients on the others, and say how calibrated they are then.

    Args:
        counts: one ``[2, bins]`` a patient.
        patients: their names.
        groups: of each patient, such as its run; where there is one group, each person is one.

    Returns:
        ``value`` (chosen on all patients, to be used on others), ``lowest`` and ``highest`` of those chosen on parts,
        and ``calibration`` by region with these, as `calibration` has it; None for a single person.
    """
    people = people_of(patients).tolist()
    if len(set(people)) < 2:
        return None
    if len(set(groups)) == 1:
        groups = people
    total = np.sum(counts, axis=0)
    chosen = {}
    for group in dict.fromkeys(groups):
        own = np.sum([each for each, of in zip(counts, groups, strict=True) if of == group], axis=0)
        chosen[group] = choose_temperature(total - own)
    softened = [at_temperature(each, chosen[group]) for each, group in zip(counts, groups, strict=True)]
    value = choose_temperature(total)
    if value in (TEMPERATURES[0], TEMPERATURES[-1]):
        logger.warning(
            "the temperature %.2f is the last of those tried (%.2f to %.2f), so the best lies beyond or nowhere: "
            "look at the probabilities and at the labels before using it",
            value, TEMPERATURES[0], TEMPERATURES[-1],
        )  # fmt: skip
    return {
        "value": value,
        "lowest": min(chosen.values()),
        "highest": max(chosen.values()),
        "calibration": {
            region: calibration([each[region] for each in softened], patients) for region in ("head", "band")
        },
    }


def _binned(counts: np.ndarray, temperature: float) -> Counts:
    probability = 1 / (1 + np.exp(-CENTRES / temperature))
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    voxels = counts.sum(axis=0)
    return Counts(
        np.bincount(number, weights=voxels, minlength=BINS),
        np.bincount(number, weights=voxels * probability, minlength=BINS),
        np.bincount(number, weights=counts[1], minlength=BINS),
        float((counts[0] * probability**2 + counts[1] * (1 - probability) ** 2).sum()),
    )
