"""Volumes written as shuffled DICOM series and read back, voxel for voxel, in every orientation."""

from __future__ import annotations

import pickle
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import FileMetaDataset, dcmread, dcmwrite
from pydicom.uid import RLELossless, generate_uid
from synthesis import AXIAL, edit, some_volume

from benchmarks.dicom_series import rotated, synthesise_series
from lgg_monai.data.scan import Scan
from lgg_monai.dicom.find import find_dicom

OBLIQUE = rotated(AXIAL, (10, 20, -15), (80.0, 70.0, -30.0))
# Columns towards the back and rows towards the feet; columns towards the left and rows towards the feet.
SAGITTAL = np.array([[0, 0, 4.0, -60], [-0.5, 0, 0, 100], [0, -0.75, 0, 90], [0, 0, 0, 1.0]])
CORONAL = np.array([[-0.5, 0, 0, 60], [0, 0, -4.0, 100], [0, -0.75, 0, 90], [0, 0, 0, 1.0]])


def read(folder: Path, **choices: str) -> Scan:
    (source,) = find_dicom([folder], choices)
    return source.load()


@pytest.mark.parametrize(
    "affine", [AXIAL, OBLIQUE, SAGITTAL, CORONAL, rotated(SAGITTAL, (5, 8, 12)), rotated(CORONAL, (30, -40, 0))]
)
def test_a_series_is_read_in_the_order_of_space_whatever_its_files_say(tmp_path: Path, affine: np.ndarray) -> None:
    volume = some_volume()
    synthesise_series(tmp_path, volume, affine, "T2 FLAIR", shuffle=3)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.image, np.stack([volume] * 3))
    np.testing.assert_allclose(scan.affine, affine, atol=1e-5)
    assert scan.image.dtype == np.float32
    assert scan.missing == ("pre", "post")
    assert scan.warnings == []


def test_slices_written_from_head_to_foot_come_back_on_the_same_places(tmp_path: Path) -> None:
    volume = some_volume()
    downwards = OBLIQUE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1.0]])
    synthesise_series(tmp_path, volume, downwards, "T2 FLAIR")
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.image[1], volume[:, :, ::-1])
    np.testing.assert_allclose(scan.affine, OBLIQUE, atol=1e-5)


def test_three_sequences_on_one_grid_are_not_resampled(tmp_path: Path) -> None:
    volumes = [some_volume(seed=seed) for seed in range(3)]
    for name, volume in zip(("AX T1 PRE", "AX T2 FLAIR", "AX T1 POST GD"), volumes, strict=True):
        synthesise_series(tmp_path / name, volume, OBLIQUE, name)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.image, np.stack(volumes))
    assert scan.missing == ()


def test_a_sequence_on_another_grid_is_resampled_onto_flairs(tmp_path: Path) -> None:
    def field(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """A linear function of place, which linear interpolation keeps, up to rounding to integers."""
        places = np.einsum("ij,jxyz->ixyz", affine, np.stack([*np.indices(shape), np.ones(shape)]))
        return np.rint(20000 + 100 * places[0] + 60 * places[1] - 80 * places[2])

    grid = np.diag([-1.0, -1.0, 4.0, 1.0])
    other = rotated(np.diag([-0.7, -0.8, 1.5, 1.0]), (4, -3, 8), (6.0, 6.0, -8.0))
    synthesise_series(tmp_path, field(grid, (10, 11, 6)), grid, "FLAIR", 1)
    synthesise_series(tmp_path, field(other, (36, 36, 28)), other, "T1", 2)
    scan = read(tmp_path)
    assert scan.missing == ("post",)
    assert scan.warnings == []
    np.testing.assert_allclose(scan.image[0], scan.image[1], atol=1.5)


def test_a_sequence_that_covers_half_of_flair_is_zero_elsewhere_and_warned_of(tmp_path: Path) -> None:
    volume = some_volume() + 1
    synthesise_series(tmp_path, volume, AXIAL, "FLAIR", 1)
    synthesise_series(tmp_path, volume[:, :, :3], AXIAL, "T1", 2)
    scan = read(tmp_path)
    np.testing.assert_array_equal(scan.image[0, :, :, :3], volume[:, :, :3])
    assert not scan.image[0, :, :, 3:].any()
    assert any("covers 5" in warning and 'series 2 "T1"' in warning for warning in scan.warnings)


def test_stored_values_become_real_ones_slice_by_slice(tmp_path: Path) -> None:
    volume = some_volume() // 8
    files = synthesise_series(tmp_path, volume, AXIAL, "FLAIR", RescaleSlope="0.5", RescaleIntercept="-7")
    edit(files[2], RescaleSlope="2")
    expected = volume * 0.5 - 7
    expected[:, :, 2] = volume[:, :, 2] * 2.0 - 7
    np.testing.assert_array_equal(read(tmp_path).image[1], expected)


def test_signed_and_losslessly_compressed_pixels(tmp_path: Path) -> None:
    volume = some_volume()
    files = synthesise_series(tmp_path, volume, AXIAL, "FLAIR", PixelRepresentation=1)
    for path in files:
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    np.testing.assert_array_equal(read(tmp_path).image[1], volume.view(np.int16))


def test_files_without_a_header_are_read_as_they_are(tmp_path: Path) -> None:
    volume = some_volume()
    for path in synthesise_series(tmp_path, volume, AXIAL, "FLAIR"):
        dataset = dcmread(path)
        bare = path.with_suffix(".dcm")
        path.unlink()
        # The bytes of the data set alone, in implicit little endian.
        dataset.file_meta = FileMetaDataset()
        dataset.preamble = None
        dcmwrite(bare, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read(tmp_path).image[1], volume)


def test_a_multi_frame_file_is_read_as_its_slices(tmp_path: Path) -> None:
    volume = some_volume()
    files = synthesise_series(tmp_path / "single", volume, OBLIQUE, "AX T2 FLAIR", shuffle=2)
    converted = highdicom.legacy.LegacyConvertedEnhancedMRImage(
        [dcmread(path) for path in files[::-1]],
        series_instance_uid=generate_uid(),
        series_number=4,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    (tmp_path / "multi").mkdir()
    converted.save_as(tmp_path / "multi" / "frames")
    scan = read(tmp_path / "multi")
    np.testing.assert_array_equal(scan.image[1], volume)
    np.testing.assert_allclose(scan.affine, OBLIQUE, atol=1e-5)


def test_a_folder_may_hold_several_studies_copies_and_other_files(tmp_path: Path) -> None:
    volume = some_volume()
    synthesise_series(tmp_path / "a", volume, AXIAL, "FLAIR")
    synthesise_series(tmp_path / "ä b'c" / "deep", volume, AXIAL, "FLAIR", StudyInstanceUID="1.2.3")
    synthesise_series(tmp_path / "copy", volume, AXIAL, "FLAIR", SeriesInstanceUID="1.2.3.4", StudyInstanceUID="1.2.4")
    synthesise_series(tmp_path / "again", volume, AXIAL, "FLAIR", SeriesInstanceUID="1.2.3.4", StudyInstanceUID="1.2.4")
    (tmp_path / "a" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a" / "notes.txt").write_text("DICM")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    sources = find_dicom([tmp_path, tmp_path / "a"])
    assert len({source.name for source in sources}) == 3
    for source in sources:
        np.testing.assert_array_equal(source.load().image[1], volume)


def test_a_source_travels_to_another_process(tmp_path: Path) -> None:
    volume = some_volume()
    synthesise_series(tmp_path, volume, AXIAL, "FLAIR")
    (source,) = find_dicom([tmp_path])
    scan = pickle.loads(pickle.dumps(source)).load()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scan)).image[1], volume)


def test_a_folder_without_dicom_holds_no_scans(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"something else")
    (tmp_path / "empty").touch()
    assert find_dicom([tmp_path, tmp_path / "empty"]) == []
