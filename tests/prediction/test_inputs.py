"""Scans are found whatever they are called, and what is no scan is refused in one line."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scans import LPS, affine, blob, save

from benchmarks.dicom_series import synthesise_series
from lgg_monai.data.convert import convert
from lgg_monai.data.file_names import parse, safe_name
from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.data.scan import Scan
from lgg_monai.errors import LggError
from lgg_monai.prediction.checks import require_sound
from lgg_monai.prediction.inputs import find_scans
from lgg_monai.prediction.nifti import scan_of_picture, write_volume


@pytest.mark.parametrize(
    ("name", "role", "patient"),
    [
        ("flair.nii.gz", "flair", ""),
        ("BraTS19_X_1_t1ce.nii.gz", "post", "BraTS19_X_1"),
        ("BraTS-GLI-00000-000-t2f.nii.gz", "flair", "BraTS-GLI-00000-000"),
        ("BraTS-GLI-00000-000-t1n.nii.gz", "pre", "BraTS-GLI-00000-000"),
        ("BraTS-GLI-00000-000-t2w.nii.gz", "other", "BraTS-GLI-00000-000"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_T1w.nii.gz", "pre", "sub-01"),
        ("TCGA-CS-4941_1996.09.09_t1Gd.nii.gz", "post", "TCGA-CS-4941_1996.09.09"),
        ("TCGA-CS-4941_1996.09.09_GlistrBoost_ManuallyCorrected.nii.gz", "mask", "TCGA-CS-4941_1996.09.09"),
        ("UCSF-PDGM-0004_tumor_segmentation.nii.gz", "mask", "UCSF-PDGM-0004"),
        ("UCSF-PDGM-0004_brain_segmentation.nii.gz", "other", "UCSF-PDGM-0004"),
        ("c_t1.nii.gz", "pre", "c"),
        ("c_t1_c.nii.gz", "post", "c"),
        ("TCGA_CE_01_t1.nii.gz", "pre", "TCGA_CE_01"),  # CE is part of the patient's name here
        ("P01_t1_post_contrast.nii", "post", "P01"),
        ("P01_pre_contrast.nii", "pre", "P01"),
        ("P01_ax_t2_flair.nii.gz", "flair", "P01"),
        ("P01_flair_mask.nii.gz", "mask", "P01"),
        ("Müller_Maske.nii.gz", "mask", "Müller"),
        ("Mü ller o'Neil_flair.nii.gz", "flair", "Mü ller o'Neil"),
        ("patient_7.nii.gz", "unknown", "patient_7"),
        ("P01_T1_C-.nii.gz", "pre", "P01"),
        ("P01_T1_C+.nii.gz", "post", "P01"),
        ("P01_T1C-.nii.gz", "pre", "P01"),
        ("P01_T1-C.nii.gz", "post", "P01"),
        ("P01_T1_Gd-.nii.gz", "pre", "P01"),
        ("P01_T1_Gd+.nii.gz", "post", "P01"),
        ("P01_T1Gd-.nii.gz", "pre", "P01"),
        ("P01_T1_KM+_tra.nii.gz", "post", "P01"),
        ("P01_T1-Gd.nii.gz", "post", "P01"),
        ("T1-Gd-P01.nii.gz", "post", "P01"),
        ("P01_T1_w_o_contrast.nii.gz", "pre", "P01"),
        ("P01_T1_with_contrast.nii.gz", "post", "P01"),
        ("P01_T1_ohne_KM.nii.gz", "pre", "P01"),
        ("P01_T1_nach_KM.nii.gz", "post", "P01"),
        ("P01_T1_preGd.nii.gz", "pre", "P01"),
        ("P01_T1_postGd.nii.gz", "post", "P01"),
        ("P01_ceT1w.nii.gz", "post", "P01"),
        ("P01_T1_w.nii.gz", "pre", "P01"),
        ("con_t1.nii.gz", "pre", "con"),
        ("P01_no_contrast_T1.nii.gz", "pre", "P01"),
        # Before an operation, with contrast: pre is of the patient's name, as of that of his FLAIR.
        ("P01_pre_T1ce.nii.gz", "post", "P01_pre"),
        ("P01_T1c_pre.nii.gz", "post", "P01_pre"),
        ("P01_pre_T1_Gd.nii.gz", "post", "P01_pre"),
        ("P01_pre_FLAIR.nii.gz", "flair", "P01_pre"),
        ("P01_pre_gd_T1.nii.gz", "pre", "P01"),
        # Techniques, as scanners write them.
        ("AX_T2_FLAIR_FS.nii.gz", "flair", ""),
        ("AX_T1_FS_+C.nii.gz", "post", ""),
        ("P01_AX_T1_SE_GD.nii.gz", "post", "P01"),
        ("t1_mprage_sag_p2_iso_KM.nii.gz", "post", ""),
        ("t2_spc_da-fl_sag_p2_iso.nii.gz", "flair", ""),
        ("Sag_CUBE_T2_FLAIR_Gd.nii.gz", "flair", ""),
        ("sT1W_3D_TFE.nii.gz", "pre", ""),
        ("SAG_T1_3D_FSPGR.nii.gz", "pre", ""),
        ("P01_T1_tra_5mm.nii.gz", "pre", "P01"),
        ("SE_flair.nii.gz", "flair", "SE"),  # a patient's initials
        ("FLAIR_p2.nii.gz", "flair", "p2"),
        # As dataset.json may call channels.
        ("T1-weighted post-contrast", "post", ""),
        ("contrast-enhanced T1-weighted", "post", ""),
        ("T2-weighted FLAIR", "flair", ""),
        # What a scan was registered to is no sequence of it.
        ("sub-01_space-FLAIR_desc-preproc_T1w.nii.gz", "pre", "sub-01"),
        ("sub-01_ce-gadolinium_space-FLAIR_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_T2w_space-FLAIR.nii.gz", "other", "sub-01"),
        ("sub-01_space-T1w_desc-preproc_FLAIR.nii.gz", "flair", "sub-01"),
        ("sub-01_space-FLAIR_label-lesion_mask.nii.gz", "mask", "sub-01"),
        ("sub-01_space-MNI152_T1w.nii.gz", "pre", "sub-01_space-MNI152"),
        ("sub-01_ce-gad_space-native_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_space-FLAIR_dseg.nii.gz", "other", "sub-01"),  # as fMRIPrep calls tissue
        ("Lesion_7_reg_FLAIR.nii.gz", "flair", "Lesion_7_reg"),
        ("P01_t1_to_flair.nii.gz", "pre", "P01"),
        ("FL_to_SRI.nii.gz", "flair", "to_SRI"),  # CaPTk
        ("T1CE_to_SRI_brain.nii.gz", "post", "to_SRI_brain"),
        ("FL_to_SRI_brain.nii.gz", "flair", "to_SRI_brain"),
        ("FL_to_SRInivasan.nii.gz", "unknown", "FL_to_SRInivasan"),
        ("P01_t1c_coreg_to_FLAIR.nii.gz", "post", "P01"),
        ("P01_t1_in_flair.nii.gz", "pre", "P01"),
        ("P01_t1_reg_flair.nii.gz", "pre", "P01"),
        ("P01_T12FLAIR.nii.gz", "pre", "P01"),
        ("P01_T1C_FLAIRspace.nii.gz", "post", "P01"),
        ("P01_seg_to_flair.nii.gz", "mask", "P01"),
        ("P01_flair_to_t1.nii.gz", "flair", "P01"),
        ("P01_T2FLAIR.nii.gz", "flair", "P01"),
        ("P01_t2_space-flair.nii.gz", "flair", "P01"),
        ("P01_reg_FLAIR.nii.gz", "flair", "P01_reg"),
        # T1 weighted, though it says FLAIR.
        ("P01_T1_FLAIR.nii.gz", "pre", "P01"),
        ("P01_T1_FLAIR_post.nii.gz", "post", "P01"),
        ("P01_ax_T1-FLAIR_Gd.nii.gz", "post", "P01"),
        ("P01_T1_ax_FLAIR.nii.gz", "pre", "P01"),
        ("P01_T1FLAIR.nii.gz", "pre", "P01"),
        ("P01_T1wFLAIR_post.nii.gz", "post", "P01"),
        ("P01_T1C_FLAIR.nii.gz", "post", "P01"),
        ("P01_T1_post_FLAIR.nii.gz", "post", "P01"),
        ("P01_T1_gd_ax_FLAIR.nii.gz", "post", "P01"),
        ("P01_T1_pre_FLAIR.nii.gz", "pre", "P01"),
        ("P01_3D_T2_FLAIR.nii.gz", "flair", "P01"),
        ("P01_T1_T2_FLAIR.nii.gz", "flair", "P01_T1"),  # of the first time
        # Entities of BIDS that a patient's sequences need not share.
        ("sub-01_ses-2_acq-3D_FLAIR.nii.gz", "flair", "sub-01_ses-2"),
        ("sub-01_acq-post_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_acq-MPRAGEpost_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_ce-dotarem_T1w.nii.gz", "post", "sub-01"),
        ("sub-01_ce-none_T1w.nii.gz", "pre", "sub-01"),
        # Sessions before and after an operation.
        ("sub-01_ses-post_T1w.nii.gz", "pre", "sub-01_ses-post"),
        ("sub-01_ses-post_FLAIR.nii.gz", "flair", "sub-01_ses-post"),
        ("sub-01_ses-pre_ce-gadolinium_T1w.nii.gz", "post", "sub-01_ses-pre"),
        ("sub-01_desc-brain_mask.nii.gz", "other", "sub-01"),
        ("sub-01_desc-tumor_dseg.nii.gz", "mask", "sub-01"),
        ("sub-01_acq-3D_space-FLAIR_label-lesionAcute_mask.nii.gz", "mask", "sub-01"),
        ("sub-01_ses-2_seg-wholeTumour_dseg.nii.gz", "mask", "sub-01_ses-2"),
        ("sub-01_desc-aparcaseg_dseg.nii.gz", "other", "sub-01_aparcaseg"),
        ("sub-01_label-lesion_probseg.nii.gz", "other", "sub-01"),
        ("sub-01_desc-ribbon_mask.nii.gz", "mask", "sub-01_ribbon"),  # whatever it is of, not of sub-01's tumour
        # Masks as published sets call them.
        ("PatientID_0003_Timepoint_1_tumorMask.nii.gz", "mask", "PatientID_0003_Timepoint_1"),
        ("RHUH-0001_0_segmentations.nii.gz", "mask", "RHUH-0001_0"),
        ("UCSF-PDGM-0004_brain_parenchyma_segmentation.nii.gz", "other", "UCSF-PDGM-0004"),
        # What was done to a scan beforehand.
        ("UCSF-PDGM-0004_T1c_bias.nii.gz", "post", "UCSF-PDGM-0004"),
        ("UPENN-GBM-00001_11_FLAIR_unstripped.nii.gz", "flair", "UPENN-GBM-00001_11"),
        ("PatientID_0003_Timepoint_1_brain_t2f.nii.gz", "flair", "PatientID_0003_Timepoint_1"),
        ("P01_FLAIR_brain.nii.gz", "flair", "P01"),
        ("P01_T1_n4.nii.gz", "pre", "P01"),
        ("bias_T1.nii.gz", "pre", "bias"),
        ("P01_ROI1.nii.gz", "mask", "P01"),
        ("P01_mask2.nii.gz", "mask", "P01"),
        # As dcm2niix calls the series of a study by default.
        ("P01_Ax_T2_FLAIR_20200131093000_5.nii.gz", "flair", "P01_20200131093000"),
        ("P01_T1_post_20200131093000_12a.nii.gz", "post", "P01_20200131093000"),
        ("P01_20200131_T1_5.nii.gz", "pre", "P01_20200131_5"),
    ],
)
def test_file_names(name: str, role: str, patient: str) -> None:
    found = parse(name)
    assert (found.role, found.patient) == (role, patient)


def test_a_t1_flair_is_no_patient_of_its_own(tmp_path: Path) -> None:
    names = ("T1_FLAIR", "T2_FLAIR", "T1_FLAIR_post")
    for name in names:
        save(tmp_path / f"p1_{name}.nii.gz", blob()[1])
    (source,) = find_scans([tmp_path])
    assert source.name == "p1"
    assert [file.name for file in source.files] == [f"p1_{name}.nii.gz" for name in names]
    assert [warning for warning in source.load().warnings if "T1 weighted" in warning] == [
        "p1_T1_FLAIR.nii.gz is taken to be T1 weighted (pre), as its name says T1 FLAIR",
        "p1_T1_FLAIR_post.nii.gz is taken to be T1 weighted (post), as its name says T1 FLAIR",
    ]


def test_t1_registered_to_flair_is_grouped_with_it_and_preferred(tmp_path: Path) -> None:
    names = ("FLAIR", "FLAIR_to_t1", "T1w", "space-FLAIR_desc-preproc_T1w", "ce-gadolinium_space-FLAIR_T1w")
    for name in names:
        save(tmp_path / f"sub-01_{name}.nii.gz", blob()[1])
    (source,) = find_scans([tmp_path])
    assert source.name == "sub-01"
    assert [file.name for file in source.files] == [f"sub-01_{names[i]}.nii.gz" for i in (3, 0, 4)]
    assert [warning.partition(":")[0] for warning in source.load().warnings[:2]] == [
        "2 files could be pre",
        "2 files could be flair",
    ]


def test_a_scan_and_what_was_corrected_of_it_are_one(tmp_path: Path) -> None:
    for name in ("T1_bias", "T1", "FLAIR_bias", "FLAIR", "T1c_bias", "tumor_segmentation"):
        save(tmp_path / f"UCSF-PDGM-0004_{name}.nii.gz", blob()[1])
    (source,) = find_scans([tmp_path])
    assert [file.name for file in source.files] == [
        f"UCSF-PDGM-0004_{name}.nii.gz" for name in ("T1", "FLAIR", "T1c_bias")
    ]
    assert source.load().warnings[1] == (
        "2 files could be flair: took UCSF-PDGM-0004_FLAIR.nii.gz, not UCSF-PDGM-0004_FLAIR_bias.nii.gz"
    )


def test_a_mixed_folder(phantom: Path, tmp_path: Path) -> None:
    tiff = find_patients(phantom)[0]
    (tmp_path / "tiff").mkdir()
    (tmp_path / "tiff" / tiff.name).symlink_to(tiff.image)
    image = blob()
    for number, sequence in enumerate(("t1", "flair", "t1ce")):
        save(tmp_path / "brats" / f"B_1_{sequence}.nii.gz", image[number])
    save(tmp_path / "brats" / "B_1_seg.nii.gz", np.ones(image.shape[1:], np.uint8))
    save(tmp_path / "brats" / "B_1_t2.nii.gz", image[0])
    save(tmp_path / "one" / "4d.nii", np.moveaxis(image, 0, -1))
    save(tmp_path / "alone" / "P2_FLAIR.nii.gz", image[1])
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = {source.name: source for source in find_scans([tmp_path])}
    assert sorted(found) == ["4d", "B_1", "P2", tiff.name]
    assert {source.name: source.kind for source in found.values() if source.kind != "nifti"} == {tiff.name: "tiff"}
    three, four, alone = (found[name].load() for name in ("B_1", "4d", "P2"))
    assert np.array_equal(three.image, image)
    assert np.array_equal(four.image, image)
    assert three.missing == four.missing == ()
    # Another order would make another mask, which looks like one.
    assert four.warnings == ["4d.nii is taken to hold pre, FLAIR, post in this order: nothing names them"]
    assert three.warnings == alone.warnings == []
    assert alone.missing == ("pre", "post")
    assert np.array_equal(alone.image, np.stack([image[1]] * 3))
    assert found["B_1"].label == tmp_path / "brats" / "B_1_seg.nii.gz"
    slices = found[tiff.name].load()
    assert np.array_equal(slices.image, read_patient(tiff)[0])
    assert not slices.spacing_known
    assert found[tiff.name].phantom is False or found[tiff.name].label is not None


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_what_convert_writes_is_read_back(phantom: Path, tmp_path: Path, layout: str) -> None:
    convert(phantom, tmp_path / "out", layout)  # type: ignore[arg-type]
    sources = find_scans([tmp_path / "out"])
    patients = find_patients(phantom)
    assert [source.name for source in sources] == [patient.name for patient in patients]
    for source, patient in list(zip(sources, patients, strict=True))[:2]:
        scan = source.load()
        assert np.array_equal(scan.image, read_patient(patient)[0])
        assert not scan.spacing_known  # 1 mm is a placeholder there
        assert source.label is not None
        assert source.label.parent.name == "labelsTr"
        assert source.phantom


def test_channels_by_dataset_json(tmp_path: Path) -> None:
    image = blob()
    volumes = np.stack([image[1], image[0], image[2], image[0]], axis=-1)
    save(tmp_path / "imagesTr" / "BRATS_1.nii.gz", volumes)
    modality = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": modality}))
    (source,) = find_scans([tmp_path])
    assert np.array_equal(source.load().image, image)


@pytest.mark.parametrize(
    ("numbers", "what"),
    [
        ((1, 2, 3), "3D"),
        ((1, 2), "3D"),
        ((0,), "3D"),
        ((0, 1, 2, 3), "3D"),
        ((0, 1, 2), "4D"),
        ((1, 2, 3), "4D"),
        ((0, 1, 2), "3D with masks"),  # without masks, nothing tells these from channels
    ],
)
def test_patients_of_four_digits_are_no_channels(tmp_path: Path, numbers: tuple[int, ...], what: str) -> None:
    names = [f"patient_{number:04d}" for number in numbers]
    for seed, name in enumerate(names):
        image = blob(seed=seed)
        save(tmp_path / "images" / f"{name}.nii.gz", np.moveaxis(image, 0, -1) if what == "4D" else image[1])
        if what == "3D with masks":
            save(tmp_path / "labels" / f"{name}.nii.gz", np.ones(image.shape[1:], np.uint8))
    sources = find_scans([tmp_path])
    assert [source.name for source in sources] == names
    for seed, source in enumerate(sources):
        scan = source.load()
        assert np.array_equal(scan.image[1], blob(seed=seed)[1])
        assert scan.missing == (() if what == "4D" else ("pre", "post"))
        assert (source.label is not None) == (what == "3D with masks")


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("ones", [(), (1,)])  # axes of length 1 say nothing
def test_channels_of_nnunet_without_a_description_are_taken_and_told(
    tmp_path: Path, channels: int, ones: tuple[int, ...]
) -> None:
    image = blob()
    for patient in ("LGG_001", "LGG_002"):
        for number in range(channels):
            volume = image[number].reshape(*image.shape[1:], *ones)
            save(tmp_path / "imagesTr" / f"{patient}_{number:04d}.nii.gz", volume)
    sources = find_scans([tmp_path])
    assert [source.name for source in sources] == ["LGG_001", "LGG_002"]
    scan = sources[1].load()
    assert np.array_equal(scan.image[:channels], image[:channels])
    (warning,) = scan.warnings
    assert warning.startswith("sequences taken by nnU-Net's numbers, as no dataset.json names them: ")
    assert "LGG_002_0001.nii.gz (flair)" in warning
    names = {"0": "pre", "1": "FLAIR", "2": "post"}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": names}))
    assert find_scans([tmp_path])[1].load().warnings == []
    # One patient without the first sequence: the numbers fit the description, and nothing else.
    (tmp_path / "imagesTr" / "LGG_001_0000.nii.gz").unlink()
    assert [source.name for source in find_scans([tmp_path])] == ["LGG_001", "LGG_002"]
    (tmp_path / "dataset.json").unlink()
    assert len(find_scans([tmp_path])) == 2 * channels - 1


@pytest.mark.parametrize(("names", "four"), [(["FLAIR"], False), (["FLAIR", "T1w", "T1gd", "T2w"], True)])
def test_numbers_beside_those_that_dataset_json_names_are_patients(
    tmp_path: Path, names: list[str], four: bool
) -> None:
    image = blob()
    volumes = np.stack([image[1], image[0], image[2], image[0]], axis=-1)
    for number in range(4 if four else 3):
        save(tmp_path / "imagesTr" / f"BRATS_{number:04d}.nii.gz", volumes if four else image[1])
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": dict(enumerate(names))}))
    sources = find_scans([tmp_path])
    assert [source.name for source in sources] == [f"BRATS_{number:04d}" for number in range(4 if four else 3)]
    for source in sources:
        assert np.array_equal(source.load().image, image if four else np.stack([image[1]] * 3))


def test_channels_of_nnunet_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    image = blob()
    for number in range(3):
        save(tmp_path / "imagesTr" / f"LGG_001_{number:04d}.nii.gz", image[number])
    (tmp_path / "imagesTr" / "LGG_001_0002.nii.gz").write_bytes(b"no gzip")
    assert "LGG_001_0002.nii.gz" in reason(tmp_path)


def test_dataset_json_may_tell_of_contrast_in_words(tmp_path: Path) -> None:
    image = blob()
    save(tmp_path / "imagesTr" / "own_1.nii.gz", np.moveaxis(image, 0, -1))
    modality = {"0": "T1-weighted", "1": "FLAIR", "2": "T1-weighted post-contrast"}
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": modality}))
    (source,) = find_scans([tmp_path])
    assert np.array_equal(source.load().image, image)


def test_other_grids_are_resampled_onto_flair(tmp_path: Path) -> None:
    image = blob((40, 36, 10))
    save(tmp_path / "a_flair.nii.gz", image[1])
    # The same places with X running the other way, and one slice more at the bottom.
    moved = LPS @ np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1.0]])
    larger = np.concatenate([np.zeros((40, 36, 1), np.float32), image[0, ::-1]], axis=2)
    save(tmp_path / "a_t1.nii.gz", larger, moved)
    save(tmp_path / "a_t1c.nii.gz", image[2, :, :, :4])
    (source,) = find_scans([tmp_path])
    scan = source.load()
    assert np.allclose(scan.image[:2], image[:2], atol=1e-3)
    assert np.allclose(scan.image[2, :, :, :4], image[2, :, :, :4], atol=1e-3)
    assert not scan.image[2, :, :, 5:].any()
    assert scan.warnings == ["post covers 40% of FLAIR's volume"]


@pytest.mark.parametrize("unplaced", ["t1", "flair"])
def test_a_sequence_without_a_position_is_not_guessed_at(tmp_path: Path, unplaced: str) -> None:
    image = blob((40, 36, 10))
    save(tmp_path / "a_flair.nii.gz", image[1])
    save(tmp_path / "a_t1.nii.gz", image[0, :30])
    path = tmp_path / f"a_{unplaced}.nii.gz"
    picture = nibabel.Nifti1Image.from_filename(path)
    voxels = np.asanyarray(picture.dataobj)
    bare = nibabel.Nifti1Image(voxels, None, picture.header)
    bare.header["qform_code"] = bare.header["sform_code"] = 0
    nibabel.save(bare, path)
    (source,) = find_scans([tmp_path])
    with pytest.raises(LggError, match=rf"{path.name} says nothing of its position, and pre is not of FLAIR's size"):
        source.load()
    save(tmp_path / "a_t1.nii.gz", image[0])  # of FLAIR's size, the voxels are taken to coincide
    assert np.array_equal(find_scans([tmp_path])[0].load().image[0], image[0])


def test_a_corrected_mask_is_the_reference_beside_an_automatic_one(tmp_path: Path) -> None:
    for name in ("flair", "GlistrBoost", "GlistrBoost_ManuallyCorrected"):
        save(tmp_path / f"TCGA-CS-4941_1996.09.09_{name}.nii.gz", blob()[1])
    (source,) = find_scans([tmp_path])
    assert source.label is not None
    assert source.label.name.endswith("_ManuallyCorrected.nii.gz")
    (warning,) = source.load().warnings
    assert warning.startswith("2 files could be the reference mask: took ")
    assert warning.endswith("not TCGA-CS-4941_1996.09.09_GlistrBoost.nii.gz")


@pytest.mark.parametrize("name", ["P1_FLAIR", "P1"])
def test_of_several_masks_the_one_that_is_taken_is_told(tmp_path: Path, name: str) -> None:
    for file in (name, "P1_ROI1", "P1_ROI2"):
        save(tmp_path / f"{file}.nii.gz", blob()[1])
    (source,) = find_scans([tmp_path])
    assert source.label == tmp_path / "P1_ROI1.nii.gz"
    note = "2 files could be the reference mask: took P1_ROI1.nii.gz, not P1_ROI2.nii.gz"
    assert source.load().warnings[-1] == note


def test_the_output_may_lie_above_the_input_but_not_be_it(tmp_path: Path) -> None:
    synthesise_series(tmp_path / "in" / "dicom", (blob((8, 8, 4))[1] * 10).astype(int), LPS, "AX FLAIR", 3)
    save(tmp_path / "in" / "nifti" / "p_flair.nii.gz", blob()[1])
    kinds = [source.kind for source in find_scans([tmp_path / "in"], leave_out=tmp_path)]
    assert sorted(kinds) == ["dicom", "nifti"]
    inside = find_scans([tmp_path / "in"], leave_out=tmp_path / "in" / "dicom")
    assert [source.kind for source in inside] == ["nifti"]
    # A shell's * names earlier results too, which are left out; scans never are in silence.
    both = [tmp_path / "in" / "dicom", tmp_path / "in" / "nifti"]
    with pytest.raises(LggError, match="nifti is the output folder too"):
        find_scans(both, leave_out=both[1])
    (both[1] / "settings.json").write_text("{}")
    assert [source.kind for source in find_scans(both, leave_out=both[1])] == ["dicom"]
    file = tmp_path / "in" / "nifti" / "p_flair.nii.gz"
    with pytest.raises(LggError, match=r"p_flair\.nii\.gz is an input and the --output too: give a folder"):
        find_scans([both[0], file], leave_out=file)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(LggError, match="link is the output folder too"):
        find_scans([tmp_path / "link"], leave_out=tmp_path / "in")
    with pytest.raises(LggError, match=r"in is the output folder too: choose another --output, such as .*masks"):
        find_scans([tmp_path / "in"], leave_out=tmp_path / "in")


def test_a_path_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "locked" / "q_flair.nii.gz"
    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(LggError, match=r"q_flair\.nii\.gz \(Permission denied\): give a path"):
        find_scans([path])
    monkeypatch.setattr(Path, "is_file", closed)
    with pytest.raises(LggError, match=r"q_flair\.nii\.gz \(Permission denied\): give a file"):
        find_scans([], explicit={"flair": path})


def test_explicit_sequences(tmp_path: Path) -> None:
    image = blob()
    files = {name: save(tmp_path / f"x{i}.nii.gz", image[i]) for i, name in enumerate(("pre", "flair", "post"))}
    (source,) = find_scans([], explicit=files)
    assert np.array_equal(source.load().image, image)
    with pytest.raises(LggError, match="no --flair beside"):
        find_scans([], explicit={"pre": files["pre"]})
    with pytest.raises(LggError, match="no such file"):
        find_scans([], explicit={"flair": tmp_path / "absent.nii"})


def test_names_with_blanks_quotes_and_any_letters(tmp_path: Path) -> None:
    names = ['Patient Ä "1" o\'Neil', "患者 2", "=cmd()", "a;b & c"]
    for name in names:
        save(tmp_path / f"{name}_flair.nii.gz", blob()[1])
    found = find_scans([tmp_path])
    assert sorted(source.name for source in found) == sorted([safe_name(name) for name in names])
    assert all(source.load().image.shape == (3, 48, 40, 12) for source in found)
    assert safe_name("../../etc/passwd\n") == "_.._etc_passwd_"
    assert safe_name("...") == "scan"
    assert len(safe_name("é" * 500).encode()) <= 120


def test_scans_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder / "p_flair.nii.gz", blob()[1])
    assert [source.name for source in find_scans([tmp_path])] == ["a_p", "b_p"]
    assert len(find_scans([tmp_path / "a", tmp_path / "a" / "p_flair.nii.gz"])) == 1


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("a/mri/p_flair", "b/mri/p_flair"), ["a_p", "b_p"]),
        (("a/x/p_flair", "a/y/p_flair", "b/x/p_flair"), ["a_x_p", "a_y_p", "b_x_p"]),
        (("a/x/FLAIR", "b/x/FLAIR", "c/FLAIR"), ["a_x", "b_x", "c"]),
        (("a/p_flair", "b/P_flair"), ["a_p", "b_P"]),
        (("a/p_t1", "b/p_t1"), ["a_p", "b_p"]),  # which are refused, each by its name
        (("p_flair", "a/p_flair"), ["top_p", "a_p"]),
        (("a_b/p_flair", "a/b/p_flair", "c/p_flair"), ["a_b_p", "a_b_p_2", "c_p"]),
    ],
)
def test_the_folders_that_differ_tell_scans_of_one_name_apart(
    tmp_path: Path, files: tuple[str, ...], names: list[str]
) -> None:
    for name in files:
        save(tmp_path / "top" / f"{name}.nii.gz", blob()[1])
    found = [source.name for source in find_scans([tmp_path / "top"])]
    assert sorted(found) == sorted(names)


def test_a_patient_keeps_his_name_whatever_else_is_given(tmp_path: Path) -> None:
    for name in ("patA/mri", "patB/mri", "patC/ses-2/anat", "patD", "patE/week-000-1", "patF/2001-01-31", "pat7/T3"):
        save(tmp_path / name / "FLAIR.nii.gz", blob()[1])
    expected = ["patA_mri", "patB_mri", "patC_ses-2_anat", "patD", "patE_week-000-1", "patF_2001-01-31", "pat7_T3"]
    assert [source.name for source in find_scans([tmp_path])] == [expected[-1], *expected[:-1]]
    assert [source.name for source in find_scans([tmp_path / "patA"])] == expected[:1]
    assert [source.name for source in find_scans([tmp_path / "patC" / "ses-2" / "anat" / "FLAIR.nii.gz"])] == expected[
        2:3
    ]
    files = {"flair": tmp_path / "patB" / "mri" / "FLAIR.nii.gz"}
    assert [source.name for source in find_scans([], explicit=files)] == expected[1:2]


@pytest.mark.parametrize(
    ("files", "flair", "t1", "mask"),
    [
        (  # as the Erasmus Glioma Database has them
            "1_T1/NIFTI/T1 2_T1GD/NIFTI/T1GD 3_T2/NIFTI/T2 4_FLAIR/NIFTI/FLAIR 5_MASK/NIFTI/mask",
            "4_FLAIR/NIFTI/FLAIR",
            "1_T1/NIFTI/T1",
            "5_MASK/NIFTI/mask",
        ),
        ("t1/scan flair/scan labels/scan", "flair/scan", "t1/scan", "labels/scan"),  # told by the folders alone
        ("t1/3_t1 flair/s_5 Segmentierung/Untitled", "flair/s_5", "t1/3_t1", "Segmentierung/Untitled"),  # one in each
        ("T1/p_T1 T2_FLAIR/p_FLAIR MASKS/p_FLAIR", "T2_FLAIR/p_FLAIR", "T1/p_T1", "MASKS/p_FLAIR"),
        ("T1/T1 T1/mask FLAIR/FLAIR", "FLAIR/FLAIR", "T1/T1", None),  # a mask of the brain, as T1 shows it
        ("a_t1/a_t1 a_flair/a_flair a_seg/a_seg", "a_flair/a_flair", "a_t1/a_t1", "a_seg/a_seg"),
        (  # as a copy of BraTS has them, each file unpacked into a folder
            "B-1-t1n.nii/57_brain_t1 B-1-t2w.nii/57_brain_t2 B-1-t2f.nii/57_brain_flair B-1-seg.nii/57_final_seg",
            "B-1-t2f.nii/57_brain_flair",
            "B-1-t1n.nii/57_brain_t1",
            "B-1-seg.nii/57_final_seg",
        ),
    ],
)
def test_a_patient_may_have_a_folder_a_sequence(
    tmp_path: Path, files: str, flair: str, t1: str, mask: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    for patient in ("a", "b"):
        for name in files.split():
            save(tmp_path / patient / f"{name}.nii.gz", blob()[1])
    found = find_scans([tmp_path])
    assert caplog.messages == []
    for source, patient in zip(found, ("a", "b"), strict=True):
        assert source.name.startswith(patient)
        roles = [tmp_path / patient / f"{name}.nii.gz" for name in (t1, flair)]
        assert source.files[:2] == tuple(roles)
        assert source.label == (mask and tmp_path / patient / f"{mask}.nii.gz")
        assert source.load().warnings == []


def test_a_folders_name_tells_of_contrast_where_its_files_do_not(tmp_path: Path) -> None:
    for value, name in enumerate(("FLAIR/FLAIR", "T1_pre/T1", "T1_post/T1"), start=1):
        save(tmp_path / "a" / f"{name}.nii.gz", blob()[1] + value)
    (source,) = find_scans([tmp_path])
    scan = source.load()
    assert (scan.missing, scan.warnings) == ((), [])
    assert [float(volume.min() - blob()[1].min()) for volume in scan.image] == pytest.approx([2, 1, 3], abs=0.01)


def test_one_folder_a_sequence_for_all_patients(tmp_path: Path) -> None:
    for folder in ("FLAIR", "T1ce", "masks", "T2"):
        for patient in ("a", "b"):
            save(tmp_path / folder / f"{patient}.nii.gz", blob()[1])
    found = find_scans([tmp_path])
    assert [source.name for source in found] == ["a", "b"]
    assert [source.load().missing for source in found] == [("pre",)] * 2
    assert [source.label for source in found] == [tmp_path / "masks" / f"{patient}.nii.gz" for patient in ("a", "b")]
    assert [source.label for source in find_scans([tmp_path], masks=tmp_path / "masks")] == [None] * 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("FLAIR/P1/P1 T1/P1/P1 FLAIR/P2/P2 T1/P2/P2 masks/P2/P2", {"P1": "", "P2": "masks/P2/P2"}),
        ("FLAIR/P1/FLAIR T1/P1/T1 FLAIR/P2/FLAIR T1/P2/T1 T1/P3/T1", {"P1": "", "P2": "", "P3": None}),
        ("FLAIR/P1/s5 T1/P1/s3 FLAIR/P2/s9 T1/P2/s8 T2/P2/s7", {"P1": "", "P2": ""}),
        ("FLAIR/site/P1 T1/site/P1 FLAIR/site/P2 T1/site/P2", {"P1": "", "P2": ""}),
        ("FLAIR/P1/ses-1/FLAIR T1/P1/ses-1/T1 FLAIR/P1/ses-2/F T1/P1/ses-2/T1", {"P1_ses-1": "", "P1_ses-2": ""}),
        ("P1_flair/P1_flair P1_t1/P1_t1 P2_flair/P2_flair P2_t1/P2_t1 P3_t1/P3_t1", {"P1": "", "P2": "", "P3": None}),
        ("P1_flair/FLAIR P1_t1/T1 P2_flair/FLAIR P2_t1/T1", {"P1": "", "P2": ""}),
    ],
)
def test_folders_of_a_sequence_may_hold_one_a_patient_or_name_him(
    tmp_path: Path, files: str, expected: dict[str, str | None]
) -> None:
    for name in files.split():
        save(tmp_path / f"{name}.nii.gz", blob()[1])
    found = find_scans([tmp_path])
    assert [source.name for source in found if source.kind == "nifti"] == [
        name for name, mask in expected.items() if mask is not None
    ]
    for source in found:
        mask = expected[source.name]
        if mask is None:
            with pytest.raises(LggError, match="no FLAIR beside"):
                source.load()
            continue
        scan = source.load()
        assert (scan.missing, scan.warnings) == (("post",), [])
        assert source.label == (tmp_path / f"{mask}.nii.gz" if mask else None)


def test_times_called_t1_and_t2_are_no_sequences(tmp_path: Path) -> None:
    for time in ("T1", "T2"):
        for sequence in ("FLAIR", "T1"):
            save(tmp_path / "p" / time / f"{sequence}.nii.gz", blob()[1])
    assert [source.name for source in find_scans([tmp_path])] == ["p_T1", "p_T2"]


def test_earlier_results_and_the_output_are_no_input(tmp_path: Path) -> None:
    save(tmp_path / "p_flair.nii.gz", blob()[1])
    save(tmp_path / "out" / "p" / "flair.nii.gz", blob()[1])
    save(tmp_path / "old" / "p" / "flair.nii.gz", blob()[1])
    (tmp_path / "old" / "p" / "result.json").write_text('{"patient": "p", "settings": "0"}')
    assert [source.name for source in find_scans([tmp_path], leave_out=tmp_path / "out")] == ["p"]


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"patient": "q", "age": 40}'])
def test_a_result_json_of_the_users_own_hides_no_scan(tmp_path: Path, content: str) -> None:
    save(tmp_path / "q" / "q_flair.nii.gz", blob()[1])
    (tmp_path / "q" / "result.json").write_text(content)
    assert [source.name for source in find_scans([tmp_path])] == ["q"]


def test_files_of_no_scan_are_told_of_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a/a_FLAIR", "a/a_T2w", "a/mask_a", "a/a_adc", "a/b_FLAIR_reg", "c/FLAIR", "c/T2", "d/d", "d/d_seg"):
        save(tmp_path / f"{name}.nii.gz", blob()[1])
    assert len(find_scans([tmp_path])) == 4
    assert caplog.messages == []  # these are of patients whose scans are segmented
    for name in ("a/patient2", "a/ab_T2w", "b/b_T2w", "e/e_seg"):
        save(tmp_path / f"{name}.nii.gz", blob()[1])
    assert len(find_scans([tmp_path])) == 4
    (message,) = caplog.messages
    first = tmp_path / "a" / "ab_T2w.nii.gz"
    assert message == f"left out: 4 NIfTI files that are no FLAIR nor beside one by name, such as {first}"


def test_scans_in_formats_of_other_programs_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a" / "a_FLAIR.nii.gz", blob()[1])
    for name in ("a/T1.mgz", "b/FLAIR.MGZ", "c/c_flair.mha", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(find_scans([tmp_path])) == 1
    assert caplog.messages == ["left out: files (2 .mgz, 1 .mha) of formats that are not read: convert scans to NIfTI"]


def reason(path: Path) -> str:
    (source,) = find_scans([path])
    with pytest.raises(LggError) as caught:
        require_sound(source.load())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_voxels_that_are_not_numbers_are_taken_for_air(tmp_path: Path) -> None:
    image = blob().astype(np.float32)
    for folder, air in (("a", np.nan), ("b", 0)):
        flair, pre = image[1].copy(), image[0].copy()
        flair[:3], pre[..., -2:] = air, air
        save(tmp_path / folder / "p1_flair.nii.gz", flair)
        save(tmp_path / folder / "p1_t1.nii.gz", pre, LPS @ np.diag([1, 1, 1.3, 1]))  # on another grid
    scans = [find_scans([tmp_path / folder])[0].load() for folder in ("a", "b")]
    np.testing.assert_array_equal(scans[0].image, scans[1].image)
    told = {warning for warning in scans[0].warnings if "not numbers" in warning}
    assert [re.sub("^[0-9.]+%", "some", warning) for warning in sorted(told)] == [
        f"some of the voxels of p1_{name}.nii.gz are not numbers (NaN): taken for air" for name in ("t1", "flair")
    ]
    assert not [warning for warning in scans[1].warnings if "not numbers" in warning]
    normalised = image[1] - 100  # its 0 is within the head
    normalised[:3] = np.nan
    own = nibabel.Nifti1Image(normalised, LPS)
    assert (scan_of_picture(own).image[:, :3] == np.nanmin(normalised)).all()
    assert np.isnan(own.get_fdata()).any()  # the array of whoever gave it stays


def test_what_is_no_scan_is_refused(tmp_path: Path) -> None:
    image = blob()
    picture = tmp_path / "photo.jpg"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture)
    assert "is a picture, not a scan" in reason(picture)
    colours = np.zeros((8, 8, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "is a colour picture" in reason(save(tmp_path / "rgb_flair.nii.gz", colours))
    whole = save(tmp_path / "whole.nii.gz", image[1])
    cut = tmp_path / "cut_flair.nii.gz"
    cut.write_bytes(whole.read_bytes()[:20000])
    assert "cut short" in reason(cut)
    flipped = tmp_path / "flipped_flair.nii.gz"
    flipped.write_bytes(whole.read_bytes()[:-8] + b"\0" * 4 + whole.read_bytes()[-4:])
    assert re.search(r"flipped_flair\.nii\.gz as NIfTI, it is damaged.*CRC check failed", reason(flipped))
    wrong = tmp_path / "wrong.nii.gz"
    wrong.write_text("not gzip")
    assert "cannot read" in reason(wrong)
    unpacked = save(tmp_path / "unpacked_flair.nii", image[1]).rename(tmp_path / "unpacked_flair.nii.gz")
    assert reason(unpacked) == f"{unpacked} is not compressed, as .gz says: name it unpacked_flair.nii"
    gzipped = tmp_path / "gzipped_flair.nii"
    gzipped.write_bytes(whole.read_bytes())
    assert reason(gzipped) == f"{gzipped} is compressed, as .nii does not say: name it gzipped_flair.nii.gz"
    packed = tmp_path / "text.nii.gz"
    packed.write_bytes(gzip.compress(b"not NIfTI at all"))
    assert "cannot read" in reason(packed)
    empty = tmp_path / "empty.nii"
    empty.touch()
    assert "is empty" in reason(empty)
    nothing = image[1].copy()
    nothing[0, 0, 0] = np.inf
    assert "1 voxels of flair are not numbers" in reason(save(tmp_path / "infinite.nii.gz", nothing))
    assert "of one value (7)" in reason(save(tmp_path / "flat_flair.nii.gz", np.full((8, 8, 8), 7, np.int16)))
    assert "like CT" in reason(save(tmp_path / "ct_flair.nii.gz", (image[1] * 10 - 1000).astype(np.int16)))
    below_0 = save(tmp_path / "below_0_flair.nii.gz", (image[1] - 2000).astype(np.int16))  # stored with an offset
    assert require_sound(find_scans([below_0])[0].load()) is None
    assert "8 x 8 voxels" in reason(save(tmp_path / "flat.nii.gz", image[1, :8, :8, 0]))
    assert "in a dataset.json beside its folder, or" in reason(
        save(tmp_path / "four.nii", np.stack([image[1]] * 4, -1))
    )
    assert "5 volumes in" in reason(save(tmp_path / "series.nii.gz", np.stack([image[1]] * 5, axis=-1)))
    assert "no FLAIR beside alone_t1.nii.gz (pre)" in reason(save(tmp_path / "alone_t1.nii.gz", image[0]))
    text = tmp_path / "readme.md"
    text.write_text("text")
    assert "is no image that is known here" in reason(text)
    slices = tmp_path / "thick"
    save(slices / "sag_flair.nii.gz", image[1], affine((5, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert find_scans([slices])[0].load().image.shape[0] == 3  # its geometry is refused where it is laid out


def test_where_nothing_is_found_the_message_says_what_was_there(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(LggError, match=r"no scan in .* \(files: 2 \.png, 1 \.txt\)"):
        find_scans([tmp_path])
    with pytest.raises(LggError, match="no such file or folder"):
        find_scans([tmp_path / "absent"])
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(LggError, match="a broken link"):
        find_scans([tmp_path / "link"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tumor_seg",), r"\(tumor_seg\.nii\.gz is a mask by its name\): if it is FLAIR, name it with --flair"),
        (("a_T2", "b_seg"), r"\(of 2 NIfTI files none is FLAIR: a_T2\.nii\.gz is another sequence than FLAIR or T1 by"),
        (("labelsTr/a", "labelsTr/b"), r"\(files: 2 \.nii\.gz in labelsTr, a folder of masks\): expected"),
    ],
)
def test_nifti_files_that_are_no_scan_by_their_names_are_said_to_be_that(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    paths = [save(tmp_path / f"{name}.nii.gz", blob()[1]) for name in names]
    with pytest.raises(LggError, match=f"no scan in .* {message}"):
        find_scans([tmp_path])
    if "/" not in names[0]:
        with pytest.raises(LggError, match=f"no scan in .* {message}"):
            find_scans(paths)


def test_of_a_bids_set_dicom_files_that_it_was_made_of_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz", blob()[1])
    for number, folder in enumerate(("sourcedata", "derivatives"), start=1):
        where = tmp_path / folder / "sub-01"
        synthesise_series(where, (blob((8, 8, 4))[1] * 10).astype(int), LPS, "AX FLAIR", number)
    assert [source.kind for source in find_scans([tmp_path])] == ["nifti"]
    assert sorted(message.partition(": give")[0] for message in caplog.messages) == [
        f"left out: {tmp_path / 'derivatives'}, computed of the scans beside it",
        f"left out: {tmp_path / 'sourcedata'}, of which the scans beside it were made",
    ]
    assert [source.kind for source in find_scans([tmp_path, tmp_path / "sourcedata" / "sub-01"])] == ["nifti", "dicom"]


def test_a_choice_of_series_needs_dicom(tmp_path: Path) -> None:
    path = save(tmp_path / "p_flair.nii.gz", blob()[1])
    for given in ({"paths": [path]}, {"paths": [], "explicit": {"flair": path}}):
        with pytest.raises(LggError, match="--series flair=1, but no DICOM among the inputs: leave it out"):
            find_scans(**given, series={"flair": "1"})
    synthesise_series(tmp_path / "dicom", (blob((8, 8, 4))[1] * 10).astype(int), LPS, "AX FLAIR", 1)
    assert len(find_scans([tmp_path], series={"flair": "1"})) == 2


def test_sequences_without_content_count_as_missing() -> None:
    image = blob()
    image[0] = 3
    image[2] = image[1]
    scan = Scan("s", image, LPS)
    require_sound(scan)
    assert scan.missing == ("pre", "post")
    assert scan.warnings == ["pre is of one value throughout: a copy of FLAIR stands in for it"]
    assert np.array_equal(scan.image[0], scan.image[1])


@pytest.mark.parametrize("codes", [(1, 0), (0, 4), (1, 1), (2, 3), (0, 0)])
def test_the_written_volume_repeats_the_headers_geometry(tmp_path: Path, codes: tuple[int, int]) -> None:
    oblique = affine((-0.9, 0.1, 0.05), (0.1, -0.9, 0.1), (0.2, 0.4, 4.0))
    picture = nibabel.Nifti1Image(blob()[1], oblique)
    # qform and sform may differ; both are to come back as they are.
    picture.set_qform(LPS, codes[0], strip_shears=True)
    picture.set_sform(oblique, codes[1])
    picture.header["pixdim"][1:4] = (0.9, 0.9, 4.2)
    picture.header["descrip"] = b"Jane Doe"
    nibabel.save(picture, tmp_path / "p_flair.nii.gz")
    stored = nibabel.load(tmp_path / "p_flair.nii.gz")
    scan = find_scans([tmp_path])[0].load()
    mask = scan.image[1] > 110
    write_volume(tmp_path / "mask.nii.gz", mask.astype(np.uint8), scan)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.affine, stored.affine)
    for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_z"):
        assert np.array_equal(written.header[name], stored.header[name]), name
    assert np.array_equal(written.header["pixdim"][:4], stored.header["pixdim"][:4])
    assert np.array_equal(np.asarray(written.dataobj) > 0, mask)
    assert written.get_data_dtype() == np.uint8
    assert b"Jane" not in (tmp_path / "mask.nii.gz").read_bytes()
    assert b"Jane" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())


@pytest.mark.parametrize(("known", "code"), [(True, 1), (False, 2)])
def test_what_is_written_without_a_nifti_header_says_one_place_twice(tmp_path: Path, known: bool, code: int) -> None:
    write_volume(tmp_path / "mask.nii.gz", np.ones((4, 5, 6), np.uint8), Scan("s", blob(), LPS, spacing_known=known))
    picture = nibabel.load(tmp_path / "mask.nii.gz")
    for grid, own in (picture.get_qform(coded=True), picture.get_sform(coded=True)):  # readers prefer either
        assert np.allclose(grid, LPS, atol=1e-5)
        assert own == code
    assert picture.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    ("grid", "unit", "known", "note"),
    [
        (LPS, "mm", True, ""),
        (LPS, "micron", False, "lengths are in micron"),
        (LPS, "meter", False, "lengths are in meter"),
        (np.eye(4), "mm", False, "the affine is a placeholder"),
        ((1.0, 1.0, 1.0), "mm", False, "records no orientation"),
        ((0.9, 0.9, 4.0), "mm", True, "records no orientation"),
    ],
)
def test_lengths_are_millimetres_only_where_the_file_says_so(
    tmp_path: Path, grid, unit: str, known: bool, note
) -> None:
    picture = nibabel.Nifti1Image(blob()[1], grid if isinstance(grid, np.ndarray) else None)
    picture.header.set_xyzt_units(unit)
    if isinstance(grid, tuple):
        picture.header.set_zooms(grid)
        picture.header["qform_code"] = picture.header["sform_code"] = 0
    nibabel.save(picture, tmp_path / "p_flair.nii.gz")
    scan = find_scans([tmp_path])[0].load()
    assert scan.spacing_known is known
    assert note in "; ".join(scan.warnings)


@pytest.mark.parametrize(
    ("qform", "note"),
    [
        (np.diag([-1, 1, 1, 1]) @ LPS, "by the header's sform, which is taken, but"),
        (np.diag([1, 1, 1.3, 1]) @ LPS, ""),  # as registration leaves it
        (None, ""),
    ],
)
def test_a_header_of_two_orientations_is_warned_of(tmp_path: Path, qform: np.ndarray | None, note: str) -> None:
    """Of two that mirror each other one side was taken for left, in silence."""
    picture = nibabel.Nifti1Image(blob()[1], LPS)
    picture.set_sform(LPS, code="scanner")
    picture.set_qform(qform, code="scanner" if qform is not None else "unknown")
    nibabel.save(picture, tmp_path / "p_flair.nii.gz")
    scan = find_scans([tmp_path])[0].load()
    assert np.allclose(scan.affine, LPS)
    told = [warning for warning in scan.warnings if "sform" in warning]
    assert told == ([f"axes are LPS {note} RPS by its qform"] if note else [])


def test_masks_in_a_folder_of_masks_are_no_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They were segmented as FLAIR, and the scans called after their folder, as each name was there twice."""
    for path in ("images/p1.nii.gz", "masks/p1.nii.gz", "Segmentations/new/p1.nii.gz", "tumour/p2.nii.gz"):
        save(tmp_path / "in" / path, blob()[1])
    assert [source.name for source in find_scans([tmp_path / "in"])] == ["p1", "p2"]  # with tumours, not of them
    assert "left out: 2 NIfTI files" in caplog.text
    # Scans that the user names, and those that say what they are, lie there for another reason.
    assert [source.name for source in find_scans([tmp_path / "in" / "masks"])] == ["p1"]
    save(tmp_path / "other" / "seg" / "p3_flair.nii.gz", blob()[1])
    assert [source.name for source in find_scans([tmp_path / "other"])] == ["p3"]


def test_a_folder_without_scans_but_masks_says_so(tmp_path: Path) -> None:
    save(tmp_path / "masks" / "p1.nii.gz", blob()[1])
    with pytest.raises(LggError, match=r"p1\.nii\.gz is a mask by its name"):
        find_scans([tmp_path])
