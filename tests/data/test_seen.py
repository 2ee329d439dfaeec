"""Weights that a training begins with must not know the patients that judge it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lgg_monai.data.seen import BEFORE, datalist_of, parts_by_identity, require_unseen, seen_before, training_people
from lgg_monai.errors import LggError

PARTS = ("training", "validation", "test")


def datalist(**parts: str) -> dict[str, Any]:
    """A list with one-letter patients, whose pixels have a fingerprint of the same letter in lower case."""
    letters = {part: parts.get(part, "") for part in PARTS}
    return {part: [{"patient": c, "fingerprint": c.lower()} for c in letters[part]] for part in PARTS}


def weights_of(folder: Path, **parts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "datalist.json").write_text(json.dumps(datalist(**parts)))
    return folder / "model.pt"


@pytest.mark.parametrize(
    ("part", "before"),
    [("test", {"training": "AX"}), ("test", {"validation": "X"}), ("validation", {"training": "XY"})],
)
def test_weights_that_know_a_judging_patient_are_refused(tmp_path: Path, part: str, before: dict[str, str]) -> None:
    weights = weights_of(tmp_path, **before)
    with pytest.raises(LggError, match=rf"^{part} patient X \(of 1\) is known to {weights}, .*take weights that"):
        require_unseen(datalist(training="B", **{part: "CX"}), weights)


def test_a_patient_under_another_name_is_known_by_its_pixels(tmp_path: Path) -> None:
    renamed = datalist(test="C")
    renamed["test"][0]["fingerprint"] = "x"
    with pytest.raises(LggError, match="test patient C"):
        require_unseen(renamed, weights_of(tmp_path, training="X"))


def test_the_same_split_and_a_final_training_may_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = {"training": "AB", "validation": "C", "test": "D"}
    weights = weights_of(tmp_path, **split)
    with caplog.at_level(logging.WARNING):
        require_unseen(datalist(**split), weights)
        require_unseen(datalist(training="ABCD"), weights)
    assert not caplog.text


def test_weights_of_unknown_origin_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        require_unseen(datalist(test="A"), tmp_path / "model.pt")
    assert f"no datalist.json says which patients {tmp_path / 'model.pt'} has seen" in caplog.text


def test_the_list_lies_beside_the_weights_or_in_their_run_folder(tmp_path: Path) -> None:
    weights_of(tmp_path / "run")
    assert datalist_of(tmp_path / "run" / "checkpoints" / "best.pt") == tmp_path / "run" / "datalist.json"
    weights_of(tmp_path / "run" / "checkpoints")
    assert datalist_of(tmp_path / "run" / "checkpoints" / "best.pt") == tmp_path / "run/checkpoints/datalist.json"
    assert datalist_of(tmp_path / "elsewhere" / "model.pt") is None


def test_training_people_are_read_beside_shipped_weights_and_above_a_runs(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert training_people(tmp_path / "checkpoints/best.pt") == set()
    parts = {"training": [{"patient": "a"}], "validation": [{"patient": "b_20000101"}], "test": [{"patient": "c"}]}
    (tmp_path / "datalist.json").write_text(json.dumps(parts))
    assert training_people(tmp_path / "checkpoints/best.pt") == {"A", "B"}
    assert training_people(tmp_path / "model.pt") == {"A", "B"}


def test_a_second_scan_or_another_outline_of_a_known_patient_is_refused(tmp_path: Path) -> None:
    known = {"patient": "P_20000101", "fingerprint": "a", "image_fingerprint": "b"}
    (tmp_path / "datalist.json").write_text(json.dumps({"training": [known], "validation": [], "test": []}))
    others = [
        {"patient": "P_20050505", "fingerprint": "x", "image_fingerprint": "y"},
        {"patient": "Q", "fingerprint": "x", "image_fingerprint": "b"},
    ]
    for other in others:
        with pytest.raises(LggError, match=f"test patient {other['patient']} "):
            require_unseen({"training": [], "validation": [], "test": [other]}, tmp_path / "model.pt")
    weights = tmp_path / "tcga" / "model.pt"
    weights.parent.mkdir()
    known = {"training": [{"patient": "TCGA_CS_4941_19960909"}], "validation": [], "test": []}
    (weights.parent / "datalist.json").write_text(json.dumps(known))
    with pytest.raises(LggError, match=r"test patient TCGA-CS-4941_1996\.09\.09 "):  # as the archive names that scan
        require_unseen({"validation": [], "test": [{"patient": "TCGA-CS-4941_1996.09.09"}]}, weights)
    stranger = {"patient": "Q", "fingerprint": "x", "image_fingerprint": "y"}
    require_unseen({"training": [], "validation": [], "test": [stranger]}, tmp_path / "model.pt")


def test_what_the_first_weights_saw_is_remembered_through_further_trainings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = weights_of(tmp_path / "first", training="AB", validation="C", test="D")
    assert seen_before(first)["complete"]
    second = datalist(training="M", validation="N", test="O") | {BEFORE: seen_before(first)}
    (tmp_path / "second").mkdir()
    (tmp_path / "second/datalist.json").write_text(json.dumps(second))
    third = tmp_path / "third/model.pt"
    third.parent.mkdir()
    before = seen_before(tmp_path / "second/model.pt")
    (third.parent / "datalist.json").write_text(json.dumps(datalist(training="X") | {BEFORE: before}))
    with caplog.at_level(logging.WARNING):
        for patient in "ABCMN":
            with pytest.raises(LggError, match=f"test patient {patient} "):
                require_unseen(datalist(test=patient), third)
        require_unseen(datalist(test="DO", validation="CN"), third)  # they chose an epoch, and may choose one again
    assert not caplog.text
    assert training_people(third) == set("XMNABC")
    parts = parts_by_identity([json.loads((third.parent / "datalist.json").read_text())])
    assert (parts["a"], parts["c"], parts["m"]) == ("training", "validation", "training")


def test_weights_that_came_of_unknown_ones_stay_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = seen_before(tmp_path / "nowhere/model.pt")
    assert before == {"training": [], "validation": [], "complete": False}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist(training="A") | {BEFORE: before}))
    assert not seen_before(tmp_path / "model.pt")["complete"]
    with caplog.at_level(logging.WARNING):
        require_unseen(datalist(test="B"), tmp_path / "model.pt")
    assert "began with have seen" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not an object"),
        ('{"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}]}', "does not name its training patients"),
        ('{"training": ["a"]}', "does not name its training patients"),
        ('{"test": null}', "does not name its test patients"),
    ],
)
def test_a_list_of_another_kind_beside_weights_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(LggError, match=message):
        require_unseen(datalist(test="new"), tmp_path / "model.pt")
    with pytest.raises(LggError, match=message):
        training_people(tmp_path / "model.pt")
