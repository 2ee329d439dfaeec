"""The whole report, from synthetic run folders whose numbers are known."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_folders import edit_json, truth, write_run
from typer.testing import CliRunner

from lgg_monai.analysis import figures, measure
from lgg_monai.analysis.compared import load_runs
from lgg_monai.analysis.comparison import collect, compare
from lgg_monai.analysis.page import render_page
from lgg_monai.analysis.pictures import PictureRow, choose_cases, disagreement_slice
from lgg_monai.cli import app
from lgg_monai.engines.history import read_history, write_history
from lgg_monai.errors import LggError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A UNet, and a PSPNet at 1.6 times the time and twice the memory whose name is HTML."""
    root = tmp_path_factory.mktemp("runs")
    data = root / "data"
    for number in range(8):  # the test patients of write_run, in the layout of kaggle_3m
        name = f"PHANTOM_{'BB' if number % 2 == 0 else 'AA'}_{number + 4:04d}_20000101"
        (data / name).mkdir(parents=True)
        for z in range(4):
            mask = (truth(number)[:, :, z].T * 255).astype(np.uint8)
            grey = np.full((32, 32, 3), 90, dtype=np.uint8) + mask[..., None] // 4
            Image.fromarray(grey).save(data / name / f"{name}_{z + 1}.tif")
            Image.fromarray(mask).save(data / name / f"{name}_{z + 1}_mask.tif")
    slow = (0.1, 0.3, 0.55, 0.65)
    pspnet: dict[str, Any] = {"network": "lgg_monai.networks.PSPNet", "seconds": 16.0, "memory": 2000.0}
    return [
        write_run(root / "unet", dataset=data),
        write_run(root / HOSTILE, val_iou=slow, shift=3, dataset=data, **pspnet),
    ]


@pytest.fixture(scope="module")
def report(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare(runs, tmp_path_factory.mktemp("report") / "new" / "report", measured=False).parent


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: the test looks at something else."""
    monkeypatch.setattr(figures, "render", lambda *_: b"<svg/>")
    monkeypatch.setattr("lgg_monai.analysis.page.render", lambda *_: b"<svg/>")


def content_of(report: Path) -> dict[str, Any]:
    return json.loads((report / "comparison.json").read_text())


def test_cost_and_its_ratios_are_those_of_the_histories(report: Path) -> None:
    first, other = content_of(report)["runs"]
    assert first["cost"]["seconds_per_epoch"] == 10
    assert other["ratios"]["seconds_per_epoch"] == {"ratio": 1.6, "original": 1.5}
    assert other["ratios"]["peak_memory_mb"] == {"ratio": 2.0, "original": 1.5}
    assert other["ratios"]["slices_per_second"]["ratio"] == pytest.approx(10 / 16)
    assert other["cost"]["checkpoint_mb"] == 2
    assert other["cost"]["slice_shape"] == [3, 32, 32]


def test_findings_name_the_better_run_the_speed_and_the_cost(report: Path) -> None:
    findings = " ".join(content_of(report)["findings"])
    assert f"unet is better than {HOSTILE}" in findings
    assert f"unet after 3 epochs and 30 s, {HOSTILE} after 4 epochs and 64 s" in findings  # val IoU 0.6
    assert "1.60 times the time an epoch (original: 1.50)" in findings
    assert findings.startswith("PHANTOM")


def test_the_page_escapes_names_and_asks_nothing_of_the_network(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    assert "//" not in re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]*", "", page)
    assert "<script" not in page
    assert "PHANTOM" in page
    assert "Buda" not in page  # synthetic patients are nobody's to cite


@pytest.mark.parametrize(
    ("patient", "cited"), [("TCGA_CS_4941_19960909", True), ("own-007", False), ("TCGA-CS-4941", False)]
)
def test_pictures_of_published_patients_alone_are_cited(
    runs: list[Path], tmp_path: Path, patient: str, cited: bool
) -> None:
    """Those of anybody's own patients were said to be TCGA's."""
    content = collect(load_runs(runs)[0], measured=False) | {"phantom": False}
    content["quality"]["patients"] = [patient]
    page = render_page(content, [], [PictureRow("worst", ())], tmp_path)
    assert "The same slices through every model" in page
    assert ("Buda" in page) == cited


def test_the_page_says_on_whom_a_run_was_tested(runs: list[Path], tmp_path: Path) -> None:
    content = collect(load_runs(runs)[0], measured=False)
    for fold, folds, said in (
        (1, 5, "1 of 5"),
        (2, None, "2, a site left out"),  # which was called a given list
        (None, None, "given list"),
        ("all", 5, "none: trained on all"),
    ):
        content["runs"][0] |= {"fold": fold, "folds": folds}
        assert f"<td>{said}</td>" in render_page(content, [], [], tmp_path)


def test_the_page_says_how_many_patients_were_scored(runs: list[Path], tmp_path: Path) -> None:
    content = collect(load_runs(runs)[0], measured=False)
    assert "Scored on 8 test patients that" in render_page(content, [], [], tmp_path)
    content["quality"]["patients"] = content["quality"]["patients"][:1]
    assert "Scored on 1 test patient that" in render_page(content, [], [], tmp_path)


def test_plots_pictures_and_numbers_lie_beside_the_page(report: Path) -> None:
    names = {path.name for path in (report / "plots").iterdir()}
    for stem in (
        "learning_curves",
        "scatter",
        "differences",
        "dice_by_size",
        "dice_by_site",
        "curve_val_iou_by_seconds",
    ):
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    # Best, median, worst and the largest disagreement, each as FLAIR, truth and two runs.
    assert len(list((report / "pictures").iterdir())) == 16
    with (report / "comparison.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert table[0]["metric"] == "PHANTOM"
    found = {(row["section"], row["run"], row["metric"]): row["value"] for row in table}
    assert float(found["speed", "unet", "epoch_to_val_iou_0.8"]) == 4
    assert found["speed", HOSTILE, "epoch_to_val_iou_0.7"] == ""
    assert float(found["cost_ratio_to_first", HOSTILE, "peak_memory_mb"]) == 2
    assert {"group a sequence missing", "group site AA"} <= {row["section"] for row in table}


def test_a_run_without_scores_leaves_quality_out_and_says_how_to_make_it(
    runs: list[Path], tmp_path: Path, quick: None
) -> None:
    bare = Path(shutil.copytree(runs[1], tmp_path / "a bare run"))
    shutil.rmtree(bare / "evaluation")
    page = compare([runs[0], bare], tmp_path / "report", measured=False).read_text()
    assert "a bare run: it was not evaluated" in page
    assert "configs/evaluate.yaml" in page
    assert f"--output_dir '{bare}'" in html.unescape(page)  # as one word to a shell
    assert "Wilcoxon p" not in page


def test_runs_without_validation_are_not_said_to_have_reached_nothing(
    runs: list[Path], tmp_path: Path, quick: None
) -> None:
    twice = [Path(shutil.copytree(run, tmp_path / f"run{number}")) for number, run in enumerate(runs)]
    for run in twice:
        rows = [row | {"val_iou": None, "val_loss": None} for row in read_history(run / "history.csv")]
        write_history(run / "history.csv", rows)
    one = compare([twice[0], runs[1]], tmp_path / "one", measured=False)
    assert one.read_text().count("not validated") == 5  # four marks, and a share of its own best
    assert (one.parent / "plots" / "curve_val_iou_by_epoch.svg").is_file()
    both = compare(twice, tmp_path / "both", measured=False)
    assert both.read_text().count("not validated") == 10
    assert "not reached" not in both.read_text()
    drawn = {path.stem for path in (both.parent / "plots").glob("curve_*.svg")}
    assert drawn == {f"curve_{name}_by_{unit}" for name in ("loss", "iou") for unit in ("epoch", "seconds")}


def test_one_network_twice_is_noted_and_equal_scores_have_no_winner(runs: list[Path], tmp_path: Path) -> None:
    again = Path(shutil.copytree(runs[0], tmp_path / "unet"))
    content = collect(load_runs([runs[0], again])[0], measured=False)
    assert any(note.startswith("One network: ") and " and " in note for note in content["notes"])
    assert len({run["label"] for run in content["runs"]}) == 2
    assert "better than" not in " ".join(content["findings"])


def test_epochs_of_a_chosen_length_are_named(runs: list[Path], tmp_path: Path) -> None:
    short = Path(shutil.copytree(runs[0], tmp_path / "short"))
    config = json.loads((short / "run.json").read_text())["config"]
    edit_json(short / "run.json", config=config | {"slices_per_epoch": 336})
    content = collect(load_runs([runs[1], short])[0], measured=False)
    assert [run["slices_per_epoch"] for run in content["runs"]] == [None, 336]
    assert any("Slices in an epoch were set to 336 (short)" in finding for finding in content["findings"])
    assert not any(
        "Slices in an epoch" in finding for finding in collect(load_runs(runs)[0], measured=False)["findings"]
    )


def test_scores_of_other_weights_or_made_in_another_way_are_told_first(runs: list[Path], tmp_path: Path) -> None:
    one, other = (Path(shutil.copytree(runs[0], tmp_path / name)) for name in ("one", "other"))
    way = {"tta": False, "smallest_component": 200}
    for run in (one, other):
        edit_json(run / "evaluation" / "summary.json", checkpoint=f"runs/{run.name}/checkpoints/best.pt", config=way)
    alike = collect(load_runs([one, other])[0], measured=False)
    assert alike["scoring"] == []
    renamed = {"checkpoint": "runs/before/checkpoints/best.pt", "config": way | {"output_dir": "runs/before"}}
    edit_json(other / "evaluation" / "summary.json", **renamed)
    assert collect(load_runs([one, other])[0], measured=False)["scoring"] == []
    edit_json(other / "evaluation" / "summary.json", checkpoint="['a.pt', 'b.pt']", config=way | {"tta": True})
    content = collect(load_runs([one, other])[0], measured=False)
    weights, ways = content["scoring"]
    assert weights == "other was scored with the weights ['a.pt', 'b.pt'], not its own checkpoints/best.pt."
    assert ways.startswith("The runs were scored in different ways: tta is False (one), True (other).")
    assert content["findings"][1:3] == [weights, ways]  # after PHANTOM, before who is better
    # An evaluation of before the setting was there did not remove what it removes.
    edit_json(other / "evaluation" / "summary.json", checkpoint="other/checkpoints/best.pt", config={"tta": False})
    (ways,) = collect(load_runs([one, other])[0], measured=False)["scoring"]
    assert "smallest_component is 200 (one), not set (other)" in ways
    # A block is told by its digest; how MONAI writes its references is of no account.
    block = {"transforms": [{"_target_": "AsDiscreted", "threshold": 0.0, "keys": "@a#b"}]}
    edit_json(one / "evaluation" / "summary.json", config=way | {"postprocessing": block})
    for threshold, keys, remarks in ((0.0, "@a::b", 0), (1.0, "@a::b", 1)):
        block = {"transforms": [{"_target_": "AsDiscreted", "threshold": threshold, "keys": keys}]}
        edit_json(other / "evaluation" / "summary.json", config=way | {"postprocessing": block})
        told = collect(load_runs([one, other])[0], measured=False)["scoring"]
        assert len(told) == remarks
    assert re.search(r"postprocessing is \w{8} \(one\), \w{8} \(other\)", told[0])


def test_different_data_and_seeds_are_stamped(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    edit_json(other / "run.json", seed=7)
    loaded, differences = load_runs([runs[0], other], allow_different_data=True)
    content = collect(loaded, differences, measured=False)
    assert content["stamp"] == "PHANTOM, DIFFERENT SEED"  # of the same data, which it called different
    assert any(finding.startswith("DIFFERENT SEED: ") for finding in content["findings"])
    record = json.loads((other / "run.json").read_text())
    edit_json(other / "run.json", data=record["data"] | {"fingerprint": "other"})
    loaded, differences = load_runs([runs[0], other], allow_different_data=True)
    assert collect(loaded, differences, measured=False)["stamp"] == "PHANTOM, DIFFERENT DATA AND SEED"


def test_pictures_are_left_out_with_a_note_where_the_data_are_gone(
    runs: list[Path], tmp_path: Path, quick: None
) -> None:
    copies = [Path(shutil.copytree(run, tmp_path / name)) for run, name in zip(runs, "ab", strict=True)]
    shutil.rmtree(copies[1] / "evaluation" / "predictions")
    report = compare(copies, tmp_path / "report", measured=False).parent
    assert any("evaluate the run again" in note for note in content_of(report)["notes"])
    assert not (report / "pictures").exists()


def test_patients_that_lie_elsewhere_now_are_drawn_from_there(runs: list[Path], tmp_path: Path, quick: None) -> None:
    """The note on missing pictures named an option that the command did not have."""
    copies = [Path(shutil.copytree(run, tmp_path / name)) for run, name in zip(runs, "ab", strict=True)]
    for copy in copies:
        datalist = json.loads((copy / "datalist.json").read_text())
        moved = [{**entry, "image": f"gone/{entry['patient']}", "label": None} for entry in datalist["test"]]
        edit_json(copy / "datalist.json", test=moved)
    report = compare(copies, tmp_path / "without", measured=False).parent
    assert any("give --dataset_dir" in note for note in content_of(report)["notes"])
    data = runs[0].parent / "data"
    report = compare(copies, tmp_path / "with", measured=False, dataset_dir=data).parent
    assert not any("Pictures" in note for note in content_of(report)["notes"])
    assert len(list((report / "pictures").iterdir())) == 16  # FLAIR, truth and two runs of four cases


def test_labels_that_changed_since_are_not_drawn_as_those_that_were_scored(
    runs: list[Path], tmp_path: Path, quick: None
) -> None:
    copies = [Path(shutil.copytree(run, tmp_path / name)) for run, name in zip(runs, "ab", strict=True)]
    datalist = json.loads((copies[0] / "datalist.json").read_text())
    edit_json(copies[0] / "datalist.json", test=[entry | {"fingerprint": "before"} for entry in datalist["test"]])
    report = compare(copies, tmp_path / "report", measured=False).parent
    assert any("changed since the runs were trained and scored" in note for note in content_of(report)["notes"])
    assert not (report / "pictures").exists()


def test_the_command_refuses_in_one_line_and_writes_nothing(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    for output in ("full", "file", "file/below"):
        result = CliRunner().invoke(app, ["compare", *map(str, runs), "--output", str(tmp_path / output)])
        assert isinstance(result.exception, LggError)
        assert "\n" not in str(result.exception)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


def test_a_folder_that_cannot_take_the_report_is_refused_before_the_work(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks were built, all plots drawn, and then the working directory could not be replaced."""
    monkeypatch.setattr("lgg_monai.analysis.comparison.load_runs", lambda *_: pytest.fail("runs were read"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LggError, match="is the working directory: name a folder in it"):
        compare(runs, Path())


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_is_not_installed_is_one_line(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("lgg_monai.extras.find_spec", lambda name: None if name == missing else name)
    monkeypatch.setitem(sys.modules, "lgg_monai.analysis.comparison", None)  # which imports it
    result = CliRunner().invoke(app, ["compare", *map(str, runs), "--output", str(tmp_path / "report")])
    assert isinstance(result.exception, LggError)
    assert str(result.exception).startswith(f"{missing} is not installed, which drawing the results needs: pip install")


def test_nothing_is_left_where_the_report_fails_halfway(
    runs: list[Path], tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lgg_monai.analysis.comparison.render_page", fail)
    with pytest.raises(LggError, match="No space left"):
        compare(runs, tmp_path / "report", measured=False)
    assert list(tmp_path.iterdir()) == []


def test_flops_are_those_of_the_arithmetic() -> None:
    network = torch.nn.Conv2d(3, 8, 3, padding=1).eval()
    assert measure.measure_here(network, (3, 32, 32))["flops"] == 2 * 3 * 8 * 9 * 32 * 32


def test_a_definition_that_is_not_plain_is_not_built() -> None:
    result = measure.measure({"_target_": "UNet", "spatial_dims": "$__import__('os').getpid()"}, (3, 32, 32))
    assert result["flops"] is None
    assert "refers" in result["not_measured"]


def test_nothing_but_known_networks_is_built(tmp_path: Path) -> None:
    result = measure.measure({"_target_": "os.system", "command": f"touch {tmp_path}/pwned"}, (3, 32, 32))
    assert result["flops"] is None
    assert "'os.system': only MONAI's and this package's are used" in result["not_measured"]
    assert list(tmp_path.iterdir()) == []
    small = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    assert measure.measure(small | {"channels": [2, 4], "strides": [2]}, (3, 32, 32))["flops"] > 0


def test_cases_and_the_slice_of_disagreement() -> None:
    table = [
        {"patient": name, "volume_dice": dice}
        for name, dice in (("a", [0.9, 0.9]), ("b", [0.2, 0.8]), ("c", [0.1, 0.1]))
    ]
    assert choose_cases(table) == [("best", "a"), ("median", "b"), ("worst", "c"), ("largest disagreement", "b")]
    one, other = np.zeros((2, 4, 4, 3), dtype=bool)
    one[:, :, 0] = other[:, :, 0] = True
    one[0, 0, 2] = True
    assert disagreement_slice([one, other]) == 2
