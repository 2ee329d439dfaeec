"""A run's list of patients is complete, explains itself, and is refused before training where anything is wrong."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from lgg_monai.data import datalist as module
from lgg_monai.data.convert import convert
from lgg_monai.data.datalist import (
    default_dataset_dir,
    evaluation_datalist,
    inference_datalist,
    prepare_datalist,
)
from lgg_monai.data.integrity import inspect_dataset
from lgg_monai.data.tiff_stack import read_slice

PARTS = ("training", "validation", "test")
ONE, TWO = "PHANTOM_AA_0001_20000101", "PHANTOM_BB_0002_20000101"


@pytest.fixture
def run(phantom: Path, tmp_path: Path) -> Path:
    """A run folder that holds the list of its patients."""
    prepare_datalist(str(phantom), str(tmp_path / "run"))
    return tmp_path / "run"


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Call a function that must end the program, and return the one line it ends with."""
    with pytest.raises(SystemExit) as caught:
        function(*map(str, args), **kwargs)
    code = caught.value.code
    assert isinstance(code, str)
    assert code.startswith("lgg-monai: error: ")
    assert "\n" not in code
    return code.removeprefix("lgg-monai: error: ")


def patients(content: dict[str, Any], part: str) -> list[str]:
    return [entry["patient"] for entry in content[part]]


def write_parts(path: Path, **parts: Any) -> str:
    path.write_text(json.dumps({part: [{"patient": name} for name in names] for part, names in parts.items()}))
    return str(path)


def without_tumour(root: Path, names: list[str]) -> None:
    for name in names:
        for path in root.glob(f"{name}/*_mask.tif"):
            Image.fromarray(np.zeros_like(read_slice(path))).save(path)


def test_list_is_written_to_the_run_folder(phantom: Path, tmp_path: Path) -> None:
    content = prepare_datalist(str(phantom), str(tmp_path / "run"), fold=2, seed=7)
    assert json.loads((tmp_path / "run" / "datalist.json").read_text()) == content
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["datalist.json"]
    report = inspect_dataset(phantom)
    assert content["fingerprint"] == report.fingerprint
    assert content["phantom"] is True
    assert (content["folds"], content["fold"], content["seed"]) == (5, 2, 7)
    assert sorted(name for part in PARTS for name in patients(content, part)) == sorted(
        path.name for path in phantom.glob("P*_*")
    )
    entry = content["training"][0]
    (one,) = (one for one in report.patients if one.patient.name == entry["patient"])
    assert entry == {
        "patient": one.patient.name,
        "site": one.patient.site,
        "image": str(phantom / one.patient.name),
        "label": str(phantom / one.patient.name),
        "slices": one.slices,
        "tumour_slices": one.tumour_slices,
        "tumour_voxels": one.tumour_voxels,
        "copied_sequences": list(one.copied),
        "fingerprint": one.fingerprint,
        "image_fingerprint": one.image_fingerprint,
    }


def test_given_list_is_used_as_it_is(phantom: Path, run: Path, tmp_path: Path) -> None:
    first = json.loads((run / "datalist.json").read_text())
    names = [path.name for path in sorted(phantom.glob("PHANTOM_*"))]
    path = write_parts(tmp_path / "mine.json", training=names[5:9], validation=names[:2], test=[])
    content = prepare_datalist(str(phantom), str(tmp_path / "other"), datalist=path)
    assert [patients(content, part) for part in PARTS] == [names[5:9], names[:2], []]
    assert content["fold"] is content["folds"] is content["seed"] is None
    again = prepare_datalist(str(phantom), str(tmp_path / "third"), datalist=str(run / "datalist.json"), fold=3)
    assert [again[part] for part in PARTS] == [first[part] for part in PARTS]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such dataset folder" in refusal(prepare_datalist, tmp_path / "nowhere", tmp_path / "run")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "no patients in" in refusal(prepare_datalist, tmp_path / "data", tmp_path / "run")


def test_patient_in_two_places_is_refused(own_phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(own_phantom / ONE, own_phantom / "copy" / ONE)
    message = refusal(prepare_datalist, own_phantom, tmp_path / "run")
    assert message.startswith(f"patient {ONE} lies twice in {own_phantom}")
    assert message.endswith("remove one of them, or rename it where it is another scan")


def test_too_few_patients_are_refused(own_phantom: Path, tmp_path: Path) -> None:
    shutil.rmtree(own_phantom / ONE)
    message = refusal(prepare_datalist, own_phantom, tmp_path / "run")
    assert message == "9 patient(s) are too few for 5 folds: at least 10 are needed, or fewer folds with --folds"
    prepare_datalist(str(own_phantom), str(tmp_path / "run"), folds=4)


@pytest.mark.parametrize("fold", [5, -1, "first"])
def test_unknown_fold_is_refused(phantom: Path, tmp_path: Path, fold: Any) -> None:
    message = refusal(prepare_datalist, phantom, tmp_path / "run", fold=fold)
    assert message == f"unknown fold {fold}: --fold takes 0 to 4, or all to train on every patient"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fold": 5}, "unknown fold 5: --fold takes 0 to 4"),
        ({"fold": True}, "unknown fold True: --fold takes 0 to 4"),
        ({"fold": -1, "split": "sites"}, "unknown fold -1: --fold takes numbers from 0 up"),
        ({"folds": 1}, "cannot split into 1 fold"),
        ({"split": "site"}, "unknown split 'site'"),
        ({"seed": None}, "split_seed is None: give a whole number with --split_seed"),  # would be another at each start
        ({"validation_fraction": 0.6}, "validation_fraction is 0.6"),
        ({"datalist": "nowhere.json"}, "cannot read the datalist nowhere.json"),
    ],
)
def test_what_no_patients_can_be_split_by_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(module, "sound_report", None)
    assert refusal(prepare_datalist, tmp_path, tmp_path / "run", **setting).startswith(message)
    assert not (tmp_path / "run").exists()


def test_unwritable_output_is_refused(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for function in (prepare_datalist, evaluation_datalist):
        message = refusal(function, phantom, tmp_path / "file" / "run")
        assert message.startswith(f"cannot write to the output folder {tmp_path / 'file' / 'run'} (")
        assert message.endswith("choose another with --output_dir")


def test_set_without_tumour_is_refused(own_phantom: Path, tmp_path: Path) -> None:
    without_tumour(own_phantom, ["*"])
    message = refusal(prepare_datalist, own_phantom, tmp_path / "run")
    assert message.startswith(f"no tumour in any mask of the training patients of {own_phantom}")
    assert not (tmp_path / "run" / "datalist.json").exists()


def test_training_patients_without_tumour_are_refused(own_phantom: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in own_phantom.glob("PHANTOM_*"))
    without_tumour(own_phantom, names[:2])
    path = write_parts(tmp_path / "mine.json", training=names[:2], validation=names[2:4], test=names[4:])
    assert "no tumour in any mask" in refusal(prepare_datalist, own_phantom, tmp_path / "run", datalist=path)


def test_validation_patients_without_tumour_are_refused(own_phantom: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in own_phantom.glob("PHANTOM_*"))
    without_tumour(own_phantom, names[:2])
    path = write_parts(tmp_path / "mine.json", training=names[2:], validation=names[:2], test=[])
    message = refusal(prepare_datalist, own_phantom, tmp_path / "run", datalist=path)
    assert message.startswith(f"no tumour in any mask of the validation patients ({names[0]}, {names[1]})")
    # One that shows tumour is enough.
    path = write_parts(tmp_path / "mine.json", training=names[3:], validation=names[1:3], test=names[:1])
    assert prepare_datalist(str(own_phantom), str(tmp_path / "run"), datalist=path)["validation"]


def test_given_patient_in_two_parts_is_refused(phantom: Path, tmp_path: Path) -> None:
    path = write_parts(tmp_path / "mine.json", training=[ONE, TWO], validation=["PHANTOM_CC_0003_20000101"], test=[ONE])
    message = refusal(prepare_datalist, phantom, tmp_path / "run", datalist=path)
    assert message == f"patient {ONE} is listed twice in the split (training and test): list it once"


def test_given_scans_of_one_person_in_two_parts_are_refused(
    own_phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = "PHANTOM_AA_0001_20101010"
    (own_phantom / TWO).rename(own_phantom / second)
    for path in (own_phantom / second).iterdir():
        path.rename(path.with_name(path.name.replace(TWO, second)))
    given = write_parts(tmp_path / "a.json", training=[ONE], validation=["PHANTOM_CC_0003_20000101"], test=[second])
    message = refusal(prepare_datalist, own_phantom, tmp_path / "run", datalist=given)
    assert message.startswith(f"{ONE} (training) and {second} (test) are scans of one person by their names: keep them")
    given = write_parts(tmp_path / "b.json", training=[ONE, second], validation=[], test=["PHANTOM_CC_0003_20000101"])
    with caplog.at_level(logging.INFO):
        prepare_datalist(str(own_phantom), str(tmp_path / "run"), datalist=given)
    assert "PHANTOM: 10 patients (scans of 9 people by their names): 2 training" in caplog.text


def test_given_unknown_patient_is_refused(phantom: Path, tmp_path: Path) -> None:
    path = write_parts(tmp_path / "mine.json", training=[ONE], validation=[TWO], test=["TCGA_XX_1", "TCGA_XX_2"])
    message = refusal(prepare_datalist, phantom, tmp_path / "run", datalist=path)
    assert message.startswith(f"patient TCGA_XX_1 of the datalist is not in {phantom} (2 missing in all): give")


def test_given_names_are_known_however_their_accents_are_spelt(own_phantom: Path, tmp_path: Path) -> None:
    (own_phantom / ONE).rename(own_phantom / "M\u00fcller")
    path = write_parts(tmp_path / "mine.json", training=["Mu\u0308ller"], validation=[], test=[TWO])
    content = prepare_datalist(str(own_phantom), str(tmp_path / "run"), datalist=path)
    assert patients(content, "training") == ["M\u00fcller"]


def test_given_list_may_leave_validation_empty(phantom: Path, tmp_path: Path) -> None:
    path = write_parts(tmp_path / "mine.json", training=[ONE], validation=[], test=[TWO])
    content = prepare_datalist(str(phantom), str(tmp_path / "run"), datalist=path)
    assert [[entry["patient"] for entry in content[part]] for part in PARTS] == [[ONE], [], [TWO]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"training": [], ', r"is not valid JSON .*: write it anew or give another file"),
        ('{"training": [], "validation": []}', "lacks 'test': it needs training, validation and test lists"),
        ('{"training": [{"name": "A"}], "validation": [], "test": []}', "lacks 'patient': it needs"),
        ('["A", "B"]', "does not name patients by part: it needs"),
        ("null", "does not name patients by part: it needs"),
        ('{"training": ["A"], "validation": [], "test": []}', "does not name patients by part: it needs"),
        ('{"training": 7, "validation": [], "test": []}', "does not name patients by part: it needs"),
        ('{"training": [], "validation": [], "test": []}', "has no training patients: list at least one"),
    ],
)
def test_unusable_list_is_refused(phantom: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    said = refusal(prepare_datalist, phantom, tmp_path / "run", datalist=str(tmp_path / "mine.json"))
    with pytest.raises(AssertionError, match=rf"the datalist .*mine\.json {message}"):
        raise AssertionError(said)


def test_missing_list_is_refused(phantom: Path, tmp_path: Path) -> None:
    said = refusal(prepare_datalist, phantom, tmp_path / "run", datalist=str(tmp_path / "none.json"))
    assert said.startswith(f"cannot read the datalist {tmp_path / 'none.json'} (")


def test_resumed_run_keeps_its_list(phantom: Path, run: Path) -> None:
    before = (run / "datalist.json").read_text()
    prepare_datalist(str(phantom), str(run), resume=True)
    assert (run / "datalist.json").read_text() == before


def test_the_list_of_an_earlier_run_is_left_to_it(phantom: Path, run: Path) -> None:
    before = (run / "datalist.json").read_text()
    assert prepare_datalist(str(phantom), str(run), fold=1)["fold"] == 1
    assert (run / "datalist.json").read_text() == before


def test_resuming_with_other_patients_is_refused(phantom: Path, run: Path) -> None:
    before = (run / "datalist.json").read_text()
    message = refusal(prepare_datalist, phantom, run, fold=1, resume=True)
    assert "began with other training patients: resume with the same --fold, --folds and --datalist" in message
    assert (run / "datalist.json").read_text() == before


def test_resuming_on_other_pixels_is_refused(own_phantom: Path, run: Path) -> None:
    path = own_phantom / ONE / f"{ONE}_3.tif"
    Image.fromarray(read_slice(path) ^ 1).save(path)
    message = refusal(prepare_datalist, own_phantom, run, resume=True)
    assert message.startswith(f"the data, or how they are read, changed since {run} began: give the same --dataset_dir")


@pytest.mark.parametrize(("subset", "part"), [("test", "test"), ("val", "validation"), ("train", "training")])
def test_subset_is_the_part_of_the_run(
    phantom: Path, run: Path, subset: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    listed = json.loads((run / "datalist.json").read_text())
    with caplog.at_level(logging.WARNING):
        content = evaluation_datalist(str(phantom), str(run), subset)
    assert content["subset"] == subset
    assert content["patients"] == [{**entry, "part": part} for entry in listed[part]]
    names = [] if subset == "test" else patients(listed, part)
    assert content["seen"] == names
    assert ("their scores flatter" in caplog.text) is bool(names)


def test_all_patients_are_scored_with_their_parts(phantom: Path, own_phantom: Path, run: Path, tmp_path: Path) -> None:
    listed = json.loads((run / "datalist.json").read_text())
    content = evaluation_datalist(str(phantom), str(run), "all")
    parts = {entry["patient"]: entry["part"] for entry in content["patients"]}
    assert parts == {name: part for part in PARTS for name in patients(listed, part)}
    unseen = evaluation_datalist(str(own_phantom), str(tmp_path / "fresh"), "all")
    assert {entry["part"] for entry in unseen["patients"]} == {"unseen"}
    assert unseen["seen"] == []
    assert unseen["fingerprint"] == content["fingerprint"]


def weights_of(folder: Path, names: list[str], phantom: Path) -> Path:
    """Weights of another training, whose list says that they learnt from these patients."""
    others = [path.name for path in sorted(phantom.glob("P*_*")) if path.name not in names]
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = write_parts(folder.parent / f"{folder.name}.json", training=names, validation=others[:1], test=others[1:])
    prepare_datalist(str(phantom), str(folder), datalist=path)
    (folder / "checkpoints").mkdir()
    return folder / "checkpoints" / "best.pt"


def test_weights_of_another_training_are_judged_by_what_they_saw(
    phantom: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tested = patients(json.loads((run / "datalist.json").read_text()), "test")
    one = weights_of(tmp_path / "one", tested[:1], phantom)
    other = weights_of(tmp_path / "other", tested[1:], phantom)
    for checkpoint, seen in ((str(one), tested[:1]), ([str(one), str(other)], tested)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            content = evaluation_datalist(str(phantom), str(run), "test", checkpoint)
        parts = {entry["patient"]: entry["part"] for entry in content["patients"]}
        assert [name for name, part in parts.items() if part == "training"] == seen
        assert set(seen) <= set(content["seen"])
        assert "their scores flatter" in caplog.text
    # Of several weights in a folder without a run, the same holds.
    fresh = evaluation_datalist(str(phantom), str(tmp_path / "fresh"), "all", [str(one), str(other)])
    assert {entry["part"] for entry in fresh["patients"] if entry["patient"] in tested} == {"training"}


def test_weights_without_a_list_are_warned_of(
    phantom: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        content = evaluation_datalist(str(phantom), str(run), "test", str(tmp_path / "model.pt"))
    assert f"no datalist.json says which patients {tmp_path / 'model.pt'} has seen" in caplog.text
    assert content["seen"] == []


def test_a_known_scan_is_known_under_another_name_with_another_mask(own_phantom: Path, run: Path) -> None:
    trained = patients(json.loads((run / "datalist.json").read_text()), "training")[:2]
    # The same pixels, outlined by somebody else under another name; and a second scan of one person.
    redrawn, later = own_phantom / "Reader_2_0001", own_phantom / f"{trained[1][:-8]}20100101"
    for old, new in zip(trained, (redrawn, later), strict=True):
        (own_phantom / old).rename(new)
        for path in sorted(new.glob("*.tif")):
            path.rename(new / path.name.replace(old, new.name))
    for path in redrawn.glob("*_mask.tif"):
        Image.fromarray(np.roll(read_slice(path), 1, axis=0)).save(path)
    for path in (path for path in later.glob("*.tif") if not path.stem.endswith("_mask")):
        Image.fromarray(read_slice(path) ^ 1).save(path)
    content = evaluation_datalist(str(own_phantom), str(run), "all")
    parts = {entry["patient"]: entry["part"] for entry in content["patients"]}
    assert parts[redrawn.name] == parts[later.name] == "training"


def test_images_that_are_no_scans_are_refused_before_inference(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom, tmp_path / "nifti")
    shutil.rmtree(root / "labelsTr")
    assert len(inference_datalist(str(root))) == 10
    path = root / "imagesTr" / f"{TWO}.nii.gz"
    picture = nibabel.Nifti1Image.from_filename(path)
    voxels = np.asanyarray(picture.dataobj).astype(np.float32)
    voxels[3, 4, 5, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, picture.affine), path)
    assert refusal(inference_datalist, root) == (
        f"{path} holds NaN or infinite values: replace them, such as by 0 in the air; "
        "`lgg-monai collect` and `predict` take NaN for air"
    )


def test_channels_in_another_order_are_refused_before_inference_and_evaluation(phantom: Path, tmp_path: Path) -> None:
    root = convert(phantom, tmp_path / "nifti")
    (root / "dataset.json").write_text(json.dumps({"modality": {"0": "FLAIR", "1": "T1w", "2": "T1gd"}}))
    named = f"{root / 'dataset.json'} names the channels FLAIR, T1w, T1gd, expected pre, FLAIR, post in this order: "
    assert refusal(inference_datalist, root).startswith(named)
    assert refusal(evaluation_datalist, root, tmp_path / "run", "all").startswith(named)


def test_changed_pixels_are_warned_of(own_phantom: Path, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    tested = json.loads((run / "datalist.json").read_text())["test"][0]["patient"]
    path = own_phantom / tested / f"{tested}_3.tif"
    Image.fromarray(read_slice(path) ^ 1).save(path)
    with caplog.at_level(logging.WARNING):
        evaluation_datalist(str(own_phantom), str(run))
    assert f"1 patient(s) hold other pixels than in training, such as {tested}" in caplog.text


def test_a_list_without_fingerprints_can_be_evaluated(phantom: Path, run: Path) -> None:
    content = json.loads((run / "datalist.json").read_text())
    write_parts(run / "datalist.json", **{part: patients(content, part) for part in PARTS})
    found = evaluation_datalist(str(phantom), str(run))
    assert [entry["patient"] for entry in found["patients"]] == patients(content, "test")
    assert {entry["part"] for entry in found["patients"]} == {"test"}


def test_evaluation_of_unusable_input_is_refused(phantom: Path, own_phantom: Path, run: Path, tmp_path: Path) -> None:
    assert "unknown subset 'tests': --subset takes test, val, train or all" in refusal(
        evaluation_datalist, phantom, run, subset="tests"
    )
    assert "train there first, or --subset all" in refusal(evaluation_datalist, phantom, tmp_path / "fresh")
    names = [path.name for path in sorted(phantom.glob("PHANTOM_*"))]
    path = write_parts(tmp_path / "mine.json", training=names[:2], validation=names[2:4], test=[])
    prepare_datalist(str(phantom), str(tmp_path / "other"), datalist=path)
    assert "lists no test patients: choose another --subset" in refusal(
        evaluation_datalist, phantom, tmp_path / "other"
    )
    tested = json.loads((run / "datalist.json").read_text())["test"][0]["patient"]
    shutil.rmtree(own_phantom / tested)
    assert f"patient {tested} of the datalist is not in" in refusal(evaluation_datalist, own_phantom, run)
    (own_phantom / ONE / f"{ONE}_3.tif").write_bytes(b"")
    assert "cannot read" in refusal(evaluation_datalist, own_phantom, run)


@pytest.mark.parametrize("function", [prepare_datalist, evaluation_datalist])
def test_the_folder_of_a_cross_validation_is_no_runs(
    function: Callable[..., Any], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training made it a run, and an evaluation scored the shipped weights into it."""
    monkeypatch.setattr(module, "sound_report", lambda *_: pytest.fail("patients were read"))
    (tmp_path / "cross_validation.json").write_text("{}")
    message = refusal(function, phantom, tmp_path)
    assert message.startswith(f"{tmp_path} is the folder of a cross-validation")
    assert f"--output_dir {tmp_path / 'fold_0'}" in message
    assert [path.name for path in tmp_path.iterdir()] == ["cross_validation.json"]


def test_downloaded_data_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "kaggle_3m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert default_dataset_dir() == str(Path("data/kaggle_3m"))


def test_phantom_stands_in_for_missing_data_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    written = []

    def write_phantom(folder: Path) -> Path:
        written.append(folder)
        return folder

    monkeypatch.setattr(module, "write_phantom", write_phantom)
    with caplog.at_level(logging.WARNING):
        assert default_dataset_dir() == str(Path("data/phantom"))
    assert written == [Path("data/phantom")]
    assert caplog.messages[0].startswith("PHANTOM: ")


def test_of_several_parts_the_one_that_flatters_most_counts() -> None:
    assert module._strongest(["test", "training", "validation"]) == "training"
    assert module._strongest(["test", "validation"]) == "validation"
    assert module._strongest([]) == "unseen"
