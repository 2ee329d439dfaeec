"""Cross-validations compared as runs: every patient's scores are of the fold that was tested on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import edit_json, write_run

from lgg_monai.analysis.compared import load_runs, mean_history
from lgg_monai.analysis.comparison import collect, compare
from lgg_monai.engines.history import read_history, write_history
from lgg_monai.engines.predictions import read_prediction
from lgg_monai.errors import LggError

FOLDS = 2


def write_cross_validation(folder: Path, **options: Any) -> Path:
    """Write a cross-validation of two folds, each tested on half of the test patients of `write_run`."""
    for number in range(FOLDS):
        fold = write_run(folder / f"fold_{number}", **options)
        lists = json.loads((fold / "datalist.json").read_text())
        own = lists["test"][number::FOLDS]
        edit_json(fold / "datalist.json", test=own, fold=number)
        table = fold / "evaluation" / "patients.csv"
        head, *rows = table.read_text().splitlines()
        names = {entry["patient"] for entry in own}
        table.write_text("\n".join([head, *(row for row in rows if row.split(",")[0] in names)]) + "\n")
    (folder / "cross_validation.json").write_text(json.dumps({"folds": FOLDS}))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [
        write_cross_validation(root / "cv"),
        write_cross_validation(root / "pspcv", network="lgg_monai.networks.PSPNet", seconds=16.0, shift=3),
    ]


@pytest.fixture
def pair(written: list[Path], tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in written]


def refusal(folders: list[Path]) -> str:
    with pytest.raises(LggError) as caught:
        load_runs(folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_patients_are_compared_as_in_two_runs_that_scored_them(pair: list[Path], tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", network="lgg_monai.networks.PSPNet", shift=3)]
    single = collect(load_runs(runs)[0], measured=False)["quality"]
    content = collect(load_runs(pair)[0], measured=False)
    pooled = content["quality"]
    for key in ("patients", "summaries", "paired", "table", "worst"):
        assert pooled[key] == single[key]
    assert pooled["groups"][:-FOLDS] == single["groups"]
    assert [(group["title"], group["n"]) for group in pooled["groups"][-FOLDS:]] == [("fold_0", 4), ("fold_1", 4)]
    assert [row["patient"] for row in pooled["worst"]] == [row["patient"] for row in pooled["table"]][:5]  # by size
    assert [run["cross_validation"] for run in content["runs"]] == [FOLDS, FOLDS]
    assert content["runs"][1]["ratios"]["seconds_per_epoch"]["ratio"] == 1.6
    assert "cv is better than pspcv on these patients" in " ".join(content["findings"])
    assert content["scoring"] == []


def test_the_page_and_its_pictures_take_each_patient_from_its_fold(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def recorded(path: Path) -> Any:
        read.append(path)
        return read_prediction(path)

    monkeypatch.setattr("lgg_monai.analysis.pictures.read_prediction", recorded)
    for folder in pair:
        for number in range(FOLDS):  # what a fold was not tested on is not there
            tested = {
                entry["patient"] for entry in json.loads((folder / f"fold_{number}/datalist.json").read_text())["test"]
            }
            for path in (folder / f"fold_{number}/evaluation/predictions").iterdir():
                if path.stem not in tested:
                    path.unlink()
    page = compare(pair, tmp_path / "report", measured=False).read_text()
    assert len(read) == 8  # four cases, two models
    assert all(path.is_file() for path in read)
    assert "8, each tested in one fold" in page
    assert "Thick lines are means over folds" in page
    assert "Patients with the lowest volume Dice" in page


def test_histories_are_averaged_as_far_as_all_go() -> None:
    row: dict[str, Any] = {"epoch": 1, "loss": 0.5, "val_iou": 0.6, "peak_memory_mb": 100.0}
    other = {"epoch": 1, "loss": 0.7, "val_iou": None, "peak_memory_mb": 300.0}
    (mean,) = mean_history([[row, row | {"epoch": 2}], [other]])
    assert mean == {"epoch": 1, "loss": pytest.approx(0.6), "val_iou": None, "peak_memory_mb": 300.0}


def test_curves_are_means_over_the_folds(pair: list[Path]) -> None:
    path = pair[0] / "fold_1" / "history.csv"
    write_history(path, [row | {"val_iou": row["val_iou"] / 2} for row in read_history(path)])
    best = collect(load_runs(pair)[0], measured=False)["runs"][0]["speed"]["best"]
    assert best == {"epoch": 4, "val_iou": pytest.approx(0.81 * 0.75)}


def of_fold(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "fold_1" / name, **changes)


def with_seed_in_config(folder: Path) -> None:
    record = json.loads((folder / "fold_1/run.json").read_text())
    edit_json(folder / "fold_1/run.json", config=record["config"] | {"seed": 3})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (of_fold("run.json", finished=False, ended=None), "fold_1 is unfinished (epoch 4): finish it"),
        (of_fold("run.json", data={"fingerprint": "other"}), "fold_1 was trained with other data than"),
        (with_seed_in_config, "fold_1 was trained with other seed than"),
        (of_fold("datalist.json", initial_weights_sha256="x"), "fold_1 was trained with other initial_weights than"),
        (
            lambda folder: [
                shutil.copy(folder / "fold_0" / name, folder / "fold_1" / name)
                for name in ("datalist.json", "evaluation/patients.csv")
            ],
            "is tested in",
        ),
        (lambda folder: shutil.rmtree(folder / "fold_1"), "differ in split: compare runs of one data set, split"),
    ],
)
def test_folds_that_do_not_belong_together_are_refused(
    pair: list[Path], damage: Callable[[Path], object], message: str
) -> None:
    damage(pair[1])
    assert message in refusal(pair)


def test_a_run_beside_a_cross_validation_needs_permission(pair: list[Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "unet")
    assert "differ in split" in refusal([pair[0], run])
    runs, differences = load_runs([pair[0], run], allow_different_data=True)
    assert differences == ["split"]
    groups = collect(runs, differences, measured=False)["quality"]["groups"]
    assert not [group for group in groups if group["title"].startswith("fold")]


def test_folds_that_are_not_there_are_told_of_on_the_page(pair: list[Path]) -> None:
    assert not [note for note in collect(load_runs(pair)[0], measured=False)["notes"] if "are there" in note]
    for folder in pair:
        shutil.rmtree(folder / "fold_1")
    notes = collect(load_runs(pair)[0], measured=False)["notes"]
    assert "Of cv, 1 of 2 folds are there: the patients of the others are left out." in notes
    assert "Of pspcv, 1 of 2 folds are there: the patients of the others are left out." in notes


def test_folds_of_own_lists_are_a_cross_validation(pair: list[Path]) -> None:
    """Their lists are different files, which was taken for another setting."""
    for folder in pair:
        (folder / "cross_validation.json").unlink()
        for number in range(FOLDS):
            record = json.loads((folder / f"fold_{number}/run.json").read_text())
            config = record["config"] | {"datalist_file": f"lists/{number}.json"}
            edit_json(folder / f"fold_{number}/run.json", config=config, data={"fingerprint": "same", "fold": None})
    content = collect(load_runs(pair)[0], measured=False)
    assert len(content["quality"]["patients"]) == 8


def test_a_fold_without_scores_leaves_quality_out_and_says_how_to_make_them(pair: list[Path]) -> None:
    shutil.rmtree(pair[1] / "fold_1" / "evaluation")
    content = collect(load_runs(pair)[0], measured=False)
    assert content["quality"]["reasons"] == ["pspcv: fold_1: it was not evaluated"]
    (command,) = content["how_to_evaluate"]
    assert command.endswith(f"--output_dir {pair[1] / 'fold_1'}")
