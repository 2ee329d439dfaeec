"""One number a patient that says how unsure a model is, and whether it finds the patients whom the model fails."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lgg_monai.engines.summary import INTERVAL

MEASURES = {
    "flip_disagreement": "1 - Dice of the masks of the scan and of its left-right mirror image, mean over checkpoints",
    "checkpoint_disagreement": "1 - mean Dice of the masks of every two checkpoints",
    "expected_error": "1 - the Dice that the probabilities p promise for the mask m: 2 sum(p m) / (sum p + sum m)",
    "entropy": "sum over voxels of the probabilities' entropy in bits, per voxel of expected tumour (sum p)",
}
REFERRED = 0.1  # share of patients who go to a human


def mask_dice(one: np.ndarray, other: np.ndarray) -> float:
    """Give the Dice of two boolean masks; of two empty ones 1."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


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


def judge(uncertainty: Sequence[float], dice: Sequence[float], resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Say how well an uncertainty finds the patients with low Dice.

    Args:
        uncertainty: one number a patient.
        dice: the patients' volume Dice.
        resamples: number of bootstrap resamples of patients.
        seed: makes the intervals reproducible.

    Returns:
        ``rank_correlation`` (Spearman's, -1 would be perfect; None where all are alike, and of fewer than three
        patients: of two it is -1 or 1 whatever they are) and its ``ci95``; ``referred``
        (patients who go to a human: the least certain tenth, rounded up), ``mean_dice`` of all, ``mean_dice_after`` of
        the others, ``rise`` and its ``rise_ci95``, ``rise_best_possible`` (had the lowest Dice gone), and ``curve``
        (share referred, mean Dice of the others, the same had the lowest gone).
    """
    u, d = np.asarray(uncertainty, float), np.asarray(dice, float)
    count = len(u)
    drawn = np.random.default_rng(seed).integers(0, count, size=(resamples, count))
    referred = math.ceil(REFERRED * count)
    order, worst = np.argsort(-u, kind="stable"), np.argsort(d, kind="stable")
    correlation = _rank_correlation(u[None], d[None])[0]
    several = count > 2
    after = float(d[order[referred:]].mean()) if count > referred else None
    rises = _rises(u[drawn], d[drawn], referred)
    return {
        "n": count,
        "rank_correlation": _safe(correlation) if several else None,
        "rank_correlation_ci95": _interval(_rank_correlation(u[drawn], d[drawn])) if several else None,
        "referred": referred,
        "mean_dice": float(d.mean()),
        "mean_dice_after": after,
        "rise": None if after is None else after - float(d.mean()),
        "rise_ci95": _interval(rises) if several else None,
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
    """Correlate the ranks of each row; NaN where all of a row are alike."""
    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (one, other))
    below = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(below > 0, (a * b).sum(axis=1) / np.where(below > 0, below, 1.0), np.nan)


def _rises(uncertainty: np.ndarray, dice: np.ndarray, referred: int) -> np.ndarray:
    order = np.argsort(-uncertainty, axis=1, kind="stable")[:, referred:]
    if not order.shape[1]:
        return np.full(len(dice), np.nan)
    return np.take_along_axis(dice, order, axis=1).mean(axis=1) - dice.mean(axis=1)


def _interval(estimates: np.ndarray) -> list[float] | None:
    known = estimates[np.isfinite(estimates)]
    return [float(bound) for bound in np.percentile(known, INTERVAL)] if known.size else None


def _safe(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
