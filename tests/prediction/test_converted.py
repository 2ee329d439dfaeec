"""What dcm2niix made of a study is one scan, however it was told to name its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans import blob, save

from lgg_monai.errors import LggError
from lgg_monai.prediction.inputs import find_scans

AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]
STUDY = (
    (2, "3 Plane Loc", {}),
    (3, "Ax T1 PRE", {"EchoTime": 0.01, "RepetitionTime": 0.5}),
    (5, "Ax T2 FLAIR FS", {"EchoTime": 0.12, "RepetitionTime": 9.0, "InversionTime": 2.5}),
    (6, "Ax T2 TSE", {"EchoTime": 0.1, "RepetitionTime": 4.0}),
    (8, "SAG T1 POST GAD", {"ImageOrientationPatientDICOM": SAGITTAL}),
    (7, "Ax T1 POST GAD", {}),
)
CHANNELS = {"Ax T1 PRE": 0, "Ax T2 FLAIR FS": 1, "Ax T1 POST GAD": 2}


def convert(folder: Path, pattern: str, seed: int = 0, patient: str = "P01", **told: Any) -> np.ndarray:
    """Write what dcm2niix does of a study: `pattern` with %f, %p, %t, %s and %d."""
    image = blob(seed=seed)
    for number, description, more in STUDY:
        words = description.replace(" ", "_")
        name = pattern.replace("%f", patient).replace("%p", words).replace("%d", words)
        name = name.replace("%t", f"2020013109300{seed}").replace("%3s", f"{number:03}").replace("%s", str(number))
        save(folder / f"{name}.nii.gz", image[CHANNELS.get(description, 0)])
        note = {"Modality": "MR", "SeriesNumber": number, "SeriesDescription": words, "ProtocolName": words}
        note |= {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], "ImageOrientationPatientDICOM": AXIAL}
        note |= {"ConversionSoftware": "dcm2niix", "ConversionSoftwareVersion": "v1.0.20240202"}
        (folder / f"{name}.json").write_text(json.dumps(note | more | told))
    return image


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%f_%p_%t_%s", "P01_20200131093000"),  # dcm2niix's default
        ("%s_%d", "study"),
        ("%3s-%p", "study"),
        ("%f_%s", "P01"),  # no word of what it is
    ],
)
def test_a_converted_study_is_one_scan(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / "study").mkdir()
    image = convert(tmp_path / "study", pattern)
    (source,) = find_scans([tmp_path])
    assert source.name == name
    scan = source.load()
    assert scan.missing == ()
    assert np.array_equal(scan.image, image)
    (warning,) = scan.warnings
    assert warning.startswith("2 files could be post: took ")
    assert source.files[2].name in warning.partition(", not ")[0]  # the axial one, as FLAIR is


def test_two_studies_in_one_folder_stay_two(tmp_path: Path) -> None:
    first = convert(tmp_path, "%f_%p_%t_%s", seed=0)
    second = convert(tmp_path, "%f_%p_%t_%s", seed=1, patient="P02")
    one, other = sorted(find_scans([tmp_path]), key=lambda source: source.name)
    assert (one.name, other.name) == ("P01_20200131093000", "P02_20200131093001")
    assert np.array_equal(one.load().image, first)
    assert np.array_equal(other.load().image, second)


def test_the_volume_that_dcm2niix_corrected_is_taken(tmp_path: Path) -> None:
    convert(tmp_path, "%f_%p_%t_%s")
    flair = "P01_Ax_T2_FLAIR_FS_20200131093000_5"
    corrected = blob(seed=7)
    save(tmp_path / f"{flair}_Eq_1.nii.gz", corrected[1])
    (tmp_path / f"{flair}_Eq_1.json").write_text((tmp_path / f"{flair}.json").read_text())
    (source,) = find_scans([tmp_path])
    assert source.files[1].name == f"{flair}_Eq_1.nii.gz"


def test_without_pydicom_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(tmp_path, "%f_%p_%t_%s")
    monkeypatch.setattr("lgg_monai.extras.find_spec", lambda name: None)
    with pytest.raises(LggError, match=rf"^pydicom is not installed, .* in {tmp_path} needs: .*'\.\[dicom\]'"):
        find_scans([tmp_path])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[1, 2]",
        '{"ConversionSoftware": "other", "SeriesNumber": 5}',
        '{"ConversionSoftware": "dcm2niix", "SeriesNumber": "5"}',
    ],
)
def test_other_notes_beside_a_file_leave_its_name_in_charge(tmp_path: Path, note: str) -> None:
    image = blob()
    for channel, sequence in enumerate(("t1", "flair", "t1ce")):
        save(tmp_path / f"B_5_{sequence}.nii.gz", image[channel])
        (tmp_path / f"B_5_{sequence}.json").write_text(note)
    (source,) = find_scans([tmp_path])
    assert source.name == "B_5"
    assert np.array_equal(source.load().image, image)


def test_names_that_were_given_after_the_conversion_are_in_charge(tmp_path: Path) -> None:
    """The notes stay beside the files: as in BIDS, or where a person named them."""
    image = blob()
    for prefix in ("sub-05", "case_5"):
        for channel, (sequence, number, words) in enumerate(
            (("T1w", 3, "t1_mprage"), ("FLAIR", 5, "FLAIR"), ("T1gd", 7, "t1_mprage_km"))
        ):
            save(tmp_path / prefix / f"{prefix}_{sequence}.nii.gz", image[channel])
            note = {"ConversionSoftware": "dcm2niix", "SeriesNumber": number, "SeriesDescription": words}
            (tmp_path / prefix / f"{prefix}_{sequence}.json").write_text(json.dumps(note))
    for source in find_scans([tmp_path]):
        assert source.name in ("sub-05", "case_5")
        assert np.array_equal(source.load().image, image)
