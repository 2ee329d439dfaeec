"""Where voxels end up on the screen."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from report_patients import OBLIQUE, MakePatient, save

from lgg_monai.errors import LggError
from lgg_monai.viewer.volumes import Grid, read_volumes

SHAPE = (40, 36, 7)
SAGITTAL = np.array([[0.0, 0.0, 5.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([-1.0, -1, 1, 1]), np.diag([1.0, 1, 6, 1]), SAGITTAL])
def test_viewer_voxels_are_the_file_voxels_in_ras_order(affine: np.ndarray) -> None:
    volume = np.random.default_rng(0).random(SHAPE)
    ras = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine)).get_fdata()
    grid = Grid(affine, SHAPE)
    for voxel in [(0, 0, 0), (3, 30, 5), (39, 35, 6)]:
        assert ras[tuple(grid.ras_voxel(voxel))] == volume[voxel]


@pytest.mark.parametrize(("affine", "plane"), [(OBLIQUE, 2), (SAGITTAL, 0), (np.diag([1.0, 4, 1, 1]), 1)])
def test_slices_are_shown_in_the_plane_of_acquisition_and_in_the_order_of_the_file(
    affine: np.ndarray, plane: int
) -> None:
    volume = np.random.default_rng(1).random(SHAPE)
    grid = Grid(affine, SHAPE)
    assert grid.plane == plane
    thick = int(nibabel.affines.voxel_sizes(affine).argmax())
    shown = grid.shown(volume)
    for index in range(SHAPE[thick]):
        assert sorted(shown[..., index].ravel()) == sorted(np.take(volume, index, axis=thick).ravel())


def test_slices_thinner_than_pixels_are_wide_are_axial() -> None:
    assert Grid(np.diag([-2.0, -2, 0.8, 1]), SHAPE).plane == 2


@pytest.mark.parametrize(("sizes", "shown"), [((1, 2, 5), (40, 72)), ((3, 1, 5), (120, 36)), ((1, 1.2, 5), (40, 36))])
def test_long_pixels_are_drawn_several_times(sizes: tuple[float, ...], shown: tuple[int, int]) -> None:
    volume = np.random.default_rng(2).random(SHAPE)
    pictures = Grid(np.diag([*sizes, 1]), SHAPE).shown(volume)
    assert pictures.shape == (*shown, 7)
    steps = (shown[0] // 40, shown[1] // 36)
    assert np.array_equal(pictures[:: steps[0], :: steps[1]], volume[::-1, ::-1])


def test_the_right_side_is_on_the_left_and_anterior_is_up() -> None:
    """A voxel far to the patient's right, anterior, in RAS order without any flip."""
    volume = np.zeros(SHAPE)
    volume[39, 35, 3] = 1
    column, row, _ = np.argwhere(Grid(np.diag([1.0, 1, 5, 1]), SHAPE).shown(volume))[0]
    assert (column, row) == (0, 0)
    column, row, _ = np.argwhere(Grid(np.diag([-1.0, -1, 5, 1]), SHAPE).shown(volume))[0]
    assert (column, row) == (39, 35)


def test_the_first_look_is_at_the_largest_tumour_slice(make_patient: MakePatient) -> None:
    assert read_volumes(make_patient()).centre == (12, 22, 3)
    assert read_volumes(make_patient(mask=None)).centre == (20, 18, 3)


def test_slices_of_unknown_spacing_make_up_a_head() -> None:
    affine = Grid(np.diag([-1.0, -1, 1, 1]), (256, 256, 30)).head_affine()
    assert nibabel.affines.voxel_sizes(affine) == pytest.approx([1, 1, 0.6 * 256 / 30])
    assert nibabel.affines.voxel_sizes(Grid(np.eye(4), (256, 256, 2)).head_affine()) == pytest.approx([1, 1, 6])
    in_metres = np.diag([-0.0005, -0.0005, 0.009, 1])  # of which the size of pixels alone counts
    guessed = nibabel.affines.voxel_sizes(Grid(in_metres, (256, 256, 2)).head_affine())
    assert guessed == pytest.approx([0.0005, 0.0005, 6 * 0.0005])


def test_flair_is_taken_from_three_sequences(make_patient: MakePatient, tmp_path: Path) -> None:
    stack = np.stack([np.full(SHAPE, value, dtype=np.float32) for value in (1, 2, 3)], axis=3)
    patient = make_patient(image=save(tmp_path / "stack.nii.gz", stack, OBLIQUE))
    assert (read_volumes(patient).flair == 2).all()


def test_unreadable_and_unfitting_volumes_are_refused_in_one_line(make_patient: MakePatient, tmp_path: Path) -> None:
    cut = tmp_path / "cut.nii.gz"
    patient = make_patient()
    assert patient.image is not None
    cut.write_bytes(patient.image.read_bytes()[:300])
    for image, message in [(cut, "cannot read the volume"), (None, "there is no image")]:
        with pytest.raises(LggError, match=message) as error:
            read_volumes(make_patient(image=image))
        assert "\n" not in str(error.value)
    shifted = save(tmp_path / "shifted.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(LggError, match="not on the grid of"):
        read_volumes(make_patient(mask=shifted))
