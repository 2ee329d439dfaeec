"""A data set of scans and corrected masks: what a network is trained on lies as it will be shown scans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from nibabel.affines import apply_affine
from scans import LPS, affine, blob, save, segmenter
from typer.testing import CliRunner

from benchmarks.dicom_series import synthesise_series
from lgg_monai.cli import app
from lgg_monai.data.integrity import inspect_dataset
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.dicom.identity import pseudonym
from lgg_monai.errors import LggError
from lgg_monai.prediction.collect import collect, names_by_person
from lgg_monai.prediction.inputs import find_scans
from lgg_monai.prediction.run import predict
from lgg_monai.prediction.steps import read

OBLIQUE = affine((0.6, 0.05, 0), (-0.05, 0.6, 0.1), (0, -0.1, 5.0))
"""Pixels that are resampled, and X to the right, Y to the front, where the network has left and back."""


def scan(folder: Path, name: str, grid: np.ndarray = LPS, mask: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    image = blob(seed=seed)
    for channel, sequence in enumerate(("t1", "flair", "t1ce")):
        save(folder / f"{name}_{sequence}.nii.gz", image[channel], grid)
    if mask is not None:
        save(folder / f"{name}_seg.nii.gz", mask.astype(np.uint8), grid)
    return image


def spot(image: np.ndarray) -> np.ndarray:
    return image[1] > 100


def centre(mask: np.ndarray, grid: np.ndarray) -> np.ndarray:
    return apply_affine(grid, np.argwhere(mask).mean(axis=0))


@pytest.mark.parametrize("grid", [LPS, OBLIQUE], ids=["as the network's", "oblique, small pixels"])
def test_images_lie_as_networks_are_shown_scans_and_masks_with_them(tmp_path: Path, grid: np.ndarray) -> None:
    image = blob()
    scan(tmp_path / "scans", "A", grid, spot(image))
    sources = find_scans([tmp_path / "scans"])
    assert collect(sources, tmp_path / "data").patients == ["A"]
    (patient,) = find_patients(tmp_path / "data")
    collected, label = read_patient(patient)
    prepared, _ = read(sources[0], segmenter())
    shown = segmenter().preprocessing({"image": collected.astype(np.float32)})["image"]
    assert np.allclose(shown.float(), prepared.image.float(), atol=2e-3)
    assert label is not None
    place = nibabel.load(patient.image).affine
    assert np.abs(centre(label[0] > 0, place) - centre(spot(image), grid)).max() < 0.4
    volume = [mask.sum() * abs(np.linalg.det(at[:3, :3])) for mask, at in ((label[0] > 0, place), (spot(image), grid))]
    assert volume[0] == pytest.approx(volume[1], rel=0.03)


def test_corrected_masks_of_a_prediction_are_taken_and_untouched_ones_are_not(tmp_path: Path) -> None:
    for number, name in enumerate(("A", "B", "C")):
        scan(tmp_path / "scans", name, seed=number)
    sources = find_scans([tmp_path / "scans"])
    masks = tmp_path / "masks"
    predict(sources, segmenter(), masks, report=False)
    corrected = nibabel.load(masks / "B/mask.nii.gz")
    array = np.asarray(corrected.dataobj) * 0
    array[10:20, 10:20, 4:6] = 1
    nibabel.save(nibabel.Nifti1Image(array, corrected.affine), masks / "B/mask.nii.gz")
    done = collect(sources, tmp_path / "data", masks)
    assert done.patients == ["B"]
    assert set(done.left) == {"A", "C"}
    assert "A/mask.nii.gz is as predict wrote it" in done.left["A"]
    _, label = read_patient(find_patients(tmp_path / "data")[0])
    assert label is not None
    assert label.sum() == array.sum()
    assert collect(sources, tmp_path / "all", masks, accept_unchanged=True).patients == ["A", "B", "C"]


def test_a_mask_that_was_opened_and_saved_is_as_predicted(tmp_path: Path) -> None:
    scan(tmp_path / "scans", "A")
    sources, masks = find_scans([tmp_path / "scans"]), tmp_path / "masks"
    predict(sources, segmenter(), masks, report=False)
    drawn = nibabel.load(masks / "A/mask.nii.gz")
    save(masks / "A/mask.nii.gz", np.asarray(drawn.dataobj).astype(np.int16), drawn.affine)
    with pytest.raises(LggError, match=r"A/mask\.nii\.gz is as predict wrote it"):
        collect(sources, tmp_path / "data", masks)
    assert collect(sources, tmp_path / "all", masks, accept_unchanged=True).patients == ["A"]


def test_another_patients_mask_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    scan(tmp_path / "here", "A", seed=1)
    scan(tmp_path / "there", "A", seed=2)
    here, masks = find_scans([tmp_path / "here"]), tmp_path / "masks"
    predict(here, segmenter(), masks, report=False)
    corrected = np.zeros((48, 40, 12), np.uint8)
    corrected[10:20, 10:20, 4:6] = 1
    save(masks / "A/mask.nii.gz", corrected)
    with pytest.raises(LggError, match=r"masks/A holds the results of another scan of this name: if the mask is this"):
        collect(find_scans([tmp_path / "there"]), tmp_path / "data", masks)
    (tmp_path / "here").rename(tmp_path / "moved")  # the same files elsewhere
    assert collect(find_scans([tmp_path / "moved"]), tmp_path / "own", masks).patients == ["A"]


def test_slices_and_masks_of_other_numbers_are_not_paired(phantom: Path, tmp_path: Path) -> None:
    patient = find_patients(phantom)[0].image
    folder = tmp_path / "scans" / patient.name
    shutil.copytree(patient, folder)
    (folder / f"{patient.name}_3.tif").unlink()
    (folder / f"{patient.name}_5_mask.tif").unlink()
    with pytest.raises(LggError, match=r"the masks in .* are not of the same numbers as the slices"):
        collect(find_scans([tmp_path / "scans"]), tmp_path / "data")


def test_what_slicer_saved_beside_an_untouched_mask_is_taken(tmp_path: Path) -> None:
    for number, name in enumerate(("A", "B")):
        scan(tmp_path / "scans", name, seed=number)
    sources = find_scans([tmp_path / "scans"])
    masks = tmp_path / "masks"
    predict(sources, segmenter(), masks, report=False)
    array = np.zeros((48, 40, 12), np.uint8)
    array[10:20, 10:20, 4:6] = 1
    lps = np.diag([-1, -1, 1, 1]) @ LPS
    header = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
    nrrd.write(str(masks / "A/Segmentation.seg.nrrd"), array, header)
    done = collect(sources, tmp_path / "data", masks)
    assert (done.patients, set(done.left)) == (["A"], {"B"})
    _, label = read_patient(find_patients(tmp_path / "data")[0])
    assert label is not None
    assert label.sum() == array.sum()
    save(masks / "A.nii.gz", array)
    done = collect(sources, tmp_path / "twice", masks, accept_unchanged=True)
    assert done.patients == ["B"]
    assert done.failed["A"].endswith("A.nii.gz are both masks of it: keep one")


@pytest.mark.parametrize("name", ["seg.dcm", "export.dcm"])
def test_a_seg_corrected_in_the_output_of_predict_is_taken(tmp_path: Path, name: str) -> None:
    pytest.importorskip("highdicom")
    from lgg_monai.dicom.seg import write_seg

    volume = (blob()[1] * 10).astype(np.uint16)
    for study in ("1.2.1", "1.2.2"):
        synthesise_series(tmp_path / "scans" / study, volume, LPS, "AX FLAIR", StudyInstanceUID=study)
    sources, masks = find_scans([tmp_path / "scans"]), tmp_path / "masks"
    predict(sources, segmenter(), masks, report=False)
    corrected = np.zeros(volume.shape, bool)
    corrected[10:20, 10:20, 4:6] = True
    write_seg(masks / sources[0].name / name, corrected, sources[0].load())
    done = collect(sources, tmp_path / "data", masks)
    assert (done.patients, set(done.left)) == ([sources[0].name], {sources[1].name})
    _, label = read_patient(find_patients(tmp_path / "data")[0])
    assert label is not None
    assert label.sum() == corrected.sum()
    save(masks / sources[0].name / "mask.nii.gz", corrected.astype(np.uint8))
    done = collect(sources, tmp_path / "twice", masks, accept_unchanged=True)
    assert done.patients == [sources[1].name]
    assert done.failed[sources[0].name].endswith("are both masks of it: keep one")


def test_of_what_was_saved_beside_an_untouched_mask_none_is_passed_by(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        image = scan(tmp_path / "scans", name)
    sources = find_scans([tmp_path / "scans"])
    masks = tmp_path / "masks"
    predict(sources, segmenter(), masks)
    corrected = spot(image).astype(np.uint8)
    corrected[20:30, 20:30, 4:6] = 1
    save(masks / "A/Segmentation.nii.gz", corrected)
    save(masks / "B/Untitled.nii.gz", corrected)
    done = collect(sources, tmp_path / "data", masks)
    assert done.patients == ["A"]
    _, label = read_patient(find_patients(tmp_path / "data")[0])
    assert label is not None
    assert label.sum() == corrected.sum()
    note = "Untitled.nii.gz beside it is no mask by its name: if it is, save it over mask.nii.gz"
    assert done.left["B"].endswith(f"--accept-unchanged; {note}")
    assert done.left["C"].endswith("--accept-unchanged")
    done = collect(sources, tmp_path / "agreed", masks, accept_unchanged=True)
    assert done.patients == ["A", "B", "C"]
    assert done.warnings == {"B": [note]}


def test_masks_may_be_called_as_their_scans_are(tmp_path: Path) -> None:
    image = scan(tmp_path / "scans", "A")
    scan(tmp_path / "scans", "B")
    save(tmp_path / "outlined" / "A.nii.gz", spot(image).astype(np.uint8))
    done = collect(find_scans([tmp_path / "scans"]), tmp_path / "data", tmp_path / "outlined")
    assert done.patients == ["A"]
    forms = "B/mask.nii.gz, B_seg.nii.gz, or B.nii.gz, .seg.nrrd or .dcm"
    assert done.left == {"B": f"no mask in {tmp_path / 'outlined'} (as {forms})"}


@pytest.mark.parametrize(
    "path",
    [
        "sub-1_ses-2_seg.nii.gz",
        "manual/sub-1/ses-2/anat/sub-1_ses-2_space-FLAIR_label-lesion_mask.nii.gz",
        "sub-1_ses-2_desc-tumor_dseg.nii.gz",
    ],
)
def test_masks_are_known_by_their_names_at_any_depth(tmp_path: Path, path: str) -> None:
    image = scan(tmp_path / "scans", "sub-1_ses-2")
    scan(tmp_path / "scans", "sub-1_ses-1")
    save(tmp_path / "masks" / path, spot(image).astype(np.uint8))
    for other in ("desc-brain_mask", "desc-ribbon_mask", "dseg", "desc-aseg_dseg"):  # of tissue
        save(tmp_path / "masks" / f"sub-1_ses-2_{other}.nii.gz", np.ones_like(spot(image), np.uint8))
    sources = find_scans([tmp_path / "scans"])
    done = collect(sources, tmp_path / "data", tmp_path / "masks")
    assert done.patients == ["sub-1_ses-2"]
    assert set(done.left) == {"sub-1_ses-1"}
    shutil.copy(tmp_path / "masks" / path, tmp_path / "masks" / "sub-1_ses-2.nii.gz")
    with pytest.raises(LggError, match=r"sub-1_ses-2: .* and .* are both masks of it: keep one"):
        collect(sources, tmp_path / "again", tmp_path / "masks")


def test_what_is_collected_is_a_sound_data_set(phantom: Path, tmp_path: Path) -> None:
    """Of all kinds of scans together: TIFF slices, NIfTI of one sequence."""
    image = blob((64, 64, 12))
    save(tmp_path / "scans" / "N_flair.nii.gz", image[1])
    save(tmp_path / "scans" / "N_seg.nii.gz", (image[1] > 100).astype(np.uint8) * 4)  # any label counts
    tiff = [patient.image for patient in find_patients(phantom)[:2]]
    result = CliRunner().invoke(
        app, ["collect", str(tmp_path / "scans"), *map(str, tiff), "--output", str(tmp_path / "data")]
    )
    assert result.exit_code == 0, result.output
    assert "3 collected: " in result.output
    assert "note: N: missing sequences, replaced by FLAIR: pre post" in result.output
    report = inspect_dataset(tmp_path / "data")
    assert report.all_problems + report.without_tumour == []
    assert (tmp_path / "data/PHANTOM.txt").is_file()  # two of them are no patients
    names = [
        Path(entry["image"]).name for entry in json.loads((tmp_path / "data/dataset.json").read_text())["training"]
    ]
    assert names == ["N.nii.gz", *(f"{path.name}.nii.gz" for path in tiff)]
    for path in tiff:
        before, after = (
            read_patient(p) for p in (_patient(phantom, path.name), _patient(tmp_path / "data", path.name))
        )
        assert np.array_equal(before[0], after[0])
        assert before[1] is not None
        assert after[1] is not None
        assert np.array_equal(before[1] > 0, after[1] > 0)


def _patient(folder: Path, name: str) -> Patient:
    return next(patient for patient in find_patients(folder) if patient.name == name)


def test_a_bad_scan_or_mask_is_told_of_and_stops_no_other(tmp_path: Path) -> None:
    image = blob()
    scan(tmp_path / "scans", "good", mask=spot(image))
    scan(tmp_path / "scans", "empty", mask=np.zeros(image.shape[1:]))
    scan(tmp_path / "scans", "shifted")
    save(tmp_path / "scans" / "shifted_seg.nii.gz", spot(image).astype(np.uint8), OBLIQUE)
    (tmp_path / "scans" / "cut_flair.nii.gz").write_bytes((tmp_path / "scans" / "good_flair.nii.gz").read_bytes()[:500])
    save(tmp_path / "scans" / "cut_seg.nii.gz", spot(image).astype(np.uint8))
    result = CliRunner().invoke(app, ["collect", str(tmp_path / "scans"), "--output", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "1 collected, 1 left out, 2 failed: " in result.output
    assert "left out: empty: the mask " in result.output
    assert "failed: shifted: the reference mask " in result.output
    assert "lies on another grid than the scan: resample it" in result.output
    assert "failed: cut: " in result.output
    assert [patient.name for patient in find_patients(tmp_path / "data")] == ["good"]


def test_an_interrupted_collection_leaves_nothing(tmp_path: Path) -> None:
    for name in ("A", "B"):
        scan(tmp_path / "scans", name, mask=spot(blob()))
    sources = find_scans([tmp_path / "scans"])

    def interrupt(*_: object) -> None:
        assert list((tmp_path / "data").glob("imagesTr/*.nii.gz"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(sources, tmp_path / "data", progress=interrupt)
    assert not list((tmp_path / "data").iterdir())
    assert collect(sources, tmp_path / "data").patients == ["A", "B"]


def test_what_cannot_be_collected_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    image = scan(tmp_path / "scans", "A")
    sources = find_scans([tmp_path / "scans"])
    with pytest.raises(LggError, match=r"^none of 1 scans can be trained on, such as A: no mask beside it$"):
        collect(sources, tmp_path / "none")
    with pytest.raises(LggError, match=r"^no folder .*absent: give that of the masks"):
        collect(sources, tmp_path / "data", tmp_path / "absent")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(LggError, match="is not empty: choose another"):
        collect(sources, tmp_path / "full", tmp_path / "scans")
    save(tmp_path / "scans/corrected/A.nii.gz", spot(image).astype(np.uint8))
    with pytest.raises(
        LggError, match=r"^scans lie in the --masks .*, such as .*A_flair\.nii\.gz: leave --masks out where"
    ):
        collect(sources, tmp_path / "data", tmp_path / "scans")
    assert not (tmp_path / "data").exists()


def test_masks_within_the_scans_are_no_scans_and_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans = tmp_path / "scans"
    mask = spot(scan(scans, "A")).astype(np.uint8)
    scan(scans, "B")
    masks = scans / "corrected"
    save(masks / "A.nii.gz", mask)  # alone in a folder it would be a FLAIR
    save(masks / "B_seg.nii.gz", mask)
    for inputs in ([scans], [*scans.iterdir()]):
        sources = find_scans(inputs, masks=masks)
        assert [source.name for source in sources] == ["A", "B"]
        assert not caplog.text
    assert collect(sources, tmp_path / "data", masks).patients == ["A", "B"]
    for inputs in ([masks], [scans]):
        with pytest.raises(LggError, match=r"^scans lie in the --masks"):
            collect(find_scans(inputs, masks=inputs[0]), tmp_path / "none", inputs[0])
    (tmp_path / "above").mkdir()
    masks.rename(tmp_path / "above" / "masks")
    with pytest.raises(LggError, match=r"^no scan in .*above outside of the --masks .*masks \(files: none\)"):
        find_scans([tmp_path / "above"], masks=tmp_path / "above" / "masks")


def test_a_set_that_was_collected_within_the_scans_is_none_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = blob()
    scan(tmp_path / "scans", "A", mask=spot(image))
    own = tmp_path / "scans" / "own"
    assert collect(find_scans([tmp_path / "scans"], leave_out=own), own).patients == ["A"]
    caplog.clear()
    (source,) = find_scans([tmp_path / "scans"])
    assert (source.name, source.path.name) == ("A", "A_flair.nii.gz")
    assert caplog.messages == [f"left out: {own}, which collect wrote of scans: give it as an input too if it is meant"]
    caplog.clear()
    assert [source.name for source in find_scans([own])] == ["A"]
    assert len(find_scans([tmp_path / "scans", own])) == 2
    shutil.copytree(own, tmp_path / "alone" / "own")
    assert [source.name for source in find_scans([tmp_path / "alone"])] == [
        "A"
    ]  # there is nothing that it is a copy of
    assert caplog.messages == []


def test_of_a_bids_set_raw_scans_are_collected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bids = tmp_path / "bids"
    for name in ("sub-1", "sub-2"):
        mask = spot(scan(bids / name / "anat", name)).astype(np.uint8)
        scan(bids / "derivatives" / "prepared" / name / "anat", name)
        save(bids / "derivatives" / "manual" / name / "anat" / f"{name}_label-lesion_mask.nii.gz", mask)
    for masks, told in ((bids / "derivatives", False), (bids / "derivatives/manual", True)):
        sources = find_scans([bids], masks=masks)
        assert [source.path.parent.parent.parent for source in sources] == [bids, bids]
        assert ("derivatives, computed of the scans beside it" in caplog.text) is told
        assert collect(sources, tmp_path / f"own{told}", masks).patients == ["sub-1", "sub-2"]
    caplog.clear()
    assert len(find_scans([bids, bids / "derivatives"])) == 4
    assert "computed of" not in caplog.text


def test_studies_of_one_person_are_one_person_in_the_set(tmp_path: Path) -> None:
    volume = (blob()[1] * 10).astype(np.uint16)
    for number, (patient, study) in enumerate([("M1", "1.2.1"), ("M1", "1.2.2"), ("M2", "1.2.3"), ("", "1.2.4")]):
        tags = {"StudyInstanceUID": study, "PatientID": patient, "PatientName": ""}
        synthesise_series(tmp_path / "scans" / str(number), volume, LPS, "AX FLAIR", **tags)
    sources = find_scans([tmp_path / "scans"])
    for source in sources:
        save(tmp_path / "masks" / f"{source.name}.nii.gz", spot(blob()).astype(np.uint8), LPS)
    done = collect(sources, tmp_path / "data", tmp_path / "masks")
    first, second = sorted(pseudonym(study).removeprefix("study-") for study in ("1.2.1", "1.2.2"))
    joined = {f"sub-{first}_ses-{first}", f"sub-{first}_ses-{second}"}
    assert set(done.patients) == joined | {pseudonym("1.2.3"), pseudonym("1.2.4")}
    people = [patient.person for patient in find_patients(tmp_path / "data")]
    expected = [f"sub-{first}"] * 2 + [pseudonym("1.2.3"), pseudonym("1.2.4")]
    assert sorted(people) == sorted(name.upper() for name in expected)
    assert {name: notes[0].split()[1] for name, notes in done.warnings.items() if notes[0].startswith("called")} == {
        f"study-{word}": f"sub-{first}_ses-{word}" for word in (first, second)
    }
    written = "".join(path.read_text() for path in (tmp_path / "data").glob("*.json"))
    assert not any(source.person and source.person in written for source in sources)


def test_scans_that_share_one_number_for_all_stay_apart(tmp_path: Path) -> None:
    volume = (blob()[1] * 10).astype(np.uint16)
    for number in range(3):
        tags = {"StudyInstanceUID": f"1.2.{number}", "PatientID": "ANON"}
        synthesise_series(tmp_path / "scans" / str(number), volume, LPS, "AX FLAIR", **tags)
    sources = find_scans([tmp_path / "scans"])
    assert len({source.person for source in sources}) == 1
    assert names_by_person(sources) == {source.name: source.name for source in sources}
