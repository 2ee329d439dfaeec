"""Measurements on shapes whose size is known."""

from __future__ import annotations

import numpy as np
import pytest
from scans import LPS, MM, blob, scan

from lgg_monai.engines.scores import mask_dice
from lgg_monai.prediction.diameters import largest_diameters, slice_diameters
from lgg_monai.prediction.geometry import place
from lgg_monai.prediction.measurements import (
    DEFINITIONS,
    contrast,
    head_mask,
    hemisphere,
    measure,
    uncertainty,
)


def rectangle(width: float, height: float, degrees: float, size: int = 200) -> np.ndarray:
    x, y = np.indices((size, size)) - (size - 1) / 2
    a = np.radians(degrees)
    u, v = np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y
    return (np.abs(u) <= width / 2) & (np.abs(v) <= height / 2)


def ellipsoid(shape: tuple[int, int, int], axes: tuple[float, float, float]) -> np.ndarray:
    grid = np.indices(shape) - (np.array(shape) - 1)[:, None, None, None] / 2
    return sum((g / a) ** 2 for g, a in zip(grid, axes, strict=True)) <= 1


def test_three_slices_are_not_taken_for_colours() -> None:
    """scikit-image's threshold warns of a volume whose last side is three, on the user's screen."""
    assert head_mask(blob((40, 48, 3))[1]).any()


@pytest.mark.parametrize("degrees", [0, 17, 45, 63, 90, 118])
def test_a_turned_rectangle_has_its_diagonal_and_the_chord_across(degrees: float) -> None:
    width, height = 90.0, 40.0
    found = slice_diameters(rectangle(width, height, degrees))
    assert found is not None
    diagonal = np.hypot(width, height)
    assert found.largest == pytest.approx(diagonal, abs=1.5)
    # The longest chord at right angles to the diagonal starts at a corner: height * diagonal / width.
    assert found.perpendicular == pytest.approx(height * diagonal / width, abs=1.5)
    assert found.product == found.largest * found.perpendicular


def test_a_circle_and_a_pixel() -> None:
    x, y = np.indices((101, 101)) - 50
    found = slice_diameters(x**2 + y**2 <= 40**2)
    assert found is not None
    assert found.largest == pytest.approx(81, abs=0.5)
    assert found.perpendicular == pytest.approx(81, abs=1)
    pixel = np.zeros((3, 3), bool)
    pixel[1, 1] = True
    one = slice_diameters(pixel)
    assert one is not None
    assert (one.largest, one.perpendicular) == (1, 1)
    assert slice_diameters(np.zeros((3, 3), bool)) is None


def test_diameters_follow_the_pixels_sides() -> None:
    found = slice_diameters(rectangle(60, 20, 0), (0.5, 2.0))
    assert found is not None
    assert found.largest == pytest.approx(np.hypot(30, 40), abs=2)


def test_diameters_never_span_two_lesions() -> None:
    lesions = np.zeros((100, 100, 3), int)
    lesions[5:15, 5:25, 1] = 1
    lesions[80:95, 80:95, 1] = 2
    found = largest_diameters(lesions, (1.0, 1.0))
    assert found is not None
    assert found.largest == pytest.approx(np.hypot(10, 20), abs=1)
    assert largest_diameters(np.zeros((4, 4, 2), int), (1.0, 1.0)) is None


def test_an_ellipsoid() -> None:
    shape, axes = (80, 80, 30), (30.0, 20.0, 10.0)  # voxels
    mask = ellipsoid(shape, axes)
    image = np.broadcast_to(np.where(mask, 200, 50), (3, *shape)).astype(np.float32).copy()
    volume = scan(image, LPS)
    placement = place(shape, LPS)
    found = measure(volume, placement, np.ones(shape, bool), mask, mask.astype(float))
    assert list(found) == list(DEFINITIONS)
    ml = 4 / 3 * np.pi * 30 * MM * 20 * MM * 10 * 5 / 1000
    assert found["volume_ml"] == pytest.approx(ml, rel=0.01)
    assert found["volume_voxels"] == mask.sum()
    assert found["largest_diameter"] == pytest.approx(60 * MM, abs=1.5)
    assert found["perpendicular_diameter"] == pytest.approx(40 * MM, abs=1.5)
    assert found["length_unit"] == "mm"
    assert (found["lesions"], found["tumour_slices"], found["slices"]) == (1, 20, 30)
    assert found["bounding_box"] == "10-69 20-59 5-24"
    centre = LPS @ [39.5, 39.5, 14.5, 1]
    assert [found[f"centre_{axis}_mm"] for axis in "ras"] == pytest.approx(centre[:3], abs=0.06)
    assert found["hemisphere"] == "both"
    assert found["flair_contrast"] == 4
    assert found["uncertainty"] == 0
    assert found["dice"] is None


def test_measurements_do_not_depend_on_how_the_axes_run() -> None:
    image = blob()
    mask = image[1] > 110
    placement = place(mask.shape, LPS)
    head = head_mask(placement.turned(image[1]))
    straight = measure(scan(image), placement, head, mask, np.where(mask, 0.9, 0.2))
    # Z, X, Y with X mirrored: the affine says so.
    grid = LPS @ np.array([[0, -1, 0, 47], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    moved, other = (np.ascontiguousarray(v.transpose(2, 0, 1)[:, ::-1]) for v in (image[1], mask))
    turned = np.stack([moved] * 3)
    placement = place(other.shape, grid)
    found = measure(scan(turned, grid), placement, head, other, np.where(other, 0.9, 0.2))
    for name in set(DEFINITIONS) - {"bounding_box", "dice"}:
        assert found[name] == straight[name], name
    assert straight["hemisphere"] == "left"  # X grows to the patient's left


def test_without_spacing_lengths_are_in_pixels() -> None:
    image = blob()
    mask = image[1] > 110
    grid = np.diag([-1.0, -1, 1, 1])
    volume = scan(image, grid, spacing_known=False)
    placement = place(mask.shape, grid, spacing_known=False)
    found = measure(volume, placement, head_mask(image[1]), mask, mask.astype(float), label=mask)
    assert found["volume_ml"] is None
    assert found["centre_r_mm"] is None
    assert found["length_unit"] == "px"
    assert found["volume_voxels"] == mask.sum()
    assert found["dice"] == 1


def test_an_empty_mask() -> None:
    mask = np.zeros((48, 40, 12), bool)
    found = measure(scan(), place(mask.shape, LPS), head_mask(blob()[1]), mask, mask.astype(float), label=~mask)
    assert found["volume_ml"] == 0
    assert found["dice"] == 0
    for name in ("largest_diameter", "bounding_box", "centre_a_mm", "hemisphere", "flair_contrast", "uncertainty"):
        assert found[name] is None


def test_sides_are_those_of_the_head_and_not_of_the_picture() -> None:
    head = np.zeros((100, 20, 2), bool)
    head[50:90] = True  # off centre, its middle at 69.5
    mask = np.zeros_like(head)
    mask[55:65] = True
    assert hemisphere(mask, head) == "right"
    assert hemisphere(np.roll(mask, 20, axis=0), head) == "left"
    for first, last, side in (
        (60, 75, "both"),
        (65, 80, "both"),
        (68, 78, "both"),
        (69, 79, "left"),
        (61, 71, "right"),
    ):
        mask[:] = False
        mask[first:last] = True  # one side from nine tenths on
        assert hemisphere(mask, head) == side
    assert hemisphere(np.zeros_like(mask), head) is None


def test_uncertainty_is_that_of_a_coin_where_probability_is_a_half() -> None:
    mask = np.zeros((30, 30, 3), bool)
    mask[10:20, 10:20, 1] = True
    assert uncertainty(mask, np.full(mask.shape, 0.5)) == 1
    assert uncertainty(mask, np.where(mask, 0.999, 0.001)) < 0.02
    # Elsewhere it does not count.
    doubtful = mask.astype(float)
    doubtful[..., 0] = doubtful[6, 15, 1] = 0.5
    assert uncertainty(mask, doubtful) == 0
    doubtful[7, 15, 1] = 0.5  # 3 voxels from the mask
    assert uncertainty(mask, doubtful) > 0


def test_contrast() -> None:
    flair = np.array([[[100.0, 50.0, 50.0, 0.0]]])
    mask = np.array([[[True, False, False, False]]])
    head = np.array([[[True, True, True, False]]])
    assert contrast(flair, mask, head) == 2


def test_the_head_is_found_in_noise() -> None:
    image = blob((64, 64, 6))
    head = head_mask(image[1])
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    true = np.broadcast_to(((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1)[..., None], head.shape)
    assert mask_dice(head, true) > 0.97
    assert not head_mask(np.zeros((4, 4, 2))).any()


def test_diameters_follow_pixels_that_are_not_square() -> None:
    mask = np.zeros((60, 60, 4), bool)
    mask[10:50, 20:30, 1] = True
    grid = np.diag([-0.8, -1.1, 5.0, 1.0])
    image = np.where(mask, 200.0, 50.0)[None].repeat(3, 0).astype(np.float32)
    found = measure(scan(image, grid), place(mask.shape, grid), np.ones_like(mask), mask, mask.astype(float))
    assert found["largest_diameter"] == pytest.approx(np.hypot(40 * 0.8, 10 * 1.1), abs=1.5)  # not 40 * 1.1, 10 * 0.8


def test_a_lesion_with_a_waist_is_measured_where_it_is_widest() -> None:
    lesion = np.zeros((40, 40, 3), int)
    lesion[10:20, 10:20, 0] = lesion[14:16, 14:16, 1] = lesion[5:35, 5:35, 2] = 1
    found = largest_diameters(lesion, (1.0, 1.0))
    assert found is not None
    assert found.largest == pytest.approx(np.hypot(30, 30), abs=1)
