"""Boxes around what is in an array."""

from __future__ import annotations

import numpy as np


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """Give the smallest box around the true voxels of ``mask``, widened by ``margin`` voxels where there are any.

    Args:
        mask: boolean array of any dimension; where nothing is true, the box is the whole array.
        margin: voxels added at either end of each axis, up to the array's border.
    """
    box = []
    for axis, length in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        first, last = (filled[0], filled[-1]) if filled.size else (0, length - 1)
        box.append(slice(max(int(first) - margin, 0), min(int(last) + 1 + margin, length)))
    return tuple(box)
