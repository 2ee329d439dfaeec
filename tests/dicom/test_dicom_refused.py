"""DICOM that makes no scan: one line that says why, and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1
from synthesis import AXIAL, edit, some_volume

from benchmarks.dicom_series import synthesise_series
from lgg_monai.dicom.find import find_dicom
from lgg_monai.errors import LggError

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
SAGITTAL_ORIENTATION = ["0", "1", "0", "0", "0", "-1"]


def refusal(folder: Path, **choices: str) -> str:
    (source,) = find_dicom([folder], choices)
    with pytest.raises(LggError) as caught:
        source.load()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def flair(tmp_path: Path) -> list[Path]:
    """The files of a good series of six slices, to be damaged."""
    return synthesise_series(tmp_path, some_volume(), AXIAL, "AX FLAIR", 5)


def moved(path: Path, millimetres: tuple[float, float, float]) -> None:
    position = dcmread(path).ImagePositionPatient
    edit(path, ImagePositionPatient=[f"{old + by:.6f}" for old, by in zip(position, millimetres, strict=True)])


@pytest.mark.parametrize(("gone", "told"), [((2,), "1 slice"), ((2, 3), "2 slices")])
def test_a_missing_slice_is_told_with_its_neighbours(
    flair: list[Path], tmp_path: Path, gone: tuple[int, ...], told: str
) -> None:
    numbers = [dcmread(flair[z]).InstanceNumber for z in (1, gone[-1] + 1)]
    for z in gone:
        flair[z].unlink()
    assert refusal(tmp_path).startswith(
        f'{told} missing, first between images {numbers[0]} and {numbers[1]}, in series 5 "AX FLAIR": '
    )


@pytest.mark.parametrize(("shift", "refused"), [(0.01, False), (0.1, False), (0.6, True)])
def test_uneven_spacing_is_warned_of_or_refused_by_its_size(
    flair: list[Path], tmp_path: Path, shift: float, refused: bool
) -> None:
    moved(flair[2], (0, 0, shift))  # of a slice spacing of 5 mm
    if refused:
        assert refusal(tmp_path).startswith('uneven slice spacing (4.40 to 5.60 mm) in series 5 "AX FLAIR"')
        return
    (source,) = find_dicom([tmp_path])
    scan = source.load()
    np.testing.assert_array_equal(scan.image[1], some_volume())
    np.testing.assert_allclose(scan.affine, AXIAL, atol=1e-5)
    assert [warning[:45] for warning in scan.warnings] == ["uneven slice spacing (4.90 to 5.10 mm) in ser"] * (
        shift > 0.05
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ImagePositionPatient": ["0", "0", "20"]}, "6 images at 5 places"),
        ({"PatientID": "OTHER"}, "images of more than one patient"),
        ({"PatientName": "Somebody^Else"}, "images of more than one patient"),
        ({"ImageOrientationPatient": SAGITTAL_ORIENTATION}, "slices of different orientations"),
        ({"ImageOrientationPatient": None}, "no position, orientation or pixel spacing"),
        ({"ImagePositionPatient": None}, "no position, orientation or pixel spacing"),
        ({"PixelSpacing": None}, "no position, orientation or pixel spacing"),
        ({"PixelSpacing": ["0.9", "0.5"]}, "missing or different pixel spacings"),
        ({"Rows": 5}, "images of different size (12 x 5, 12 x 10)"),
    ],
)
def test_a_series_with_one_image_that_does_not_belong(
    flair: list[Path], tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    edit(flair[3], **changes)
    message = refusal(tmp_path)
    assert message.startswith(expected)
    assert 'series 5 "AX FLAIR"' in message


@pytest.mark.parametrize(
    "orientation", [["1", "0", "0", "1", "0", "0"], ["0", "0", "0", "0", "0", "0"], ["2", "0", "0", "0", "1", "0"]]
)
def test_directions_that_are_no_right_angle(flair: list[Path], tmp_path: Path, orientation: list[str]) -> None:
    for path in flair:
        edit(path, ImageOrientationPatient=orientation)
    assert refusal(tmp_path).startswith("directions of rows and columns that are not at right angles in series 5")


def test_slices_that_are_shifted_sideways(flair: list[Path], tmp_path: Path) -> None:
    moved(flair[3], (1.0, 0, 0))
    assert refusal(tmp_path).startswith("slices shifted against each other in series 5")


def test_t1_of_another_patient_in_the_same_study(flair: list[Path], tmp_path: Path) -> None:
    synthesise_series(tmp_path / "t1", some_volume(), AXIAL, "T1", 6, PatientID="OTHER")
    assert refusal(tmp_path).startswith("series of more than one patient in one study (")


def test_flair_of_another_patient_in_the_same_study(flair: list[Path], tmp_path: Path) -> None:
    """The one with more slices was taken, and with identity kept its mask named after the other patient."""
    folder = tmp_path / "other"
    synthesise_series(folder, some_volume().repeat(2, axis=2), AXIAL, "AX FLAIR", 6, PatientID="OTHER")
    assert refusal(tmp_path).startswith(
        'FLAIR of more than one patient in one study (series 6 "AX FLAIR", series 5 "AX FLAIR"): separate'
    )
    for number, patient in (("5", "HOSP-4711"), ("6", "OTHER")):
        (source,) = find_dicom([tmp_path], {"flair": number}, keep_identity=True)
        assert source.name.startswith(f"{patient}-")
        source.load()


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientName": "DOE^JANE SECRETNAME"},
        {"PatientName": "Doe^Jane  Secretname^^"},
        {"PatientName": "Doe^Jane Secretname=山田^太郎"},
        {"PatientBirthDate": ""},
        {"PatientBirthDate": None},
    ],
)
def test_one_patient_is_not_always_spelt_alike(flair: list[Path], tmp_path: Path, tags: dict[str, Any]) -> None:
    edit(flair[2], **tags)
    synthesise_series(tmp_path / "t1", some_volume(), AXIAL, "T1", 6, **tags)
    (source,) = find_dicom([tmp_path])
    assert source.load().missing == ("post",)


@pytest.mark.parametrize(
    ("name", "ascii_name"),
    [
        ("Müßig^Jörg", "MUESSIG^JOERG"),
        ("Müßig^Jörg", "MUSSIG^JORG"),
        ("García^José", "GARCIA^JOSE"),
        ("Świątek^Łukasz", "SWIATEK^LUKASZ"),
    ],
)
def test_accents_may_be_left_out_or_spelt_out(flair: list[Path], tmp_path: Path, name: str, ascii_name: str) -> None:
    for path in flair:
        edit(path, PatientName=name, SpecificCharacterSet="ISO_IR 192")
    synthesise_series(tmp_path / "t1", some_volume(), AXIAL, "T1", 6, PatientName=ascii_name)
    (source,) = find_dicom([tmp_path])
    assert source.load().missing == ("post",)


def test_an_empty_birth_date_does_not_make_one_patient_of_two(flair: list[Path], tmp_path: Path) -> None:
    edit(flair[1], PatientBirthDate="")
    synthesise_series(tmp_path / "t1", some_volume(), AXIAL, "T1", 6, PatientBirthDate="19701231")
    assert refusal(tmp_path).startswith("series of more than one patient in one study (")


def test_pixels_that_are_cut_short(flair: list[Path], tmp_path: Path) -> None:
    flair[1].write_bytes(flair[1].read_bytes()[:-100])
    number = dcmread(flair[1], stop_before_pixels=True).InstanceNumber
    message = refusal(tmp_path)
    assert message.startswith(
        f'cannot decode the pixels of image {number} of series 5 "AX FLAIR" (damaged or cut short)'
    )


def test_a_file_that_vanishes_before_it_is_read(flair: list[Path], tmp_path: Path) -> None:
    (source,) = find_dicom([tmp_path])
    flair[0].unlink()
    with pytest.raises(LggError, match=r"cannot read image \d of series 5 .*No such file"):
        source.load()


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, "1.2.840.10008.1.2.4.100"])
def test_compression_without_a_decoder(flair: list[Path], tmp_path: Path, syntax: str) -> None:
    for path in flair:
        dataset = dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.save_as(path)
    message = refusal(tmp_path)
    assert message.startswith("no decoder for the compression (")
    assert "export the series uncompressed" in message


def test_compressed_pixels_that_are_damaged(flair: list[Path], tmp_path: Path) -> None:
    dataset = dcmread(flair[0])
    dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(flair[0])
    assert refusal(tmp_path).startswith("cannot decode the pixels of image")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "CT, not MR"),
        ({"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "OT, not MR"),
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture Image, no MR image"),
        ({"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "SR, not MR"),
        ({"BodyPartExamined": "KNEE"}, "of another body part (KNEE)"),
        ({"StudyDescription": "MR LUMBAR SPINE"}, "of another body part by its description"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "a derived map or a special technique"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a mosaic of many slices in one picture"),
        ({"NumberOfFrames": 6}, "a file of many frames that does not say where they lie"),
    ],
)
def test_what_is_no_brain_mr_is_refused_by_its_tags(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    synthesise_series(tmp_path, some_volume((4, 4, 3)), AXIAL, "FLAIR", 5, **tags)
    assert refusal(tmp_path).startswith(f'no FLAIR in a study of 1 series (series 5 "FLAIR" is {reason}): ')


def test_damaged_files_alone_and_beside_a_scan(flair: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "one").write_bytes(bytes(128) + b"DICM" + bytes(range(200)))
    (damaged / "two.dcm").write_bytes(b"no DICOM at all")
    assert refusal(damaged) == "damaged or incomplete DICOM files (2) in a folder without others: copy them again"
    (damaged / "one").rename(tmp_path / "one")
    (damaged / "two.dcm").unlink()
    (source,) = find_dicom([tmp_path])
    assert source.load().warnings == ["1 damaged or incomplete DICOM files beside the scan are left out"]


def test_pydicoms_own_samples_each_give_one_line(tmp_path: Path) -> None:
    sources = find_dicom([SAMPLES])
    assert len(sources) > 20
    for source in sources:
        with pytest.raises(LggError) as caught:
            source.load()
        assert "\n" not in str(caught.value)
        assert "series" in str(caught.value) or "damaged" in str(caught.value)


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("MR_small*.dcm")))
def test_pydicoms_mr_sample_is_the_same_scan_in_every_encoding(sample: str) -> None:
    expected = dcmread(SAMPLES / "MR_small.dcm").pixel_array
    (source,) = find_dicom([SAMPLES / sample], {"flair": "1"})
    scan = source.load()
    np.testing.assert_array_equal(scan.image[1, :, :, 0], expected.T)
    assert any("has a single slice" in warning for warning in scan.warnings)


def test_pydicoms_truncated_mr_sample() -> None:
    assert refusal(SAMPLES / "MR_truncated.dcm", flair="1").startswith(
        "cannot decode the pixels of image 1 of series 1"
    )
