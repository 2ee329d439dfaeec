"""Masks as other programs save them: turned, cropped, in layers, and in formats of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from nibabel import orientations
from scans import LPS, affine, blob, save, scan

from lgg_monai.errors import LggError
from lgg_monai.prediction.masks import load_mask
from lgg_monai.prediction.nifti import load_volume

OBLIQUE = affine((0.6, 0.05, 0), (-0.05, 0.6, 0.1), (0, -0.1, 5.0))
CROP = (slice(4, 40), slice(3, 30), slice(2, 11))


def some_mask() -> np.ndarray:
    """A mask without symmetry, within `CROP`."""
    mask = np.zeros((48, 40, 12), bool)
    mask[CROP] = np.random.default_rng(1).random((36, 27, 9)) > 0.7
    return mask


def cropped(mask: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    origin = np.eye(4)
    origin[:3, 3] = [part.start for part in CROP]
    return mask[CROP], grid @ origin


def turned(mask: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turn = np.array([[2, -1], [0, 1], [1, -1]])
    return orientations.apply_orientation(mask, turn), grid @ orientations.inv_ornt_aff(turn, mask.shape)


def save_nrrd(path: Path, array: np.ndarray, grid: np.ndarray, **fields: Any) -> Path:
    """Save as 3D Slicer does: left, back and up, gzip, and one axis before those of space where there are layers."""
    lps = np.diag([-1, -1, 1, 1]) @ grid
    directions = lps[:3, :3].T
    if array.ndim == 4:
        directions = np.vstack([np.full(3, np.nan), directions])
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": lps[:3, 3],
        "encoding": "gzip",
    }
    nrrd.write(str(path), array.astype(np.uint8), {**header, **fields})
    return path


@pytest.mark.parametrize("grid", [LPS, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("suffix", "change"),
    [(".seg.nrrd", cropped), (".seg.nrrd", turned), (".nii.gz", turned)],
    ids=["part in NRRD", "turned in NRRD", "turned in NIfTI"],
)
def test_voxels_come_back_where_they_were(tmp_path: Path, grid: np.ndarray, change: Any, suffix: str) -> None:
    array, place = change(some_mask(), grid)
    path = tmp_path / f"A{suffix}"
    if suffix == ".nii.gz":
        save(path, array.astype(np.uint8) * 3, place)
    else:
        save_nrrd(path, array * 3, place)
    target = scan(grid=grid)
    np.testing.assert_array_equal(load_mask(path, target), some_mask())
    assert target.warnings == []


def test_overlapping_segments_are_taken_together_and_that_is_told(tmp_path: Path) -> None:
    mask = some_mask()
    layers = np.stack([mask & (np.arange(12) < 6), mask & (np.arange(12) > 4)])
    names = {"Segment0_Name": "oedema", "Segment1_Name": "core"}
    target = scan()
    found = load_mask(save_nrrd(tmp_path / "A.seg.nrrd", layers, LPS, **names), target)
    np.testing.assert_array_equal(found, mask)
    assert target.warnings == ["A.seg.nrrd has 2 segments, all taken to be tumour"]


@pytest.mark.parametrize(
    ("values", "taken", "told"),
    [
        ((1, 2, 4), 3, ["A.nii.gz has the labels 1, 2, 4, all taken to be tumour"]),
        (
            tuple(range(1, 11)),
            10,
            ["A.nii.gz has the labels 1, 2, 3, 4, 5, 6, 7, 8 and 2 more, all taken to be tumour"],
        ),
        ((0, 255, 255), 2, []),
        ((0.4, 0.6, 1), 2, []),  # as of a mask that was resampled
    ],
)
def test_labels_are_taken_together_and_told(
    values: tuple[float, ...], taken: int, told: list[str], tmp_path: Path
) -> None:
    array = np.zeros(blob().shape[1:], np.float32)
    array[5, 5, : len(values)] = values
    target = scan()
    found = load_mask(save(tmp_path / "A.nii.gz", array), target)
    assert found.sum() == taken
    assert target.warnings == told


def test_a_segmentation_without_voxels_is_an_empty_mask(tmp_path: Path) -> None:
    """3D Slicer saves it as a single voxel, which cannot be none."""
    assert not load_mask(save_nrrd(tmp_path / "A.seg.nrrd", np.ones((1, 1, 1)), LPS), scan()).any()


def test_masks_of_other_voxels_are_refused(tmp_path: Path) -> None:
    mask, image = some_mask(), blob()
    between = LPS.copy()
    between[:3, 3] += LPS[:3, 0] / 2
    for number, (array, place) in enumerate(
        [(mask, between), (mask, OBLIQUE), (mask[::2], LPS @ np.diag([2, 1, 1, 1]))]
    ):
        path = save_nrrd(tmp_path / f"{number}.seg.nrrd", array, place)
        with pytest.raises(
            LggError, match=rf"the reference mask .*{number}\.seg\.nrrd lies on another grid than the scan"
        ):
            load_mask(path, scan(image))
    beside = LPS.copy()
    beside[:3, 3] += 40 * LPS[:3, 0]
    path = save_nrrd(tmp_path / "far.seg.nrrd", mask, beside)
    with pytest.raises(LggError, match=rf"marks {mask[8:].sum()} voxels outside of the scan: is it another patient's"):
        load_mask(path, scan(image))


def test_a_part_of_a_scan_is_not_taken_from_nifti(tmp_path: Path) -> None:
    """Its header is more likely wrong."""
    array, place = cropped(some_mask(), LPS)
    with pytest.raises(LggError, match="lies on another grid than the scan"):
        load_mask(save(tmp_path / "mask.nii.gz", array.astype(np.uint8), place), scan())


def test_a_made_up_position_places_nothing(tmp_path: Path) -> None:
    """What nibabel makes up where a header has no position may be the mirror image's."""
    for name, array in {"mask": some_mask().astype(np.uint8), "flair": blob()[1]}.items():
        picture = nibabel.Nifti1Image(array, None)
        picture.header["pixdim"][1:4] = 0.9375, 0.9375, 5
        nibabel.save(picture, tmp_path / f"{name}.nii.gz")
    mirrored = nibabel.load(tmp_path / "mask.nii.gz").affine @ np.diag([-1, 1, 1, 1])
    mirrored[:3, 3] += mirrored[:3, 0] * -47
    with pytest.raises(LggError, match="lies on another grid"):
        load_mask(tmp_path / "mask.nii.gz", scan(grid=mirrored))
    array, place = turned(some_mask(), nibabel.load(tmp_path / "flair.nii.gz").affine)
    save(tmp_path / "placed.nii.gz", array.astype(np.uint8), place)
    with pytest.raises(LggError, match="lies on another grid"):
        load_mask(tmp_path / "placed.nii.gz", load_volume("A", tmp_path / "flair.nii.gz"))


def test_damaged_and_unplaced_nrrd_files_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = save_nrrd(tmp_path / "whole.seg.nrrd", some_mask(), LPS).read_bytes()
    (tmp_path / "cut.seg.nrrd").write_bytes(whole[:-200])
    (tmp_path / "text.seg.nrrd").write_text("not a segmentation")
    (tmp_path / "empty.seg.nrrd").touch()
    nrrd.write(str(tmp_path / "unplaced.nrrd"), some_mask().astype(np.uint8))
    for name, message in {
        "cut.seg.nrrd": "cut.seg.nrrd as NRRD, it is damaged or cut short",
        "text.seg.nrrd": "text.seg.nrrd as NRRD, it is damaged or cut short",
        "empty.seg.nrrd": "empty.seg.nrrd is empty: save it again",
        "unplaced.nrrd": "unplaced.nrrd says nothing of its position: save it from 3D Slicer as a segmentation",
    }.items():
        with pytest.raises(LggError) as refusal:
            load_mask(tmp_path / name, scan())
        assert message in str(refusal.value)
        assert "\n" not in str(refusal.value)
