"""One number a patient that says how unsure a model is, and whether it finds the patients whom the model fails."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lgg_monai.engines.bootstrap import draw_people, drawn_values, finite, interval, people_of
from lgg_monai.engines.scores import mask_dice

MEASURES = {
    "flip_disagreement": "1 - Dice of the masks of the scan and of its left-right mirror image, mean over checkpoints",
    "checkpoint_disagreement": "1 - mean Dice of the masks of every two checkpoints",
    "expected_error": "1 - the Dice that the probabilities p promise for the mask m: 2 sum(p m) / (sum p + sum m)",
    "entropy": "sum over voxels of the probabilities' entropy in bits, per voxel of expected tumour (sum p)",
}
REFERRED = 0.1  # share of patients who go to a human


def uncertainties(
    probability: np.ndarray, mask: np.ndarray, masks: Sequence[np.ndarray], mirrored: Sequence[np.ndarray]
) -> dict[str, float]:
    """Measure how unsure a model is of one patient.

    Args:
        probability: mean over the checkpoints, ``[X, Y, Z]``.
        mask: the mask made from it.
        masks: each checkpoint's own mask.
        mirrored: each checkpoint's mask of the mirror image, mirrored back.

    Returns:
        The measures of `MEASURES`, higher being less certain; that of checkpoints only for two or more.
    """
    p = probability.astype(np.float64)
    expected, predicted = p.sum(), int(mask.sum())
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    entropy = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    found = {
        "flip_disagreement": 1 - float(np.mean([mask_dice(*pair) for pair in zip(masks, mirrored, strict=True)])),
        "expected_error": 1 - float(2 * p[mask].sum() / (expected + predicted)) if expected + predicted > 0 else 0.0,
        "entropy": float(entropy.sum() / max(expected, 1.0)),
    }
    if len(masks) > 1:
        pairs = [mask_dice(one, other) for one, other in itertools.combinations(masks, 2)]
        found["checkpoint_disagreement"] = 1 - float(np.mean(pairs))
    return {name: found[name] for name in MEASURES if name in found}


def judge(uncertainty: Sequence[float], dice: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Say how well an uncertainty finds the patients with low Dice.

    Args:
        uncertainty: one number a patient.
        dice: the patients' volume Dice.
        patients: their names.

    Returns:
        ``rank_correlation`` (Spearman's, -1 would be perfect; None where all are alike, and of fewer than three
        people: of two patients it is -1 or 1 whatever they are) and its ``ci95``; ``referred``
        (patients who go to a human: the least certain tenth, rounded up), ``mean_dice`` of all, ``mean_dice_after`` of
        the others, ``rise`` and its ``rise_ci95``, ``rise_best_possible`` (had the lowest Dice gone), and ``curve``
        (share referred, mean Dice of the others, the same had the lowest gone).
    """
    u, d = np.asarray(uncertainty, float), np.asarray(dice, float)
    count = len(u)
    people = people_of(patients)
    drawn = draw_people(people)
    u_drawn, d_drawn = (drawn_values(values, people, drawn) for values in (u, d))
    referred = math.ceil(REFERRED * count)
    order, worst = np.argsort(-u, kind="stable"), np.argsort(d, kind="stable")
    correlation = _rank_correlation(u[None], d[None])[0]
    several = len(set(people)) > 2
    after = float(d[order[referred:]].mean()) if count > referred else None
    return {
        "n": count,
        "rank_correlation": finite(correlation) if several else None,
        "rank_correlation_ci95": interval(_rank_correlation(u_drawn, d_drawn)) if several else None,
        "referred": referred,
        "mean_dice": float(d.mean()),
        "mean_dice_after": after,
        "rise": None if after is None else after - float(d.mean()),
        "rise_ci95": interval(_rises(u_drawn, d_drawn)) if several else None,
        "rise_best_possible": float(d[worst[referred:]].mean() - d.mean()) if count > referred else None,
        "curve": [
            {
                "share": gone / count,
                "mean_dice": float(d[order[gone:]].mean()),
                "best_possible": float(d[worst[gone:]].mean()),
            }
            for gone in range(0, count // 2 + 1)
        ],
    }


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlate the ranks of each row, but for its NaN; NaN where all of a row are alike."""
    ranks = (rankdata(values, axis=1, nan_policy="omit") for values in (one, other))
    a, b = (np.nan_to_num(own - np.nanmean(own, axis=1, keepdims=True)) for own in ranks)
    below = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(below > 0, (a * b).sum(axis=1) / np.where(below > 0, below, 1.0), np.nan)


def _rises(uncertainty: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Give each row's rise of mean Dice where its least certain are referred; NaN stands for nobody."""
    count = np.isfinite(dice).sum(axis=1)
    ordered = np.take_along_axis(dice, np.argsort(-uncertainty, axis=1, kind="stable"), axis=1)  # NaN comes last
    place, referred = np.arange(dice.shape[1]), np.ceil(REFERRED * count)
    after = np.nansum(np.where(place >= referred[:, None], ordered, 0), axis=1) / (count - referred)
    return after - np.nanmean(dice, axis=1)
