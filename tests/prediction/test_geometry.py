"""Masks come back on the input's grid, voxel for voxel, whatever way its axes run."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
import torch
from scans import LPS, MM, Bright, affine, blob, scan, segmenter

from lgg_monai.data.spacing import PIXEL_MM
from lgg_monai.errors import LggError
from lgg_monai.prediction.geometry import place

EVERY_WAY = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def turned(image: np.ndarray, grid: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]):
    """The same scan with its axes stored in another order and direction."""
    ornt = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)], dtype=float)
    volume = nibabel.orientations.apply_orientation(np.moveaxis(image, 0, -1), ornt)
    moved = grid @ nibabel.orientations.inv_ornt_aff(ornt, image.shape[1:])
    return np.ascontiguousarray(np.moveaxis(volume, -1, 0)), moved, ornt


def tilted(grid: np.ndarray, degrees: float) -> np.ndarray:
    """The grid, turned about an axis that is none of its own."""
    axis = np.array([1.0, 0.4, -0.7]) / np.linalg.norm([1.0, 0.4, -0.7])
    a, cross = np.radians(degrees), np.cross(np.eye(3), axis)
    rotation = np.eye(4)
    rotation[:3, :3] = np.cos(a) * np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * np.outer(axis, axis)
    return rotation @ grid


@pytest.mark.parametrize(("order", "signs"), EVERY_WAY)
def test_the_network_sees_the_same_slices_however_they_are_stored(order, signs) -> None:
    image = blob((20, 16, 6))
    for grid in (LPS, tilted(LPS, 20)):
        volume, moved, _ = turned(image, grid, order, signs)
        placement = place(volume.shape[1:], moved)
        assert np.array_equal(placement.lay_out(volume), image)
        assert np.array_equal(placement.restore(placement.lay_out(volume)[1]), volume[1])
        assert placement.spacing == pytest.approx((MM, MM, 5))


@pytest.mark.parametrize(("order", "signs"), EVERY_WAY[::5])
@pytest.mark.parametrize("degrees", [0, 20])
def test_masks_agree_voxel_for_voxel_in_space(order, signs, degrees) -> None:
    image, grid = blob(), tilted(LPS, degrees)
    segment = segmenter()
    straight = segment(segment.prepare(scan(image, grid))) >= 0.5
    volume, moved, ornt = turned(image, grid, order, signs)
    mask = segment(segment.prepare(scan(volume, moved))) >= 0.5
    assert mask.shape == volume.shape[1:]
    assert 50 < mask.sum() < mask.size / 4
    assert np.array_equal(mask, nibabel.orientations.apply_orientation(straight, ornt))
    # The same places in millimetres, whatever the voxels are called.
    places = [nibabel.affines.apply_affine(a, np.argwhere(m)).mean(0) for a, m in ((grid, straight), (moved, mask))]
    assert np.allclose(*places)


def test_fine_pixels_are_resampled_and_the_mask_comes_back_in_place() -> None:
    shape = (96, 80, 6)
    grid = affine((-MM / 2, 0, 0), (0, -MM / 2, 0), (0, 0, 5))
    image = np.repeat(np.repeat(blob(shape), 2, axis=1), 2, axis=2)
    placement = place(image.shape[1:], grid)
    assert placement.size == (96, 80)
    assert any("resampled" in note for note in placement.notes)
    segment = segmenter()
    prepared = segment.prepare(scan(image, grid))
    assert tuple(prepared.image.shape) == (3, 96, 80, 6)
    mask = segment(prepared) >= 0.5
    assert mask.shape == image.shape[1:]
    # What the coarse slices themselves give, pixel by pixel; resampling smooths the outline.
    coarse = segment(segment.prepare(scan(blob(shape), LPS))) >= 0.5
    expected = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.9
    # Not shifted by as much as a tenth of a pixel.
    assert np.abs(np.argwhere(mask).mean(0) - np.argwhere(expected).mean(0)).max() < 0.1


def test_what_is_laid_out_covers_the_places_of_the_scan() -> None:
    shape, grid = (150, 100, 9), affine((0.2, 0, 4), (0, -0.5, 0), (1.5, 0, -0.1), origin=(7, 8, 9))
    placement = place(shape, grid)
    laid_out = (*placement.size, placement.shape[2])
    assert sorted(laid_out) != sorted(shape)
    edges = [
        {tuple(np.round(matrix @ [*(bits * np.array(size) - 0.5), 1], 6)) for bits in np.ndindex(2, 2, 2)}
        for matrix, size in ((grid, shape), (placement.affine(grid, shape), laid_out))
    ]
    assert edges[0] == edges[1]


def test_a_coarse_axis_alone_is_resampled() -> None:
    placement = place((64, 100, 30), affine((-2 * MM, 0, 0), (0, -MM, 0), (0, 0, 1)))
    assert placement.size == (128, 100)


@pytest.mark.parametrize(("mm", "resampled"), [(0.78, False), (1.1, False), (0.7, True), (1.2, True)])
def test_pixels_like_those_of_training_are_left_alone(mm: float, resampled: bool) -> None:
    size = place((200, 200, 20), affine((-mm, 0, 0), (0, -mm, 0), (0, 0, 5))).size
    assert (size != (200, 200)) == resampled
    assert size[0] == (round(200 * mm / PIXEL_MM) if resampled else 200)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((256, 256), (256, 256)), ((320, 300), (320, 300)), ((512, 448), (256, 224)), ((64, 64), (64, 64))],
)
def test_pixels_of_unknown_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert place((*shape, 20), np.diag([-1.0, -1, 1, 1]), spacing_known=False).size == size


def test_thick_sagittal_and_coronal_slices_are_refused() -> None:
    with pytest.raises(LggError, match=r"sagittal slices of 5\.0 mm"):
        place((24, 256, 256), affine((5, 0, 0), (0, 0.9, 0), (0, 0, 0.9)))
    with pytest.raises(LggError, match=r"coronal slices of 4\.0 mm"):
        place((256, 256, 24), affine((0.9, 0, 0), (0, 0, 0.9), (0, 4, 0)))
    with pytest.raises(LggError, match=r"sagittal slices of 2\.4 mm"):
        place((96, 256, 256), affine((2.4, 0, 0), (0, 1.5, 0), (0, 0, 1.5)))
    assert place((96, 128, 128), affine((2.4, 0, 0), (0, 1.8, 0), (0, 0, 1.8)))  # coarse, but nearly alike each way


def test_a_thin_sagittal_volume_is_cut_axially() -> None:
    # Stored as sagittal slices: X to the front, Y down, Z to the right.
    image = blob((20, 24, 16))
    stored = np.ascontiguousarray(image.transpose(0, 2, 3, 1)[:, ::-1, ::-1, ::-1])  # from L, P, S to A, I, R
    grid = affine((0, 1, 0), (0, 0, -1), (1, 0, 0))
    placement = place(stored.shape[1:], grid)
    assert np.array_equal(placement.lay_out(stored), image)


@pytest.mark.parametrize("grid", [np.zeros((4, 4)), np.full((4, 4), np.nan), affine((1, 0, 0), (1, 0, 0), (0, 0, 1))])
def test_an_unusable_affine_is_refused(grid: np.ndarray) -> None:
    with pytest.raises(LggError, match="affine"):
        place((8, 8, 8), grid)


def test_oblique_slices_are_noted() -> None:
    assert not place((8, 8, 8), tilted(LPS, 15)).notes
    assert any("oblique" in note for note in place((8, 8, 8), tilted(LPS, 40)).notes)


@pytest.mark.parametrize(("scale", "shown"), [(100, "24064 x 24064 mm"), (0.001, "0.24064 x 0.24064 mm")])
def test_absurd_spacing_is_refused(scale: float, shown: str) -> None:
    """Of metres taken for millimetres, slices shrank to a pixel for the network, which outlined all of them."""
    with pytest.raises(LggError, match=rf"{shown} by the affine: correct the file's spacing"):
        place((256, 256, 20), affine((-0.94 * scale, 0, 0), (0, -0.94 * scale, 0), (0, 0, 5 * scale)))


def test_mirrored_predictions_are_averaged_and_symmetric() -> None:
    class Sided(Bright):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            ramp = torch.linspace(-3, 3, image.shape[2])[None, None, :, None]
            return super().forward(image) + ramp

    plain, mirrored = segmenter([Sided()]), segmenter([Sided()], tta=True)
    image = blob()
    image = (image + image[:, ::-1]) / 2
    one = plain(plain.prepare(scan(image)))
    both = mirrored(mirrored.prepare(scan(image)))
    assert np.allclose(both, (one + one[::-1]) / 2, atol=1e-6)
    assert not np.allclose(one, one[::-1], atol=0.1)


def test_an_ensemble_is_the_mean_probability() -> None:
    networks = [Bright(0.5), Bright(2.5)]
    single = [segmenter([network]) for network in networks]
    both = segmenter(networks)
    means = np.mean([segment(segment.prepare(scan())) for segment in single], axis=0)
    assert np.allclose(both(both.prepare(scan())), means)


def test_any_number_of_slices_and_any_size() -> None:
    segment = segmenter(batch_size=4)
    for shape in ((33, 47, 1), (16, 16, 9), (50, 20, 4)):
        image = blob(shape)
        assert segment(segment.prepare(scan(image))).shape == shape


def test_fine_pixels_are_averaged_and_not_skipped() -> None:
    grid = affine((-MM / 4, 0, 0), (0, -MM / 4, 0), (0, 0, 5))
    stripes = ((np.arange(128) + 1) // 2 % 2).astype(np.float32)  # two pixels wide: half a pixel of the network
    image = np.broadcast_to(stripes[None, :, None, None], (3, 128, 128, 2)).copy()
    seen = place(image.shape[1:], grid).lay_out(image)
    assert seen.shape == (3, 32, 32, 2)
    assert np.abs(seen[:, 2:-2] - 0.5).max() < 0.1
