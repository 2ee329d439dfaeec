"""Where voxels lie: grids of a shape and an affine, and volumes brought from one onto another."""

from __future__ import annotations

import nibabel
import numpy as np
from scipy.ndimage import affine_transform


def leads_to_places(affine: np.ndarray) -> bool:
    """Tell whether a matrix ``[4, 4]`` leads from voxels to places and back."""
    return bool(affine.shape == (4, 4) and np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-9)


def same_grid(
    shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other_affine: np.ndarray
) -> bool:
    """Tell whether two volumes' voxels coincide to a hundredth of a voxel."""
    if tuple(shape) != tuple(other_shape):
        return False
    corners = _corners(shape)
    return bool(np.abs(np.linalg.solve(other_affine, affine @ corners) - corners).max() < 0.01)


def onto_grid(volume: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], grid: np.ndarray) -> np.ndarray:
    """Resample a volume onto another grid, linearly, with 0 outside; on the same grid it is returned as it is.

    Args:
        volume: [X, Y, Z].
        affine: of the volume.
        shape: of the grid.
        grid: the grid's affine.
    """
    if same_grid(volume.shape, affine, shape, grid):
        return volume
    matrix = np.linalg.solve(affine, grid)
    # "grid-constant" fades to 0 over the outermost voxel; "constant" would lose an outermost slice to rounding.
    return affine_transform(
        volume, matrix[:3, :3], matrix[:3, 3], output_shape=tuple(shape), order=1, mode="grid-constant"
    )


def coinciding(mask: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], grid: np.ndarray) -> np.ndarray | None:
    """Bring a mask onto a grid that has the same voxels, whatever its axes' order and direction and its extent.

    Args:
        mask: [X, Y, Z].
        affine: of the mask.
        shape: of the grid.
        grid: the grid's affine.

    Returns:
        The mask on the grid, false beyond its own extent; None where voxels do not coincide to a hundredth of one.
    """
    matrix = np.linalg.solve(affine, grid)
    whole = np.rint(matrix)
    turns = np.abs(whole[:3, :3])
    if not (turns.sum(axis=0) == 1).all() or not (turns.sum(axis=1) == 1).all():
        return None
    if np.abs((matrix - whole) @ _corners(shape)).max() > 0.01:
        return None
    moved = affine_transform(
        mask.astype(np.uint8), whole[:3, :3], whole[:3, 3], output_shape=tuple(shape), order=0, mode="constant"
    )
    return moved.astype(bool)


def covered(shape: tuple[int, ...], affine: np.ndarray, grid_shape: tuple[int, ...], grid: np.ndarray) -> float:
    """Return the part of a grid's volume that lies within another volume, from points spread evenly over it."""
    axes = [np.linspace(0, length - 1, 15) for length in grid_shape]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    places = nibabel.affines.apply_affine(np.linalg.solve(affine, grid), points.T)
    return float(((places > -0.51) & (places < np.array(shape) - 0.49)).all(axis=1).mean())


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    """Return the corners of a volume in voxels, as columns ``[4, 8]`` that an affine can be applied to."""
    return np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])]).T
