"""Volumes on grids: places stay, whatever grid they are brought onto."""

from __future__ import annotations

import numpy as np
import pytest

from lgg_monai.data.grids import coinciding, covered, onto_grid, same_grid


def grid(spacing: tuple[float, ...], origin: tuple[float, ...] = (0, 0, 0), degrees: float = 0) -> np.ndarray:
    """An affine whose axes are turned by some degrees, first about one and then about another."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = origin
    return affine


def places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def test_resampling_onto_another_grid_keeps_places() -> None:
    # A plane that rises with the millimetres stays that plane on any grid.
    fine, coarse = grid((1, 1, 1), (-20, -20, -20)), grid((-0.8, -0.9, 4), (5, 5, -6), degrees=25)
    ramp = (places((40, 40, 40), fine) @ [1.0, 2.0, 3.0]).astype(np.float32)
    found = onto_grid(ramp, fine, (12, 10, 3), coarse)
    assert np.allclose(found, places((12, 10, 3), coarse) @ [1.0, 2.0, 3.0], atol=1e-3)


def test_the_same_grid_is_not_resampled() -> None:
    volume = np.zeros((64, 48, 8), dtype=np.float32)
    one, almost, turned = grid((1, 1, 5)), grid((1, 1, 5), (1e-4, 1e-4, 1e-4)), grid((1, 1, 5), degrees=1)
    assert onto_grid(volume, almost, volume.shape, one) is volume
    assert not same_grid(volume.shape, turned, volume.shape, one)


def test_a_mask_is_brought_onto_the_same_voxels_of_another_order_direction_and_extent() -> None:
    mask = np.random.default_rng(0).random((6, 5, 4)) > 0.5
    affine = grid((1, 2, 5), (3, -4, 7), degrees=20)
    # Axes Z, X and Y; X runs the other way, from beyond the mask; Y lacks its last voxel.
    other = affine @ np.array([[0, -1, 0, 7], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    expected = np.pad(mask.transpose(2, 0, 1)[:, ::-1, :4], ((0, 0), (2, 0), (0, 0)))
    assert np.array_equal(coinciding(mask, affine, (4, 8, 4), other), expected)


@pytest.mark.parametrize("other", [grid((1, 2, 5), (0.02, 0, 0)), grid((1, 1, 5)), grid((1, 2, 5), degrees=1)])
def test_voxels_of_other_places_do_not_coincide(other: np.ndarray) -> None:
    assert coinciding(np.ones((6, 5, 4)), grid((1, 2, 5)), (6, 5, 4), other) is None


def test_the_covered_part_is_that_of_the_grid() -> None:
    affine = grid((1, 1, 5), degrees=30)
    half = affine.copy()
    half[:3, 3] = affine[:3] @ [20, 0, 0, 1]
    assert covered((40, 40, 10), affine, (40, 40, 10), affine) == 1
    assert covered((40, 40, 10), affine, (40, 40, 10), half) == pytest.approx(0.5, abs=0.05)
    assert covered((40, 40, 10), affine, (10, 10, 4), affine) == 1
    assert covered((10, 40, 10), affine, (40, 40, 10), half) == 0
