"""Two-dimensional size of a lesion, as response criteria (RANO) measure it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform


@dataclass(frozen=True)
class Diameters:
    """The largest diameter in a slice, and the largest one perpendicular to it in the same slice.

    Args:
        largest: in the unit of the pixels' sides.
        perpendicular: alike.
    """

    largest: float
    perpendicular: float

    @property
    def product(self) -> float:
        """The bidimensional product."""
        return self.largest * self.perpendicular


def largest_diameters(components: np.ndarray, pixel: tuple[float, float]) -> Diameters | None:
    """Measure the lesion with the largest diameter in any slice; diameters never span two lesions.

    Both are taken on the convex hull of the lesion's outline in the slice, so they may cross a notch of it.

    Args:
        components: lesions numbered from 1, 0 elsewhere [X, Y, Z], slices along Z.
        pixel: sides along X and Y.

    Returns:
        None where there is no lesion.
    """
    best: Diameters | None = None
    for number, box in enumerate(find_objects(components), start=1):
        if box is None:
            continue
        lesion = components[box] == number
        for z in range(lesion.shape[2]):
            if best is not None and _diagonal(lesion[..., z], pixel) <= best.largest:
                continue
            found = slice_diameters(lesion[..., z], pixel)
            if found is not None and (best is None or found.largest > best.largest):
                best = found
    return best


def slice_diameters(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> Diameters | None:
    """Measure a mask ``[X, Y]`` from the middles of its outer pixels' sides; None where it is empty."""
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    sides = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    points = (voxels[:, None] + sides).reshape(-1, 2) * pixel
    corners = points[ConvexHull(points).vertices]
    distances = squareform(pdist(corners))
    one, other = np.unravel_index(distances.argmax(), distances.shape)
    largest = float(distances[one, other])
    along = (corners[other] - corners[one]) / largest
    across = np.array([-along[1], along[0]])
    # The hull's width across the diameter is concave in between its corners, so it is largest at one of them.
    u, v = corners @ along, corners @ across
    upper, lower = _chain(u, v, one, other, np.maximum), _chain(u, v, one, other, np.minimum)
    return Diameters(largest, float((upper - lower).max()))


def _diagonal(mask: np.ndarray, pixel: tuple[float, float]) -> float:
    """Return the diagonal of a mask's box, which no diameter is longer than; 0 where it is empty."""
    columns, rows = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(columns):
        return 0.0
    return float(np.hypot((np.ptp(columns) + 1) * pixel[0], (np.ptp(rows) + 1) * pixel[1]))


def _chain(u: np.ndarray, v: np.ndarray, one: int, other: int, outer: np.ufunc) -> np.ndarray:
    """Return the height of one side of the hull at all its corners' places along the diameter."""
    line = float(v[one])  # of both ends
    side = outer(v, line) == v
    side[[one, other]] = True
    order = np.argsort(u[side])
    return np.interp(u, u[side][order], v[side][order])
