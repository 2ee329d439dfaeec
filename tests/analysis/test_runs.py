"""Which run folders can be compared, and what is said of those that cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import edit_json, write_run

from lgg_monai.analysis.compared import load_runs
from lgg_monai.analysis.comparison import collect
from lgg_monai.analysis.runs import distinct_labels, require_scored_apart
from lgg_monai.analysis.sources import expand_folds, require_apart
from lgg_monai.errors import LggError

WITHOUT_TEST = "it has no test patients, as after a training on every patient (--fold all)"


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    return [write_run(tmp_path / "unet"), write_run(tmp_path / "pspnet", network="lgg_monai.networks.PSPNet")]


def refusal(folders: list[Path]) -> str:
    with pytest.raises(LggError) as caught:
        load_runs(folders)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_runs_keep_the_order_given_and_know_their_network(pair: list[Path]) -> None:
    runs, differences = load_runs(pair)
    assert [run.label for run in runs] == ["unet", "pspnet"]
    assert [run.network for run in runs] == ["UNet", "PSPNet"]
    assert differences == []
    assert all(not run.unscored and len(run.patients) == 8 for run in runs)


def test_one_run_is_refused(pair: list[Path]) -> None:
    assert "two run folders" in refusal(pair[:1])


def test_the_same_run_twice_is_refused_however_it_is_written(pair: list[Path]) -> None:
    assert "given twice" in refusal([pair[0], pair[0].parent / "pspnet" / ".." / "unet"])


def test_two_scans_of_one_person_are_not_tested_in_two_runs() -> None:
    """A rule or temperature that is chosen on the other runs' patients would be chosen on this person's scans too."""
    apart = [("a", ["sub-01_ses-1", "sub-01_ses-2"]), ("b", ["sub-02_ses-1"])]
    require_apart(apart)
    with pytest.raises(LggError, match=r"sub-01_ses-1, tested in a, and sub-01_ses-3, tested in c, are one person"):
        require_apart([*apart[:1], ("c", ["sub-01_ses-3"])])
    with pytest.raises(LggError, match="patient sub-02_ses-1 is tested in b and c: give runs"):
        require_apart([*apart, ("c", ["sub-02_ses-1"])])


def test_a_folder_that_is_no_run_is_refused(pair: list[Path], tmp_path: Path) -> None:
    assert "no run.json" in refusal([pair[0], tmp_path / "nowhere"])


def test_where_scored_runs_are_needed_no_bundle_is_asked_for(tmp_path: Path) -> None:
    asked = "give the folder of a run that was trained and scored, such as runs/unet, or of a cross-validation"
    bundle, shipped = tmp_path / "unet.yaml", tmp_path / "shipped"
    bundle.write_text("bundle_root: bundles/unet")
    (shipped / "evaluation").mkdir(parents=True)
    for source, reason in (
        (bundle, f"{bundle} is no run folder, so says of no patients that they were tested"),
        (shipped, f"no run.json in {shipped} or its folds, only scores of weights from elsewhere"),
        (tmp_path, f"no run.json in {tmp_path} or its folds"),
        (tmp_path / "none", f"no such run folder: {tmp_path / 'none'}"),
    ):
        with pytest.raises(LggError) as caught:
            require_scored_apart([source])
        assert str(caught.value) == f"{reason}: {asked}"


def test_a_run_without_history_is_refused(pair: list[Path]) -> None:
    (pair[1] / "history.csv").unlink()
    assert "no history.csv with an epoch" in refusal(pair)


def test_an_unfinished_run_is_refused_and_told_how_to_go_on(pair: list[Path]) -> None:
    edit_json(pair[1] / "run.json", finished=False, ended=None)
    message = refusal(pair)
    assert "unfinished (epoch 4)" in message
    assert "--resume True" in message


def test_a_run_that_early_stopping_ended_is_accepted(pair: list[Path]) -> None:
    config = json.loads((pair[1] / "run.json").read_text())["config"]
    edit_json(pair[1] / "run.json", finished=False, config=config | {"early_stop": 5})
    assert len(load_runs(pair)[0]) == 2


def test_damaged_files_are_refused(pair: list[Path]) -> None:
    summary = pair[1] / "evaluation" / "summary.json"
    summary.write_text("[]")
    assert f"the evaluation summary {summary} is not an object" in refusal(pair)
    for content, message in (
        ('{"test": [{"name": 1}]}', "does not name its test patients"),
        ('{"test": [], "training": []}', "lacks validation"),
        ("[]", "is not an object"),
    ):
        (pair[1] / "datalist.json").write_text(content)
        assert f"the datalist {pair[1] / 'datalist.json'} {message}" in refusal(pair)
    (pair[1] / "run.json").write_text("[]")
    assert "not an object" in refusal(pair)
    (pair[1] / "run.json").write_text("{")
    assert "not valid JSON" in refusal(pair)


@pytest.mark.parametrize(("change", "what"), [("fingerprint", "data"), ("split", "split"), ("seed", "seed")])
def test_runs_of_other_data_split_or_seed_need_permission(tmp_path: Path, change: str, what: str) -> None:
    other = {"fingerprint": {"fingerprint": "other"}, "split": {"swap": True}, "seed": {"seed": 1}}[change]
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", **other)]  # type: ignore[arg-type]
    assert f"differ in {what}:" in refusal(folders)
    runs, differences = load_runs(folders, allow_different_data=True)
    assert differences == [what]
    assert len(runs) == 2


def test_scores_are_not_used_where_they_are_not_those_of_the_test_patients(pair: list[Path]) -> None:
    path = pair[1] / "evaluation" / "patients.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert "7 of its 8 test patients" in load_runs(pair)[0][1].unscored
    path.write_text("\n".join([lines[0], *(line.replace(",test,", ",validation,") for line in lines[1:])]) + "\n")
    assert "0 of its 8 test patients" in load_runs(pair)[0][1].unscored


def test_a_run_without_test_patients_is_not_sent_to_an_evaluation_that_refuses_it(pair: list[Path]) -> None:
    edit_json(pair[1] / "datalist.json", test=[])
    content = collect(*load_runs(pair, allow_different_data=True), measured=False)
    assert content["quality"]["reasons"] == [f"pspnet: {WITHOUT_TEST}"]
    assert content["how_to_evaluate"] == []
    with pytest.raises(LggError) as caught:
        require_scored_apart([pair[1]])
    assert str(caught.value) == f"{pair[1]}: {WITHOUT_TEST}: give runs that test on some"
    (pair[1] / "evaluation" / "patients.csv").unlink()
    assert load_runs(pair, allow_different_data=True)[0][1].unscored == WITHOUT_TEST


def test_scores_that_lack_a_column_or_a_dice_are_one_line(pair: list[Path]) -> None:
    path = pair[1] / "evaluation" / "patients.csv"
    whole = path.read_text()
    name = whole.splitlines()[1].split(",")[0]
    path.write_text(whole.replace("false_positive_slice_count", "something_else", 1))
    assert (
        refusal(pair) == f"the scores {path} lack false_positive_slice_count of patient {name}: evaluate the run again"
    )
    path.write_text(whole.replace("hd95_px", "something_else", 1))
    assert f"lack hd95_px of patient {name}" in refusal(pair)
    header, first, *rest = (line.split(",") for line in whole.splitlines())
    first[header.index("volume_dice")] = ""
    path.write_text("\n".join(map(",".join, [header, first, *rest])) + "\n")
    assert f"lack volume_dice of patient {name}" in refusal(pair)
    first = [*first[:4]]  # cut short
    path.write_text("\n".join(map(",".join, [header, first])) + "\n")
    assert f"cannot read the scores {path}" in refusal(pair) or f"of patient {name}" in refusal(pair)


def test_scores_older_than_the_training_are_not_used(pair: list[Path]) -> None:
    edit_json(pair[1] / "evaluation" / "summary.json", evaluated="2025-01-01T00:00:00+00:00")
    assert "older" in load_runs(pair)[0][1].unscored


@pytest.mark.parametrize("subset", ["test", "all"])
def test_scores_on_other_data_are_not_used(pair: list[Path], subset: str) -> None:
    """Of `--subset all` they were: of labels, say, that were corrected since the training."""
    edit_json(pair[1] / "evaluation" / "summary.json", subset=subset)
    assert load_runs(pair)[0][1].unscored == ""
    edit_json(pair[1] / "evaluation" / "summary.json", fingerprint="other")
    assert load_runs(pair)[0][1].unscored == "it was evaluated on other data than it was trained on"


def test_labels_take_as_many_parents_as_tell_them_apart() -> None:
    assert distinct_labels([Path("/r/unet"), Path("/r/pspnet")]) == ["unet", "pspnet"]
    assert distinct_labels([Path("/a/unet"), Path("/b/unet")]) == ["a/unet", "b/unet"]


def test_folds_come_in_their_order_and_missing_ones_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for fold in (10, 2, 0):
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / "run.json").write_text("{}")
    (tmp_path / "fold_1").mkdir()  # begun, and no run yet
    (tmp_path / "fold_0-until-20260101-000000").mkdir()
    (tmp_path / "fold_0-until-20260101-000000" / "run.json").write_text("{}")
    folds = [tmp_path / f"fold_{fold}" for fold in (0, 2, 10)]
    assert expand_folds(tmp_path) == folds
    assert not caplog.records  # nothing says how many there should be
    (tmp_path / "cross_validation.json").write_text('{"folds": 12}')
    assert expand_folds(tmp_path) == folds
    assert "fold 1, 3, 4, 5, 6, 7, 8, 9, 11 of 12 of the cross-validation" in caplog.text
    assert "left out" in caplog.text
    (tmp_path / "cross_validation.json").write_text('{"folds": 5}')
    with pytest.raises(LggError, match=r"fold_10 is none of the 5 folds that .*cross_validation\.json tells of"):
        expand_folds(tmp_path)
