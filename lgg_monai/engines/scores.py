"""Scores of one patient's predicted volume against its label, each by a named convention."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from lgg_monai.boxes import bounding_box
from lgg_monai.errors import LggError

HAUSDORFF_PERCENTILE = 95.0
SURFACE_TOLERANCE_PX = 2.0


def score_volume(prediction: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Score one patient's predicted mask.

    Counts: ``slices``, ``tumour_slices``, ``empty_slices`` (no tumour in the label), ``tumour_voxels``,
    ``predicted_voxels``, ``intersection``, ``union``, ``false_positive_slice_count``. Scores and what they are where
    a mask is empty:

    ========================== ================ ================ =====================
    score                      both masks empty label only empty prediction only empty
    ========================== ================ ================ =====================
    ``volume_dice``, ``_iou``  1                0                0
    ``sensitivity``            NaN              NaN              0
    ``precision``              NaN              0                NaN
    ``hd95_px``                0                NaN              NaN
    ``surface_dice_2px``       1                0                0
    ``tumour_slice_iou``       NaN              NaN              0
    ``false_positive_slices``  0                as counted       0 (NaN if all slices hold tumour)
    ``all_slice_iou``          1                a slice where both are empty counts 1, others 0
    ========================== ================ ======================================

    NaN means undefined: a summary leaves it out and says how many it left out.

    Args:
        prediction: binary mask ``[X, Y, Z]`` of any type, values 0 and 1, slices along the last axis.
        label: the true mask, alike.

    Returns:
        Plain numbers, counts as int. Distances (``px``) are in voxel steps along all three axes, as the data set
        records no spacing.

    Raises:
        LggError: the shapes differ, are not three-dimensional, or a mask holds other values than 0 and 1.
    """
    predicted = _binary(prediction, "prediction")
    true = _binary(label, "label")
    if predicted.shape != true.shape:
        raise LggError(
            f"the prediction's shape {predicted.shape} differs from the label's {true.shape} in scoring: "
            "give both masks of one patient on the same voxel grid"
        )

    # Everything but the distances follows from four counts a slice.
    true_area = true.sum(axis=(0, 1), dtype=np.int64)
    predicted_area = predicted.sum(axis=(0, 1), dtype=np.int64)
    shared_area = (predicted & true).sum(axis=(0, 1), dtype=np.int64)
    joint_area = true_area + predicted_area - shared_area

    slice_iou = np.where(joint_area > 0, shared_area / np.maximum(joint_area, 1), 1.0)
    has_tumour = true_area > 0
    false_positive = ~has_tumour & (predicted_area > 0)
    tumour, found = int(true_area.sum()), int(predicted_area.sum())
    intersection, union = int(shared_area.sum()), int(joint_area.sum())
    tumour_slices = int(has_tumour.sum())
    empty_slices = len(true_area) - tumour_slices
    hd95, surface_dice = surface_scores(predicted, true)

    return {
        "slices": len(true_area),
        "tumour_slices": tumour_slices,
        "empty_slices": empty_slices,
        "tumour_voxels": tumour,
        "predicted_voxels": found,
        "intersection": intersection,
        "union": union,
        "volume_dice": 2.0 * intersection / (tumour + found) if union else 1.0,
        "volume_iou": intersection / union if union else 1.0,
        "tumour_slice_iou": float(slice_iou[has_tumour].mean()) if tumour_slices else math.nan,
        "all_slice_iou": float(slice_iou.mean()),
        "false_positive_slices": float(false_positive.sum()) / empty_slices if empty_slices else math.nan,
        "false_positive_slice_count": int(false_positive.sum()),
        "hd95_px": hd95,
        "surface_dice_2px": surface_dice,
        "sensitivity": intersection / tumour if tumour else math.nan,
        "precision": intersection / found if found else math.nan,
    }


def mask_dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two boolean masks of one shape; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def surface_scores(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Measure how far apart the surfaces of two boolean masks ``[X, Y, Z]`` are, in voxel steps.

    Args:
        predicted: the predicted mask.
        true: the true mask.

    Returns:
        The 95th percentile Hausdorff distance (the larger of the two directions) and the surface Dice at a tolerance
        of 2 px: the share of both surfaces that lies within it of the other (Nikolov et al. 2018,
        https://arxiv.org/abs/1809.04430). Both masks empty: 0 and 1. One empty: NaN and 0.
    """
    if not (predicted.any() and true.any()):
        both_empty = not (predicted.any() or true.any())
        return (0.0, 1.0) if both_empty else (math.nan, 0.0)
    box = bounding_box(predicted | true)  # the result is that of the whole masks, and comes sooner
    y_pred, y = (torch.from_numpy(mask[box].astype(np.float32))[None, None] for mask in (predicted, true))
    with warnings.catch_warnings():
        # MONAI 1.6 warns of an argument that only MONAI itself passes.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        hausdorff = compute_hausdorff_distance(y_pred, y, include_background=True, percentile=HAUSDORFF_PERCENTILE)
        surface_dice = compute_surface_dice(y_pred, y, [SURFACE_TOLERANCE_PX], include_background=True)
    return float(hausdorff), float(surface_dice)


def _binary(mask: np.ndarray, name: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 3 or 0 in mask.shape:
        raise LggError(f"the {name} has shape {mask.shape} in scoring: give one patient's mask as [X, Y, Z]")
    if mask.dtype == bool:
        return mask
    boolean = mask == 1
    other = ~(boolean | (mask == 0))
    if other.any():
        message = f"the {name} holds the value {mask[other][0]} in scoring: give a mask of 0 and 1 only"
        raise LggError(message)
    return boolean
