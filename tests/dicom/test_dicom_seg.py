"""Masks written as DICOM SEG and read back with highdicom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from synthesis import AXIAL, edit, some_volume

import lgg_monai
from benchmarks.dicom_series import NAME, rotated, synthesise_series
from lgg_monai.data.scan import Scan
from lgg_monai.dicom.find import find_dicom
from lgg_monai.dicom.geometry import LPS_TO_RAS
from lgg_monai.dicom.seg import write_seg
from lgg_monai.errors import LggError
from lgg_monai.prediction.masks import load_mask

OBLIQUE = rotated(AXIAL, (10, 20, -15), (80.0, 70.0, -30.0))
SAGITTAL = np.array([[0, 0, 4.0, -60], [-0.5, 0, 0, 100], [0, -0.75, 0, 90], [0, 0, 0, 1.0]])


RARE = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "SliceThickness",
    "SpecificCharacterSet",
    "SeriesNumber",
    "InstanceNumber",
)


def some_mask(shape: tuple[int, ...]) -> np.ndarray:
    """A mask without symmetry whose first and last slices are empty."""
    mask = np.random.default_rng(1).random(shape) > 0.8
    mask[:, :, [0, -1]] = False
    return mask


def scan_of(folder: Path, affine: np.ndarray, keep_identity: bool = False) -> Scan:
    synthesise_series(folder, some_volume(), affine, "AX FLAIR", 5, shuffle=7)
    (source,) = find_dicom([folder], keep_identity=keep_identity)
    return source.load()


def by_position(segmentation: highdicom.seg.Segmentation, scan: Scan) -> np.ndarray:
    """Put every voxel of a SEG where its position says, on the scan's grid."""
    volume = segmentation.get_volume(combine_segments=True)
    voxels = np.argwhere(volume.array)
    places = LPS_TO_RAS @ volume.affine @ np.c_[voxels, np.ones(len(voxels))].T
    indices = (np.linalg.inv(scan.affine) @ places)[:3]
    assert np.abs(indices - np.rint(indices)).max(initial=0) < 1e-3
    mask = np.zeros(scan.image.shape[1:], bool)
    mask[tuple(np.rint(indices).astype(int))] = True
    return mask


def test_a_mask_on_uneven_slices_is_read_back(tmp_path: Path) -> None:
    synthesise_series(tmp_path / "scan", some_volume(), AXIAL, "AX FLAIR", 5)
    for number, path in enumerate(sorted((tmp_path / "scan").iterdir())):
        x, y, z = dcmread(path).ImagePositionPatient
        edit(path, ImagePositionPatient=[x, y, z + (0.15 if number % 2 else -0.1)])
    (source,) = find_dicom([tmp_path / "scan"])
    scan = source.load()
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "mask.dcm", mask, scan)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.dcm", scan), mask)


@pytest.mark.parametrize("affine", [AXIAL, OBLIQUE, SAGITTAL])
def test_a_mask_comes_back_voxel_for_voxel(tmp_path: Path, affine: np.ndarray) -> None:
    scan = scan_of(tmp_path / "scan", affine)
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "mask.dcm", mask, scan)
    segmentation = highdicom.seg.segread(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(by_position(segmentation, scan), mask)
    # And by the source images that it refers to, which is how viewers lay it over them.
    names = [frame.uid for frame in scan.source.frames]
    frames = segmentation.get_pixels_by_source_instance(names, combine_segments=True)
    np.testing.assert_array_equal(frames.transpose(2, 1, 0), mask)


@pytest.mark.parametrize("affine", [AXIAL, OBLIQUE, SAGITTAL])
def test_a_corrected_seg_is_read_as_a_mask(tmp_path: Path, affine: np.ndarray) -> None:
    scan = scan_of(tmp_path / "scan", affine)
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "A.dcm", mask, scan)
    np.testing.assert_array_equal(load_mask(tmp_path / "A.dcm", scan), mask)


def test_a_seg_that_leaves_out_empty_slices_is_read_as_a_mask(tmp_path: Path) -> None:
    """Viewers save the slices that hold something."""
    scan = scan_of(tmp_path / "scan", OBLIQUE)
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "whole.dcm", mask, scan)
    whole = highdicom.seg.segread(tmp_path / "whole.dcm")
    names = [frame.uid for frame in scan.source.frames]
    frames = whole.get_pixels_by_source_instance(names, combine_segments=True).astype(np.uint8)
    sparse = highdicom.seg.Segmentation(
        source_images=[dcmread(frame.path) for frame in scan.source.frames],
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=list(whole.SegmentSequence),
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="a viewer",
        manufacturer_model_name="a viewer",
        software_versions="1",
        device_serial_number="0",
        omit_empty_frames=True,
    )
    assert sparse.NumberOfFrames < mask.shape[2]
    sparse.save_as(tmp_path / "A.dcm")
    np.testing.assert_array_equal(load_mask(tmp_path / "A.dcm", scan), mask)


def test_what_is_no_seg_is_refused_without_naming_anybody(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan", AXIAL)
    shutil.copy(scan.source.frames[0].path, tmp_path / "image.dcm")
    (tmp_path / "text.dcm").write_text("not DICOM")
    for name in ("image", "text"):
        with pytest.raises(
            LggError, match=rf"^cannot read .*{name}\.dcm as DICOM SEG with evenly spaced frames"
        ) as refusal:
            load_mask(tmp_path / f"{name}.dcm", scan)
        assert refusal.value.__cause__ is None


def test_every_slice_is_there_even_of_an_empty_mask(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan", OBLIQUE)
    write_seg(tmp_path / "mask.dcm", np.zeros(scan.image.shape[1:], bool), scan)
    segmentation = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert segmentation.NumberOfFrames == scan.image.shape[3]
    assert not by_position(segmentation, scan).any()


def test_it_says_what_it_is_and_what_it_was_drawn_on(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan", AXIAL)
    write_seg(tmp_path / "mask.dcm", some_mask(scan.image.shape[1:]), scan)
    segmentation = highdicom.seg.segread(tmp_path / "mask.dcm")
    source = dcmread(scan.source.frames[0].path)
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert segmentation.SeriesNumber == 1005
    assert segmentation.SegmentationType == "BINARY"
    segment = segmentation.get_segment_description(1)
    assert segment.algorithm_type.value == "AUTOMATIC"
    assert segment.algorithm_identification.version == lgg_monai.__version__
    assert segment.segmented_property_type.meaning == "Neoplasm, Primary"
    spacing = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(spacing.SpacingBetweenSlices) == pytest.approx(5.0)


def test_the_patient_is_filled_in_only_where_the_identity_is_kept(tmp_path: Path) -> None:
    anonymous = scan_of(tmp_path / "scan", AXIAL)
    kept = scan_of(tmp_path / "scan", AXIAL, keep_identity=True)
    mask = some_mask(kept.image.shape[1:])
    write_seg(tmp_path / "kept.dcm", mask, kept)
    write_seg(tmp_path / "anonymous.dcm", mask, anonymous)
    written = dcmread(tmp_path / "kept.dcm")
    assert (written.PatientName, written.PatientID, written.AccessionNumber) == (NAME, "HOSP-4711", "A12345")
    written = dcmread(tmp_path / "anonymous.dcm")
    assert (written.PatientName, written.PatientID) == (f"{anonymous.name}^", anonymous.name)
    assert (written.PatientBirthDate, written.AccessionNumber, written.PatientSex) == ("", "", "")


@pytest.mark.parametrize("keep_identity", [False, True])
def test_a_source_with_hardly_any_tags_is_enough(tmp_path: Path, keep_identity: bool) -> None:
    absent = dict.fromkeys(RARE)
    synthesise_series(tmp_path / "scan", some_volume(), OBLIQUE, "FLAIR", **absent)
    (source,) = find_dicom([tmp_path / "scan"], keep_identity=keep_identity)
    scan = source.load()
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "mask.dcm", mask, scan)
    np.testing.assert_array_equal(by_position(highdicom.seg.segread(tmp_path / "mask.dcm"), scan), mask)


@pytest.mark.parametrize(
    "tags", [{"PatientSex": "U"}, {"StudyDate": "unknown"}, {"StudyTime": "99"}, {"SeriesNumber": 2147483647}]
)
@pytest.mark.parametrize("keep_identity", [False, True])
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_values_that_dicom_does_not_allow_are_left_out(
    tmp_path: Path, tags: dict[str, Any], keep_identity: bool
) -> None:
    synthesise_series(tmp_path / "scan", some_volume(), AXIAL, "FLAIR", **tags)
    (source,) = find_dicom([tmp_path / "scan"], keep_identity=keep_identity)
    scan = source.load()
    write_seg(tmp_path / "mask.dcm", some_mask(scan.image.shape[1:]), scan)
    written = dcmread(tmp_path / "mask.dcm")
    assert all(written.get(keyword, "") in ("", 1000) for keyword in tags)
    assert (written.PatientName == NAME) == keep_identity


def test_headers_that_make_no_seg_are_refused_without_quoting_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_of(tmp_path / "scan", AXIAL, keep_identity=True)

    def refuse(**_: Any) -> None:
        raise ValueError("Secretname is not valid")  # as highdicom quotes what it refuses

    monkeypatch.setattr("lgg_monai.dicom.seg.Segmentation", refuse)
    with pytest.raises(LggError) as caught:
        write_seg(tmp_path / "out" / "mask.dcm", some_mask(scan.image.shape[1:]), scan)
    assert str(caught.value) == (
        f"invalid values in the headers of {scan.name} make no DICOM SEG: leave out --keep-identity"
    )
    assert caught.value.__cause__ is None
    assert not (tmp_path / "out").exists()


def test_a_mask_on_a_multi_frame_file(tmp_path: Path) -> None:
    files = synthesise_series(tmp_path / "single", some_volume(), OBLIQUE, "AX FLAIR", shuffle=2)
    converted = highdicom.legacy.LegacyConvertedEnhancedMRImage(
        [dcmread(path) for path in files[::-1]], generate_uid(), 4, generate_uid(), 1
    )
    (tmp_path / "multi").mkdir()
    converted.save_as(tmp_path / "multi" / "frames")
    (source,) = find_dicom([tmp_path / "multi"])
    scan = source.load()
    mask = some_mask(scan.image.shape[1:])
    write_seg(tmp_path / "mask.dcm", mask, scan)
    segmentation = highdicom.seg.segread(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(by_position(segmentation, scan), mask)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scan", AXIAL)
    mask = some_mask(scan.image.shape[1:])
    with pytest.raises(ValueError, match="mask of shape"):
        write_seg(tmp_path / "out" / "mask.dcm", mask[1:], scan)
    scan.source.frames[2].path.unlink()
    with pytest.raises(LggError, match=f"cannot read the source images of {scan.name} again"):
        write_seg(tmp_path / "out" / "mask.dcm", mask, scan)
    assert not (tmp_path / "out").exists()
    scan.source = None
    with pytest.raises(ValueError, match="not read from DICOM"):
        write_seg(tmp_path / "mask.dcm", mask, scan)


def test_the_output_beside_the_input_does_not_disturb_the_next_run(tmp_path: Path) -> None:
    scan = scan_of(tmp_path / "scans" / "one", AXIAL)
    (before,) = find_dicom([tmp_path])
    write_seg(tmp_path / "out" / "mask.dcm", some_mask(scan.image.shape[1:]), scan)
    (source,) = find_dicom([tmp_path])
    assert (source.name, source.path) == (before.name, before.path) == (scan.name, tmp_path / "scans" / "one")
    again = source.load()
    np.testing.assert_array_equal(again.image, scan.image)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize("keep_identity", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_dciodvfy_finds_no_error(tmp_path: Path, keep_identity: bool, empty: bool) -> None:
    scan = scan_of(tmp_path / "scan", OBLIQUE, keep_identity)
    write_seg(tmp_path / "mask.dcm", some_mask(scan.image.shape[1:]) & (not empty), scan)
    report = subprocess.run(["dciodvfy", tmp_path / "mask.dcm"], capture_output=True, text=True, check=False)
    assert "Segmentation" in report.stderr
    assert [line for line in report.stderr.splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("", "Doe^Jane"),
        ("ISO_IR 6", "Doe^Jane"),
        ("ISO 2022 IR 100", "Müller^Jane"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_the_identity_is_kept_in_every_character_set(tmp_path: Path, charset: Any, name: str) -> None:
    folder, volume = tmp_path / "scan", some_volume()
    tags = {"SpecificCharacterSet": charset, "PatientName": name, "PatientBirthDate": "19610000"}
    for path in synthesise_series(folder, volume, AXIAL, "FLAIR"):
        edit(path, **tags)
    (source,) = find_dicom([folder], keep_identity=True)
    scan = source.load()
    write_seg(tmp_path / "mask.dcm", some_mask(volume.shape), scan)
    written = dcmread(tmp_path / "mask.dcm")
    assert str(written.PatientName) == name
    assert written.PatientBirthDate == ""


def test_noise_in_the_last_decimals_of_the_orientation_costs_nothing(tmp_path: Path) -> None:
    folder, volume = tmp_path / "scan", some_volume()
    path = synthesise_series(folder, volume, AXIAL, "FLAIR")[2]
    orientation = [float(value) for value in dcmread(path).ImageOrientationPatient]
    edit(path, ImageOrientationPatient=[*orientation[:5], orientation[5] + 1e-6])
    (source,) = find_dicom([folder])
    scan = source.load()
    mask = some_mask(volume.shape)
    write_seg(tmp_path / "mask.dcm", mask, scan)
    np.testing.assert_array_equal(by_position(highdicom.seg.segread(tmp_path / "mask.dcm"), scan), mask)
