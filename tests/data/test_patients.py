"""Patients are found in every layout that is offered, by name, and never twice."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigParser
from nibabel import orientations

from lgg_monai.data.convert import convert
from lgg_monai.data.integrity import inspect_dataset
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.data.report_cache import sound_report
from lgg_monai.errors import LggError


def patient(name: str) -> Patient:
    return Patient(name, Path(name), Path(name), "tiff")


@pytest.mark.parametrize(
    ("name", "site", "person"),
    [
        ("TCGA_CS_4941_19960909", "CS", "TCGA_CS_4941"),
        ("TCGA_DU_5849_19950405", "DU", "TCGA_DU_5849"),
        ("TCGA_HT_A61A", "HT", "TCGA_HT_A61A"),
        ("PHANTOM_AA_0001_20000101", "AA", "PHANTOM_AA_0001"),
        ("patient7", "unknown", "PATIENT7"),
        ("my_own", "unknown", "MY_OWN"),
        ("a_b_c_d_e", "unknown", "A_B_C_D_E"),
        ("anything_20000101", "unknown", "ANYTHING"),
        ("TCGA-CS-4942_1997.02.22", "CS", "TCGA_CS_4942"),
        ("TCGA-HT-A61A", "HT", "TCGA_HT_A61A"),
        ("p1_2001-01-31", "unknown", "P1"),
        ("p1-20010131_preop", "unknown", "P1"),
        ("MR_10023456", "unknown", "MR_10023456"),
        ("p1_2001-0131", "unknown", "P1_2001-0131"),
        ("sub-01_ses-1", "unknown", "SUB-01"),
        ("ds1_sub-01_ses-preop_run-2", "unknown", "DS1_SUB-01"),
        ("BraTS-GLI-00005-101", "unknown", "BRATS-GLI-00005"),
        ("BraTS20_Training_001", "TRAINING", "BRATS20_TRAINING_001"),
        ("LGG_bonn_0001", "BONN", "LGG_BONN_0001"),
        ("lgg_Bonn_0002_20010131", "BONN", "LGG_BONN_0002"),
        ("LGG_Köln_0001", "KOLN", "LGG_KOLN_0001"),
        ("UPENN-GBM-00001_21", "unknown", "UPENN-GBM-00001"),
        ("RHUH-0001_0", "unknown", "RHUH-0001"),
        ("images_structural_unstripped_UPENN-GBM-00001_11", "unknown", "UPENN-GBM-00001"),
        ("2023_BraTS-GLI-00005-000", "unknown", "BRATS-GLI-00005"),
        ("LGG_TCGA-CS-4942_1997.02.22", "CS", "TCGA_CS_4942"),
        ("UCSF-PDGM-0004", "unknown", "UCSF-PDGM-0004"),
        ("UCSF-PDGM-0004_FU007d", "unknown", "UCSF-PDGM-0004"),
        ("100001_time2", "unknown", "100001"),
        ("PatientID_0003_Timepoint_1", "unknown", "PATIENTID_0003"),
        ("Patient-001_week-000-1", "unknown", "PATIENT-001"),
        ("p1_follow-up_20010131", "unknown", "P1"),
        ("baseline_p1", "unknown", "P1"),
        ("ses-1_sub-01_run-2", "unknown", "SUB-01"),
        ("scan_1", "unknown", "SCAN_1"),
        ("study-12345678", "unknown", "STUDY-12345678"),
        ("week-1", "unknown", "WEEK-1"),
    ],
)
def test_name_tells_site_and_person(name: str, site: str, person: str) -> None:
    assert patient(name).site == site
    assert patient(name).person == person


def test_patients_are_sorted_by_name(phantom: Path) -> None:
    patients = find_patients(phantom)
    names = [patient.name for patient in patients]
    assert len(names) == 10
    assert names == sorted(names)
    assert {patient.site for patient in patients} == {"AA", "BB", "CC"}
    assert all(patient.image == patient.label == phantom / patient.name for patient in patients)


@pytest.mark.parametrize("levels", ["", "download", "download/kaggle_3m"])
def test_folder_above_the_patients_will_do(phantom: Path, tmp_path: Path, levels: str) -> None:
    (tmp_path / "data" / levels).mkdir(parents=True)
    (tmp_path / "data" / levels / "PHANTOM_AA_0001_20000101").symlink_to(phantom / "PHANTOM_AA_0001_20000101")
    assert [patient.name for patient in find_patients(tmp_path / "data")] == ["PHANTOM_AA_0001_20000101"]


def test_one_patients_folder_is_a_data_set(phantom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "PHANTOM_AA_0001_20000101"
    assert [patient.name for patient in find_patients(phantom / name)] == [name]
    monkeypatch.chdir(phantom / name)
    assert [patient.name for patient in find_patients(Path())] == [name]


def test_hidden_folders_are_left_out(own_phantom: Path) -> None:
    shutil.copytree(own_phantom / "PHANTOM_AA_0001_20000101", own_phantom / ".trash" / "PHANTOM_AA_0001_20000101")
    assert len(find_patients(own_phantom)) == 10


def test_nifti_patients_have_their_masks(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (found,) = find_patients(root)
    assert found.format == "nifti"
    assert found.label == root / "labelsTr" / f"{found.name}.nii.gz"
    found.label.unlink()
    (root / "imagesTr" / "notes.txt").write_text("not a patient")
    (root / "imagesTr" / "._hidden.nii.gz").write_text("of macOS")
    (found,) = find_patients(root)
    assert found.label is None
    image, label = read_patient(found)
    assert image.shape[0] == 3
    assert label is None


def test_nifti_suffixes_count_in_any_case(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (before,) = find_patients(root)
    arrays = read_patient(before)
    assert before.label is not None
    for path in (before.image, before.label):
        path.rename(path.with_name(f"{before.name}.NII.GZ"))
    (found,) = find_patients(root)
    assert found.name == before.name
    assert found.label == root / "labelsTr" / f"{found.name}.NII.GZ"
    for one, other in zip(read_patient(found), arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    assert inspect_dataset(root).all_problems == []


def test_tiff_patient_may_lack_masks(phantom: Path) -> None:
    folder = phantom / "PHANTOM_AA_0001_20000101"
    image, label = read_patient(Patient(folder.name, folder, None, "tiff"))
    assert image.shape[:3] == (3, 64, 64)
    assert label is None


def test_arrays_are_image_and_binary_mask(phantom: Path) -> None:
    image, label = read_patient(find_patients(phantom)[0])
    assert label is not None
    assert image.dtype == label.dtype == np.uint8
    assert label.shape == (1, *image.shape[1:])
    assert set(np.unique(label)) == {0, 1}


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"no such dataset folder: .*nowhere: give the kaggle_3m folder"):
        find_patients(tmp_path / "nowhere")


def test_a_zip_is_to_be_unpacked_by_download(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").touch()
    with pytest.raises(LggError, match=r"no such dataset .*: unpack it by `lgg-monai download DIR --source .*zip`"):
        find_patients(tmp_path / "archive.zip")


def test_folder_without_patients_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    message = r"no patients in .*: expected <patient>/<patient>_<n>\.tif .*`lgg-monai collect .*` makes such"
    with pytest.raises(LggError, match=message) as caught:
        find_patients(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_folder_above_a_nifti_set_is_told_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "Task01" / "imagesTr").mkdir(parents=True)
    for given in (tmp_path, tmp_path / "Task01" / "imagesTr"):
        with pytest.raises(LggError, match=r"give the folder that holds imagesTr, .*Task01$"):
            find_patients(given)


def test_a_set_in_nnunets_layout_is_for_collect(phantom: Path, tmp_path: Path) -> None:
    folder = convert(phantom, tmp_path, "nnunet")
    with pytest.raises(LggError, match=r"_0000\.nii\.gz is one of several files of .*`lgg-monai collect .* joins them"):
        find_patients(folder)


def test_patient_in_two_places_is_refused(own_phantom: Path) -> None:
    for name in ("PHANTOM_AA_0001_20000101", "PHANTOM_BB_0002_20000101"):
        shutil.copytree(own_phantom / name, own_phantom / "copy" / name)
    message = (
        r"PHANTOM_AA_0001_.* lies twice in .* \(.* and .*copy.*, and 1 more alike\): give one of .*, or remove one"
    )
    with pytest.raises(LggError, match=message):
        find_patients(own_phantom)


def test_a_name_that_is_no_text_is_refused(own_phantom: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(own_phantom) + b"/M\xfcller"))
    (own_phantom / "PHANTOM_AA_0001_20000101").rename(odd)
    with pytest.raises(LggError, match=r"the name of .*/M\ufffdller is not in UTF-8, .*: rename it"):
        find_patients(own_phantom)


def test_accents_are_letters_however_they_are_spelt(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (before,) = find_patients(root)
    assert before.label is not None
    before.image.rename(root / "imagesTr" / "M\u00fcller_20000101.nii.gz")
    label = before.label.rename(root / "labelsTr" / "Mu\u0308ller_20000101.nii.gz")
    (found,) = find_patients(root)
    assert found.label == label
    (slices,) = find_patients(shutil.copytree(phantom / before.name, tmp_path / "tiff" / "Mu\u0308ller_20010101"))
    assert slices.person == found.person == "MULLER"


def test_damaged_nifti_is_refused_in_one_line(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (found,) = find_patients(root)
    data = found.image.read_bytes()
    for damaged in (b"", b"no gzip", data[:50], data[: len(data) // 2]):
        found.image.write_bytes(damaged)
        with pytest.raises(LggError, match=r"cannot read .*\.nii\.gz as NIfTI .*: replace the file") as caught:
            read_patient(found)
        assert "\n" not in str(caught.value)


def test_no_flipped_bit_gives_other_voxels(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (found,) = find_patients(root)
    data, (expected, _) = found.image.read_bytes(), read_patient(found)
    refused = 0
    for place in range(0, len(data), len(data) // 40):
        found.image.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            np.testing.assert_array_equal(
                read_patient(found)[0], expected
            )  # gzip's time and name are not of the voxels
        except LggError:
            refused += 1
    assert refused >= 38


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLP", "PIR"])
def test_nifti_is_read_as_the_slices_lie_however_it_is_stored(phantom: Path, tmp_path: Path, axes: str) -> None:
    root = convert(phantom / "PHANTOM_AA_0001_20000101", tmp_path / "nifti")
    (found,) = find_patients(root)
    expected = read_patient(found)
    for path in root.glob("*Tr/*.nii.gz"):
        picture = nibabel.Nifti1Image.from_filename(path)
        turn = orientations.ornt_transform(
            orientations.io_orientation(picture.affine), orientations.axcodes2ornt(tuple(axes))
        )
        nibabel.save(picture.as_reoriented(turn), path)
    for one, other in zip(read_patient(found), expected, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one, other)
    # And the training's preprocessing sees it so.
    loaded = ConfigParser.load_config_file("configs/data.yaml")["preprocessing"]
    steps = ConfigParser({"preprocessing": loaded, "imports": ["$import torch"]}).get_parsed_content("preprocessing")
    image = steps({"image": str(found.image), "label": str(found.label)})
    np.testing.assert_array_equal(image["label"], expected[1])


def test_a_folder_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    for find in (find_patients, partial(sound_report, cache_dir=None)):
        with pytest.raises(
            LggError, match=r"cannot list the files of .*Permission denied.*: give a folder that you may"
        ):
            find(tmp_path / "locked" / "kaggle_3m")


@pytest.mark.parametrize("suffix", [".TIF", ".tiff"])
def test_other_spellings_of_tif_are_read_alike(own_phantom: Path, suffix: str) -> None:
    before = inspect_dataset(own_phantom)
    for path in sorted(own_phantom.glob("*AA*/*.tif")):
        path.rename(path.with_suffix(suffix))
    after = inspect_dataset(own_phantom)
    assert after.all_problems == []
    assert after.fingerprint == before.fingerprint
