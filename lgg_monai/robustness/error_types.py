"""What the voxels in which mask and label differ consist of: whole parts, slices, areas, or the rim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from skimage.measure import label as components
from skimage.morphology import isotropic_dilation

from lgg_monai.transforms.components import NEIGHBOURS

RIM_PX = 2
"""Pixels within a slice; the tolerance of ``surface_dice_2px``."""
KINDS = {
    "part": "in a connected part (26 neighbours) of one mask that the other does not touch",
    "slice": "of a part that is touched, in a slice where the other mask is empty (or has such untouched parts alone)",
    "area": f"in a slice where both are, more than {RIM_PX} px away from the other mask",
    "rim": f"in a slice where both are, within {RIM_PX} px of the other mask",
}
DEFINITIONS = {
    f"{side}_{kind}": f"{what} {text}"
    for side, what in (("missed", "tumour that is not predicted,"), ("added", "prediction that is not tumour,"))
    for kind, text in KINDS.items()
}
TYPES = tuple(DEFINITIONS)
GROUPS = {**{name: (name,) for name in TYPES}, **{kind: (f"missed_{kind}", f"added_{kind}") for kind in KINDS}}
"""What could be mended: each type by itself, and both sides of each kind together."""


def error_types(prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Divide the voxels in which two masks differ; each belongs to one type.

    Like TIDE for detection (Bolya et al. 2020, https://arxiv.org/abs/2008.08115), the types tell what mending each
    alone would bring, see :func:`mended`.

    Args:
        prediction: boolean ``[X, Y, Z]``, slices along the last axis.
        label: the true mask, alike.

    Returns:
        A boolean mask for each name in `TYPES`.
    """
    lost, alone = _untouched(label, prediction), _untouched(prediction, label)
    missed = _one_side(label, prediction, lost, alone)
    added = _one_side(prediction, label, alone, lost)
    return {f"missed_{kind}": mask for kind, mask in missed.items()} | {
        f"added_{kind}": mask for kind, mask in added.items()
    }


def count_parts(prediction: np.ndarray, label: np.ndarray) -> dict[str, int]:
    """Count connected parts: of the label, those of them that are missed, of the prediction, those that are added."""
    return {
        "label_parts": _number(label),
        "missed_parts": _number(_untouched(label, prediction)),
        "predicted_parts": _number(prediction),
        "added_parts": _number(_untouched(prediction, label)),
    }


def neighbour_dice(mask: np.ndarray, slices: np.ndarray) -> float:
    """Say how alike neighbouring slices of a mask are: the mean Dice of each two, NaN where there are no two.

    Args:
        mask: boolean ``[X, Y, Z]``.
        slices: boolean ``[Z]``; pairs are two neighbours that are both among these.
    """
    area = mask.sum(axis=(0, 1), dtype=np.int64)
    shared = (mask[..., 1:] & mask[..., :-1]).sum(axis=(0, 1), dtype=np.int64)
    total = area[1:] + area[:-1]
    counted = slices[1:] & slices[:-1] & (total > 0)
    return float((2 * shared[counted] / total[counted]).mean()) if counted.any() else float("nan")


def mended(row: Mapping[str, Any], types: Sequence[str]) -> float:
    """Give the volume Dice that a patient would have without errors of these types.

    Args:
        row: ``intersection``, ``tumour_voxels``, ``predicted_voxels``, and the voxels of each type.
        types: names of `TYPES`.
    """
    found = sum(int(row[name]) for name in types if name.startswith("missed_"))
    dropped = sum(int(row[name]) for name in types if name.startswith("added_"))
    total = int(row["tumour_voxels"]) + int(row["predicted_voxels"]) + found - dropped
    return 2 * (int(row["intersection"]) + found) / total if total else 1.0


def _one_side(mask: np.ndarray, other: np.ndarray, part: np.ndarray, other_part: np.ndarray) -> dict[str, np.ndarray]:
    """Divide what ``mask`` has and ``other`` has not, given the parts of either that the other does not touch."""
    met = other & ~other_part
    rest = mask & ~other & ~part
    empty = ~met.any(axis=(0, 1))
    near = _each_slice(met, lambda picture: isotropic_dilation(picture, RIM_PX))
    return {"part": part, "slice": rest & empty, "area": rest & ~empty & ~near, "rim": rest & ~empty & near}


def _untouched(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Keep the connected parts of ``mask`` that have no voxel in common with ``other``."""
    numbers = components(mask, connectivity=NEIGHBOURS)
    touched = np.zeros(int(numbers.max()) + 1, dtype=bool)
    touched[0] = True
    touched[numbers[other]] = True
    return ~touched[numbers]


def _number(mask: np.ndarray) -> int:
    return int(components(mask, connectivity=NEIGHBOURS).max())


def _each_slice(mask: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change the slices that are not empty, one by one."""
    changed = mask.copy()
    for z in np.flatnonzero(mask.any(axis=(0, 1))):
        changed[..., z] = change(mask[..., z])
    return changed
