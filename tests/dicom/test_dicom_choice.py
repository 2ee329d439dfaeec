"""Which series are taken for FLAIR and T1, and what is said where several could be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage
from synthesis import AXIAL, some_volume

from benchmarks.dicom_series import synthesise_series
from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.dicom.find import find_dicom
from lgg_monai.dicom.headers import read_series
from lgg_monai.dicom.sequences import kind_of
from lgg_monai.errors import LggError

SMALL = (4, 4, 3)
SAGITTAL = np.array([[0, 0, -5.0, 0], [-0.5, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0, 1.0]])


def series(folder: Path, description: str, number: int, value: int, affine: np.ndarray = AXIAL, **tags: Any) -> None:
    """A series whose voxels all hold one value, to tell which was taken."""
    shape = tags.pop("shape", SMALL)
    synthesise_series(folder / f"s{number}", np.full(shape, value), affine, description, number, **tags)


def found(folder: Path, **choices: str) -> ScanSource:
    (source,) = find_dicom([folder], choices)
    return source


def taken(scan: Scan) -> list[int]:
    return [int(volume.flat[0]) for volume in scan.image]


@pytest.mark.parametrize(
    ("description", "tags", "expected"),
    [
        ("AX T2 FLAIR", {}, "flair"),
        ("t2_tirm_tra_dark-fluid", {}, "flair"),
        ("t2_spc_da-fl_sag_p2_iso", {}, "flair"),
        ("t2_tirm_tra", {"InversionTime": 2500, "EchoTime": 85, "RepetitionTime": 9000}, "flair"),
        ("t2_tirm_cor", {"InversionTime": 150, "EchoTime": 85, "RepetitionTime": 5000}, None),
        ("t2_space_dir_tra", {"InversionTime": 3000, "EchoTime": 320, "RepetitionTime": 7500}, None),
        ("FLAIR_longTR", {"EchoTime": 120}, "flair"),
        ("3D_Cube_T2FLAIR", {}, "flair"),
        ("Ax T1 FLAIR", {}, "pre"),
        ("AX FLAIR", {"EchoTime": 12}, "pre"),
        ("Ax T1 FLAIR +C", {}, "post"),
        ("AX T1", {}, "pre"),
        ("t1_mprage_sag_p2_iso", {}, "pre"),
        ("AX T1", {"ContrastBolusAgent": "Gadavist"}, "post"),
        ("AX T1", {"ContrastBolusAgent": "NO"}, "pre"),
        ("AX T1 PRE GD", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("AX T1 W/O CONTRAST", {}, "pre"),
        ("AX T1 POST-OP", {}, "pre"),
        ("AX T1 POST GAD PRE-OP", {}, "post"),
        ("t1+c", {}, "post"),
        ("T1 + GD", {}, "post"),
        ("T1C", {}, "post"),
        ("T1ce", {}, "post"),
        ("SPGR post contrast", {}, "post"),
        ("AX T1 POST NO FS", {}, "post"),
        ("AX T1 POST W/O FS", {}, "post"),
        ("AX T1 +C NON FS", {}, "post"),
        ("AX T1 POST GAD WITHOUT FAT SAT", {}, "post"),
        ("T1 MPRAGE +C NO MOTION", {}, "post"),
        ("AX T1 POST PRE TREATMENT", {}, "post"),
        ("T1 PRE-RADIATION POST GAD", {}, "post"),
        ("AX T1 NO FS", {}, "pre"),
        ("AX T1 POST TREATMENT", {}, "pre"),
        ("AX T1", {"ContrastBolusAgent": "0.1 mmol/kg Gadavist"}, "post"),
        ("AX T1", {"ContrastBolusAgent": "0"}, "pre"),
        ("sT1W_3D_TFE", {}, "pre"),
        ("AX 3DT1 GADO", {}, "post"),
        ("3DT2", {}, None),
        ("3DT1C", {}, "post"),
        ("sT1WC", {}, "post"),
        ("T1 POST RADIAL VIBE", {}, "post"),
        ("AX T1", {"ContrastBolusAgent": "0 cc"}, "pre"),
        ("AX T1", {"ContrastBolusAgent": "0.0 ml Gadavist"}, "pre"),
        ("AX T1 C-", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("T1C- tra", {}, "pre"),
        ("T1 vor KM", {}, "pre"),
        ("T1 vor OP KM", {}, "post"),
        ("T1 SE AVANT GADO", {}, "pre"),
        ("T1 GADO SANS FATSAT", {}, "post"),
        ("AX T1 NONCON", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("T1 AXIAL CON CONTRASTE", {}, "post"),
        ("T1 AXIAL SIN CONTRASTE", {}, "pre"),
        ("T1 DOTAREM", {}, "post"),
        ("T1 SE injecté", {}, "post"),
        ("T1 SE APRÈS INJECTION", {}, "post"),
        ("T1 SE SANS INJECTION", {}, "pre"),
        ("AX T1 S/C", {}, "pre"),
        ("AX T1 C/C", {}, "post"),
        ("T1 AX CON CIV", {}, "post"),
        ("T1 AX POSTCONTRASTE", {}, "post"),
        ("T1 SEM CONTRASTE", {}, "pre"),
        ("T1 PÓS CONTRASTE", {}, "post"),
        ("T1 tra zonder Gd", {}, "pre"),
        ("T1 voor contrast", {}, "pre"),
        ("T1 Gd voor navigatie", {}, "post"),
        ("T1 head injury", {}, "pre"),
        ("T1 BEZ KONTRASTU", {}, "pre"),
        ("T1 PO KONTRASCIE", {}, "post"),
        ("T1 UTAN KONTRAST", {}, "pre"),
        ("T1 med kontrast", {}, "post"),
        ("T1 uden kontrast", {}, "pre"),
        ("T1 kontrastsiz", {}, "pre"),
        ("T1 kontrast öncesi", {}, "pre"),
        ("T1 kontraszt nélkül", {}, "pre"),
        ("T1 kontrastlı", {}, "post"),
        ("T1 senza mdc", {}, "pre"),
        ("T1 tra Gd+", {}, "post"),
        ("AX T1 KM+ FS", {}, "post"),
        ("AX T1 GD+", {"ContrastBolusAgent": "NO"}, "post"),
        ("T1 tra Gd-", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("T1_KM-_tra", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("AX T1 -C", {"ContrastBolusAgent": "Gadavist"}, "pre"),
        ("AX T1 minus Gd", {}, "pre"),
        ("T1 Gd-DTPA", {}, "post"),
        ("AX T1 +C", {}, "post"),
        ("AX T1 +/-C", {}, "post"),
        ("T1-C", {}, "post"),
        ("t1+gd", {}, "post"),
        ("AX T2 FSE", {}, None),
        ("AX T2*", {}, None),
        ("T1 MAP", {}, None),
        ("DWI b1000", {}, None),
        ("AX PD", {}, None),
        ("T1 SUB", {}, None),
        ("T1_SUBS", {}, None),
        ("T1 POST-PRE", {}, None),
        ("T1 POST minus PRE", {}, None),
        ("AX T1 GAD POST-PRE OP", {}, "post"),
        ("3-plane LOC", {}, None),
        ("FLAIR LUMBAR SPINE", {}, None),
        ("brain", {"ProtocolName": "AX FLAIR"}, "flair"),
        ("ax", {"InversionTime": 2200, "EchoTime": 125, "RepetitionTime": 9000}, "flair"),
        ("ax", {"ScanningSequence": ["SE"], "EchoTime": 14, "RepetitionTime": 500}, "pre"),
        ("gd", {"ScanningSequence": ["SE"], "EchoTime": 14, "RepetitionTime": 500}, "post"),
        ("ax", {"ScanningSequence": ["SE"], "EchoTime": 95, "RepetitionTime": 4000}, None),
        ("FLAIR", {"BodyPartExamined": "KNEE"}, None),
        ("FLAIR", {"BodyPartExamined": "HEADNECK"}, "flair"),
        ("FLAIR", {"BodyPartExamined": None}, "flair"),
        ("FLAIR", {"ImageType": ["DERIVED", "PRIMARY", "MIP"]}, None),
        ("FLAIR", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, None),
        ("FLAIR", {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, None),
    ],
)
def test_a_sequence_is_told_by_words_then_by_timing(
    tmp_path: Path, description: str, tags: dict[str, Any], expected: str | None
) -> None:
    ((one,), _) = read_series(synthesise_series(tmp_path, np.zeros((2, 2, 1)), AXIAL, description, **tags))
    kind = kind_of(one)
    assert kind.sequence == expected
    assert bool(kind.reason) == (expected is None)


@pytest.mark.parametrize(
    ("description", "milliseconds", "tags", "expected"),
    [
        ("t2_tirm", {"echo": 100, "inversion": [2500]}, {}, "flair"),
        ("ax", {"echo": 125, "repetition": 9000, "inversion": 2200}, {}, "flair"),
        ("ax", {"echo": 14, "repetition": 500}, {"EchoPulseSequence": "SPIN"}, "pre"),
        ("t2", {"echo": 95, "repetition": 4000}, {"EchoPulseSequence": "SPIN"}, None),
        ("t1", {}, {"ContrastBolusAgentSequence": [Dataset()]}, "post"),
        ("t1", {"administered": "YES"}, {"ContrastBolusAgentSequence": [Dataset()]}, "post"),
        ("t1", {"administered": "NO"}, {"ContrastBolusAgentSequence": [Dataset()]}, "pre"),
    ],
)
@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_image_is_told_by_its_functional_groups(
    tmp_path: Path, where: str, description: str, milliseconds: dict[str, Any], tags: dict[str, Any], expected: str
) -> None:
    names = {
        "echo": ("MREchoSequence", "EffectiveEchoTime"),
        "repetition": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "inversion": ("MRModifierSequence", "InversionTimes"),
        "administered": ("ContrastBolusUsageSequence", "ContrastBolusAgentAdministered"),
    }
    group = Dataset()
    for name, value in milliseconds.items():
        sequence, attribute = names[name]
        item = Dataset()
        setattr(item, attribute, value)
        setattr(group, sequence, [item])
    tags = {"SOPClassUID": EnhancedMRImageStorage, "NumberOfFrames": 1, where: [group], **tags}
    ((one,), _) = read_series(synthesise_series(tmp_path, np.zeros((2, 2, 1)), AXIAL, description, **tags))
    assert kind_of(one).sequence == expected


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"affine": SAGITTAL}, "axial"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"], "shape": (4, 4, 9)}, "original rather than derived"),
        ({"ContrastBolusAgent": "Gadavist"}, "without contrast"),
        ({"shape": (4, 4, 2)}, "more slices"),
        ({"AcquisitionTime": "110000"}, "later"),
        ({"ImagePositionPatient": ["0", "0", "0"]}, "a regular volume"),
    ],
)
def test_of_two_flairs_the_better_one_is_taken_and_the_other_named(
    tmp_path: Path, other: dict[str, Any], why: str
) -> None:
    series(tmp_path, "AX FLAIR", 4, 44)
    series(tmp_path, "OTHER FLAIR", 9, 99, **other)
    scan = found(tmp_path).load()
    assert taken(scan) == [44, 44, 44]
    (warning,) = scan.warnings
    assert warning.startswith(f'2 series could be FLAIR: took series 4 "AX FLAIR" ({why}), not series 9 "OTHER FLAIR"')
    assert "--series flair=NUMBER" in warning
    assert "\n" not in warning


def test_flair_without_contrast_is_taken_though_that_with_it_is_later(tmp_path: Path) -> None:
    series(tmp_path, "AX FLAIR", 4, 44, ContrastBolusAgent="Gadavist")  # a default of the protocol
    series(tmp_path, "AX FLAIR POST", 9, 99, ContrastBolusAgent="Gadavist")
    series(tmp_path, "AX FLAIR W/O", 3, 33, ContrastBolusAgent="Gadavist")
    assert taken(found(tmp_path).load())[1] == 33


@pytest.mark.parametrize("choice", ["9", "other flair", "1.2.3.9"])
def test_the_user_chooses_by_number_description_or_uid(tmp_path: Path, choice: str) -> None:
    series(tmp_path, "AX FLAIR", 4, 44)
    series(tmp_path, "OTHER FLAIR", 9, 99, SeriesInstanceUID="1.2.3.9")
    scan = found(tmp_path, flair=choice).load()
    assert taken(scan) == [99, 99, 99]
    assert scan.warnings == []


def test_t1_is_taken_in_flairs_frame_and_plane(tmp_path: Path) -> None:
    series(tmp_path, "AX FLAIR", 1, 10)
    series(tmp_path, "AX T1 other day", 2, 20, FrameOfReferenceUID="1.2.3", AcquisitionTime="235900")
    series(tmp_path, "SAG T1", 3, 30, SAGITTAL, shape=(20, 20, 20))
    series(tmp_path, "AX T1", 4, 40)
    scan = found(tmp_path).load()
    assert taken(scan) == [40, 10, 10]
    assert '3 series could be pre-contrast T1: took series 4 "AX T1" (in FLAIR\'s plane)' in scan.warnings[0]
    scan = found(tmp_path, pre="2").load()
    assert taken(scan)[0] == 20
    assert any("different frames of reference" in warning for warning in scan.warnings)


def test_a_t1_that_makes_no_volume_is_left_out_with_a_warning(tmp_path: Path) -> None:
    series(tmp_path, "FLAIR", 1, 10)
    series(tmp_path, "T1", 2, 20, ImagePositionPatient=["0", "0", "0"])
    scan = found(tmp_path).load()
    assert scan.missing == ("pre", "post")
    assert scan.warnings[0].startswith("pre-contrast T1 left out: 3 images at 1 places in series 2")


def test_a_t1_can_be_left_out_by_choice(tmp_path: Path) -> None:
    series(tmp_path, "FLAIR", 1, 10)
    series(tmp_path, "T1", 2, 20)
    assert found(tmp_path).load().missing == ("post",)
    assert found(tmp_path, pre="none").load().missing == ("pre", "post")


def test_a_series_that_does_not_look_like_it_can_be_chosen_and_is_warned_of(tmp_path: Path) -> None:
    series(tmp_path, "AX T2", 6, 60, BodyPartExamined="")
    with pytest.raises(
        LggError, match=r'no FLAIR in a study of 1 series \(series 6 "AX T2" is another seq.*: if one is,'
    ):
        found(tmp_path).load()
    scan = found(tmp_path, flair="6").load()
    assert taken(scan)[1] == 60
    assert "was chosen as FLAIR though it looks to be another sequence (T2)" in scan.warnings[0]


def test_choices_that_cannot_be_followed(tmp_path: Path) -> None:
    series(tmp_path, "FLAIR", 1, 10)
    series(tmp_path, "CT", 2, 20, Modality="CT")
    with pytest.raises(LggError, match=r'no series matches flair=7 among 2 \(series 1 "FLAIR", series 2 "CT"\)'):
        find_dicom([tmp_path], {"flair": "7"})
    with pytest.raises(LggError, match="unknown sequence t2"):
        find_dicom([tmp_path], {"t2": "1"})
    with pytest.raises(LggError, match=r'series 2 "CT" cannot be FLAIR, as it is CT, not MR'):
        found(tmp_path, flair="2").load()
    with pytest.raises(LggError, match="one series chosen for two sequences"):
        found(tmp_path, flair="1", pre="1").load()


def test_a_choice_for_one_study_leaves_the_others_alone(tmp_path: Path) -> None:
    for study in ("1.2.3", "1.2.4"):
        series(tmp_path / study, "FLAIR", 4, 44, StudyInstanceUID=study)
        series(
            tmp_path / study, "FLAIR", 9, 99, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.9", shape=(4, 4, 2)
        )
    first, second = (source.load() for source in find_dicom([tmp_path], {"flair": "1.2.3.9"}))
    assert (taken(first)[1], taken(second)[1]) == (99, 44)


def test_other_series_of_a_study_are_passed_over(tmp_path: Path) -> None:
    series(tmp_path, "localizer", 1, 1, SAGITTAL)
    series(tmp_path, "ADC", 2, 2)
    series(tmp_path, "AX T2", 3, 3)
    series(tmp_path, "CT", 4, 4, Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    series(tmp_path, "key images", 5, 5, Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    series(tmp_path, "report", 6, 6, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    synthesise_series(tmp_path / "s7", some_volume(SMALL), AXIAL, "FLAIR", 7)
    scan = found(tmp_path).load()
    np.testing.assert_array_equal(scan.image[1], some_volume(SMALL))
    assert scan.warnings == []
