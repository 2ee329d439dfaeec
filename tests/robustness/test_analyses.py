"""Robustness and calibration of a run on the phantom, as the commands make them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.bundle import ConfigWorkflow

from lgg_monai.analysis.output import require_new_folder
from lgg_monai.analysis.runs import require_scored_apart
from lgg_monai.analysis.scoring import PROBABILITY_SCORING, describe_runs
from lgg_monai.cli import main
from lgg_monai.data import Patient, evaluation_datalist, find_patients, read_patient, report_cache
from lgg_monai.data.integrity import PatientReport, inspect_patient
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.predictions import read_prediction
from lgg_monai.engines.probabilities import write_probability
from lgg_monai.engines.scores import score_volume
from lgg_monai.errors import LggError
from lgg_monai.robustness import trained as trained_module
from lgg_monai.robustness.calibration import count_voxels, head_of
from lgg_monai.robustness.degradations import CLEAN, DEGRADATIONS
from lgg_monai.robustness.ensemble import score_ensemble
from lgg_monai.robustness.error_report import explain_errors
from lgg_monai.robustness.error_types import GROUPS, TYPES
from lgg_monai.robustness.labels import LabelReader
from lgg_monai.robustness.mask_rules import RULES, MaskRule, choose_rule
from lgg_monai.robustness.table import measure_robustness, robustness_table, score_degraded
from lgg_monai.robustness.temperature import count_logits
from lgg_monai.robustness.trained import load_model, load_models, patients
from lgg_monai.robustness.trust import judge_patient, measure_trust

REPOSITORY = Path(__file__).resolve().parents[2]
SCORES = Path("evaluation") / "patients.csv"
FEW = [own for own in DEGRADATIONS if own.label in ("FLAIR alone", "noise 0.1", "left-right flip", "matrix size 1.25")]
SETTINGS = {
    "device": "cpu",
    "precision": "fp32",
    "progress": False,
    "max_epochs": 1,
    "batch_size": 8,
    "slices_per_epoch": 16,
    "network_def": {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 3, "padding": 1},
    "pictures": False,
}


def bright_flair(threshold: float) -> dict[str, torch.Tensor]:
    """Weights that call a pixel tumour where it and its left neighbour are bright on FLAIR, and a little on post."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, FLAIR, 0:2, 1], weight[0, 2, 1, 1] = 2.0, 0.2
    return {"weight": weight, "bias": torch.tensor([-4.0 * threshold])}


def execute(files: list[str], kind: str, settings: dict[str, Any]) -> None:
    workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **settings)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


@pytest.fixture(scope="module")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose weights were set by hand after training, scored on its test patients; do not write into it."""
    run = tmp_path_factory.mktemp("runs") / "unet"
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(run)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        execute(["bundles/plain_unet.yaml"], "train", {key: settings[key] for key in settings if key != "pictures"})
        torch.save(bright_flair(2.7), run / "checkpoints" / "best.pt")
        execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", settings)
    return run


READ: list[Patient] = []


def counted(patient: Patient) -> PatientReport:
    READ.append(patient)
    return inspect_patient(patient)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def dice_of(path: Path) -> dict[str, float]:
    return {row["patient"]: float(row["volume_dice"]) for row in table(path)}


def test_clean_scans_score_as_in_the_evaluation(trained: Path, phantom: Path) -> None:
    (model,) = load_models([trained], phantom)
    expected = dice_of(trained / "evaluation" / "patients.csv")
    found = {entry["patient"]: judge_patient(model, entry)[0]["volume_dice"] for _, entry in patients([model])}
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(expected.values()) > 0.3  # this compares more than empty masks


def test_masks_are_made_by_the_rule_of_the_runs_evaluation(
    trained: Path, phantom: Path, tmp_path: Path, in_repository: Path
) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(copy)}
    execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", {**settings, "smallest_component": 20000})
    assert set(dice_of(copy / SCORES).values()) == {0.0}  # nothing is that large
    content = measure_robustness([copy], tmp_path / "out", phantom, degradations=FEW[:1])
    assert content["clean"]["volume_dice"]["max"] == 0
    (described,) = content["models"]
    assert (described["smallest_component"], described["smallest_share"]) == (20000, 0.5)


def test_the_mirror_image_is_that_of_test_time_flips(trained: Path, phantom: Path, in_repository: Path) -> None:
    model = load_model(trained, phantom)
    entry = model.datalist["patients"][0]
    image = model.read(entry)
    mean = (model.probability(image) + model.probability(image, mirrored=True)) / 2
    copy = trained.parent / "flipped"
    shutil.copytree(trained, copy)
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(copy), "tta": True, "probabilities": True}
    execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", settings)
    with np.load(copy / "evaluation" / "probabilities" / f"{entry['patient']}.npz") as kept:
        np.testing.assert_allclose(kept["probability"] / 255, mean[0].numpy(), atol=0.004)
    assert dice_of(copy / "evaluation/patients.csv") != dice_of(trained / "evaluation/patients.csv")
    summary = json.loads((copy / "evaluation/summary.json").read_text())
    assert summary["config"]["tta"] is True


def test_an_evaluation_takes_a_list_of_checkpoints(trained: Path, phantom: Path, in_repository: Path) -> None:
    copy = trained.parent / "ensemble"
    shutil.copytree(trained, copy)
    files = [str(trained / "checkpoints" / name) for name in ("best.pt", "other.pt")]
    torch.save(bright_flair(2.0), files[1])
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(copy), "probabilities": True}
    execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", {**settings, "checkpoint": files})
    model = load_model(trained, phantom, checkpoints=[Path(file) for file in files])
    entry = model.datalist["patients"][0]
    mean = torch.stack([model.probability(model.read(entry), number) for number in range(2)]).mean(dim=0)
    with np.load(copy / "evaluation" / "probabilities" / f"{entry['patient']}.npz") as kept:
        np.testing.assert_allclose(kept["probability"] / 255, mean[0].numpy(), atol=0.004)


def test_an_evaluation_refuses_a_list_of_other_patients_than_it_scores(
    trained: Path, phantom: Path, tmp_path: Path, in_repository: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    files = ["bundles/plain_unet.yaml", "configs/evaluate.yaml"]
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(run)}
    content = json.loads((run / "datalist.json").read_text())
    content["test"], content["validation"] = content["validation"], content["test"]
    (tmp_path / "other.json").write_text(json.dumps(content))
    before = (run / "evaluation" / "summary.json").read_bytes()
    with pytest.raises(
        SystemExit, match=r"other\.json lists other test patients than are scored: .* leave the key out"
    ):
        execute(files, "eval", {**settings, "datalist_file": str(tmp_path / "other.json")})
    assert (run / "evaluation" / "summary.json").read_bytes() == before
    execute(files, "eval", {**settings, "datalist_file": str(run / "datalist.json")})  # repeated from the training
    assert dice_of(run / SCORES) == dice_of(trained / SCORES)


def test_the_robustness_table_compares_with_clean_scans(trained: Path, phantom: Path, tmp_path: Path) -> None:
    content = measure_robustness([trained], tmp_path / "out", phantom, degradations=FEW)
    rows = table(tmp_path / "out" / "robustness.csv")
    assert [f"{row['degradation']} {row['severity']}".strip() for row in rows] == [own.label for own in (CLEAN, *FEW)]
    assert float(rows[0]["difference"]) == 0
    every = table(tmp_path / "out" / "patients.csv")
    assert len(every) == 2 * (1 + len(FEW))
    for row, own in zip(rows, (CLEAN, *FEW), strict=True):
        dice = [float(line["volume_dice"]) for line in every if line["degradation"] == own.label]
        assert float(row["mean_dice"]) == pytest.approx(np.mean(dice), abs=1e-6)
        assert float(row["difference"]) == pytest.approx(np.mean(dice) - float(rows[0]["mean_dice"]), abs=2e-6)
        if row["low"]:
            assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
    # Clean scans take the way of degraded ones and come to the scores of the evaluation.
    clean = {row["patient"]: float(row["volume_dice"]) for row in every if row["degradation"] == CLEAN.label}
    assert clean == pytest.approx(dice_of(trained / "evaluation" / "patients.csv"), abs=1e-6)
    assert content["phantom"] is True
    assert json.loads((tmp_path / "out" / "robustness.json").read_text())["table"][1]["degradation"] == "FLAIR alone"
    assert (tmp_path / "out" / "robustness.png").stat().st_size > 5000
    assert robustness_table(score_degraded([load_model(trained, phantom)], FEW), FEW) == content["table"]


def test_a_degradation_that_is_undone_exactly_costs_nothing(trained: Path, phantom: Path, tmp_path: Path) -> None:
    scale = [own for own in DEGRADATIONS if own.name == "intensity scale"]
    content = measure_robustness([trained], tmp_path / "out", phantom, degradations=scale)
    assert content["table"][1]["difference"] == pytest.approx(0, abs=1e-3)


def test_calibration_is_written_with_its_uncertainties(trained: Path, phantom: Path, tmp_path: Path) -> None:
    files = [trained / "checkpoints" / "best.pt", tmp_path / "other.pt"]
    torch.save(bright_flair(2.0), files[1])
    content = measure_trust([trained], tmp_path / "out", phantom, "all", files)
    assert content["patients"] == 10
    assert content["patients_seen_in_training_or_validation"] == 8
    assert set(content["uncertainty"]) == {"flip_disagreement", "checkpoint_disagreement", "expected_error", "entropy"}
    assert 0 < content["calibration"]["head"]["ece"] < content["calibration"]["band"]["ece"] < 1
    rows = table(tmp_path / "out" / "patients.csv")
    assert len(rows) == 10
    dice = [float(row["volume_dice"]) for row in rows]
    assert content["volume_dice"]["mean"] == pytest.approx(np.mean(dice), abs=1e-6)
    assert content["uncertainty"]["entropy"]["mean_dice"] == pytest.approx(np.mean(dice), abs=1e-6)
    assert (tmp_path / "out" / "calibration.svg").is_file()


def test_a_cross_validation_is_the_sum_of_its_folds(
    trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fold in (0, 1):
        shutil.copytree(trained, tmp_path / "cv" / f"fold_{fold}")
    with monkeypatch.context() as patch:
        patch.setattr(trained_module, "load_model", lambda *_: pytest.fail("a network was loaded"))
        with pytest.raises(LggError, match="give runs that were tested on different patients"):
            load_models([tmp_path / "cv"], phantom)
    path = tmp_path / "cv" / "fold_1" / "datalist.json"
    content = json.loads(path.read_text())
    content["test"], content["validation"] = content["validation"], content["test"]
    path.write_text(json.dumps(content))
    with pytest.raises(LggError, match=r"fold_0 would be judged by every patient of the data set.*give it alone"):
        load_models([tmp_path / "cv"], phantom, "all")
    with pytest.raises(LggError, match=r"plain_unet\.yaml would be judged by every patient of the data set"):
        load_models([trained, REPOSITORY / "bundles" / "plain_unet.yaml"], phantom)
    with pytest.raises(SystemExit, match="unknown subset 'tests'"):
        load_models([tmp_path / "cv"], phantom, "tests")
    monkeypatch.setattr(report_cache, "inspect_patient", counted)
    models = load_models([tmp_path / "cv"], phantom)
    assert len(READ) == len(set(READ)) == 10  # once for all folds
    assert [len(model.datalist["patients"]) for model in models] == [2, len(content["test"])]
    with pytest.raises(LggError, match="--checkpoint is given with 2 runs"):
        load_models([tmp_path / "cv"], phantom, checkpoints=[tmp_path / "a.pt"])


def test_an_unfinished_training_is_judged_with_a_warning(
    trained: Path, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_models([trained], phantom)
    assert "unfinished" not in caplog.text
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | {"finished": False, "ended": None}))
    load_models([copy], phantom)
    assert f"the training in {copy} is unfinished" in caplog.text


def test_a_run_folder_that_may_only_be_read_is_enough(
    trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    opened = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        """For root, who may write whatever the modes say."""
        if flags & (os.O_WRONLY | os.O_RDWR) and Path(os.fsdecode(path)).is_relative_to(run):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    for path in (run, *run.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        content = measure_robustness([run], tmp_path / "robustness", phantom, device="cpu", degradations=FEW[:1])
        assert content["clean"]["volume_dice"]["n"] == len(dice_of(run / SCORES))
        measure_trust([run], tmp_path / "calibration", phantom, device="cpu")
        # An evaluation writes there, and says so before its work.
        with pytest.raises(SystemExit, match=f"cannot write to the output folder {run}"):
            evaluation_datalist(str(phantom), str(run))
    finally:
        for path in (run, *run.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


def test_a_run_counts_once_however_it_is_given(trained: Path, phantom: Path, tmp_path: Path) -> None:
    fold = Path(shutil.copytree(trained, tmp_path / "cv" / "fold_0"))
    (tmp_path / "link").symlink_to(fold, target_is_directory=True)
    for again in (fold, fold / ".." / "fold_0", tmp_path / "link", tmp_path / "cv"):
        with pytest.raises(LggError, match="given twice, so its patients would count twice: give each run once"):
            explain_errors([tmp_path / "cv", again], tmp_path / "out", phantom)
        with pytest.raises(LggError, match="given twice, so its patients would count twice: give each run once"):
            load_models([tmp_path / "cv", again], phantom)


def test_errors_are_those_that_were_scored(trained: Path, phantom: Path, tmp_path: Path) -> None:
    content = explain_errors([trained], tmp_path / "out", phantom)
    assert content["volume_dice"]["mean"] == pytest.approx(np.mean(list(dice_of(trained / SCORES).values())), abs=1e-6)
    rows = table(tmp_path / "out" / "patients.csv")
    for row in rows:
        differing = int(row["union"]) - int(row["intersection"])
        assert sum(int(row[name]) for name in TYPES) == differing > 0
    lines = table(tmp_path / "out" / "errors.csv")
    assert [line["errors"] for line in lines] == list(GROUPS)
    assert sum(float(line["share"]) for line in lines[: len(TYPES)]) == pytest.approx(1, abs=1e-5)
    assert all(float(line["low"]) <= float(line["gain"]) <= float(line["high"]) for line in lines)
    assert json.loads((tmp_path / "out" / "errors.json").read_text())["phantom"] is True
    assert (tmp_path / "out" / "errors.png").stat().st_size > 5000


def test_patients_without_tumour_have_errors_and_no_neighbouring_slices(
    trained: Path, own_phantom: Path, tmp_path: Path, in_repository: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    rows = table(run / SCORES)
    for row in rows:
        for mask in (own_phantom / row["patient"]).glob("*_mask.tif"):
            tifffile.imwrite(mask, np.zeros_like(tifffile.imread(mask)))
        path = run / "evaluation" / "predictions" / f"{row['patient']}.npz"
        row |= {
            key: str(value) for key, value in score_volume(read_prediction(path), read_prediction(path) & False).items()
        }
    with (run / SCORES).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    listed = json.loads((run / "datalist.json").read_text())
    listed["test"] = [{key: entry[key] for key in entry if key != "fingerprint"} for entry in listed["test"]]
    (run / "datalist.json").write_text(json.dumps(listed))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # such as NumPy's, of a mean of nothing
        content = explain_errors([run], tmp_path / "out", own_phantom)
    assert content["neighbour_dice"]["label"] == {
        "mean": None, "rank_correlation_with_dice": None, "rank_correlation_ci95": None,
    }  # fmt: skip
    lines = {row["errors"]: row for row in content["table"]}
    assert lines["added_part"]["share"] == 1
    assert lines["added_part"]["mean_dice_mended"] == 1  # two empty masks


def test_certain_errors_are_counted_from_kept_probabilities(trained: Path, phantom: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    for name in dice_of(copy / SCORES):
        mask = read_prediction(copy / "evaluation" / "predictions" / f"{name}.npz")
        write_probability(copy / "evaluation" / "probabilities" / f"{name}.npz", np.where(mask, 0.9, 0.01))
    content = explain_errors([copy], tmp_path / "out", phantom)
    lines = {row["errors"]: row for row in content["table"]}
    assert lines["missed_rim"]["certain_share"] == 1  # 0.01 in tumour
    assert lines["added_rim"]["certain_share"] == 0  # 0.9 is less than certain
    (scoring,) = content["scoring"]
    assert scoring["checkpoint"] == str(trained / "checkpoints" / "best.pt")
    assert (scoring["tta"], scoring["smallest_component"], content["remarks"]) == (False, 200, [])
    assert content["people"] == content["patients"]


def test_reports_say_where_scores_are_of_other_weights_or_of_flips(
    trained: Path, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing told that errors, rules and ensembles were of something else than the runs' own weights."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    summary |= {"checkpoint": "elsewhere/model.pt", "config": summary["config"] | {"tta": True}}
    (run / "evaluation" / "summary.json").write_text(json.dumps(summary))
    monkeypatch.setattr(LabelReader, "of", lambda *_: pytest.fail("not told before the work"))
    with pytest.raises(pytest.fail.Exception):
        explain_errors([run], tmp_path / "out", phantom)
    assert "was scored with the weights elsewhere/model.pt, not its own checkpoints/best.pt" in caplog.text
    described = describe_runs(require_scored_apart([run]), PROBABILITY_SCORING)
    assert described["scoring"] == [{"checkpoint": "elsewhere/model.pt", "tta": True}]
    assert len(described["remarks"]) == 1


def test_errors_of_unscored_runs_and_changed_labels_are_refused(
    trained: Path, own_phantom: Path, tmp_path: Path
) -> None:
    name = next(iter(dice_of(trained / SCORES)))
    masks = sorted((own_phantom / name).glob("*_mask.tif"))
    for mask in masks:
        tifffile.imwrite(mask, 255 - tifffile.imread(mask))
    with pytest.raises(LggError, match=rf"patient {name}: image or label in .* are not those that .*evaluation scored"):
        explain_errors([trained], tmp_path / "out", own_phantom)
    record = json.loads((trained / "datalist.json").read_text())["test"][0]
    with pytest.raises(LggError, match=r"there is no .*elsewhere: copy it there, or give --dataset_dir, the folder"):
        LabelReader().of(require_scored_apart([trained])[0], record | {"image": str(tmp_path / "elsewhere")}, ())
    for mask in masks:
        mask.unlink()
    with pytest.raises(LggError, match=rf"no masks .* in .*{name}"):
        explain_errors([trained], tmp_path / "out", own_phantom)
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    with pytest.raises(LggError, match=r"is tested in .* and .*: give runs that were tested on different"):
        explain_errors([trained, copy], tmp_path / "out", own_phantom)
    shutil.rmtree(copy / "evaluation")
    with pytest.raises(LggError, match="it was not evaluated: evaluate it first"):
        explain_errors([copy], tmp_path / "out", own_phantom)
    assert not (tmp_path / "out").exists()


def test_a_label_of_the_same_size_in_another_place_is_refused(
    trained: Path, phantom: Path, own_phantom: Path, tmp_path: Path
) -> None:
    """Shape and number of voxels were all that told ensembles and rules whose labels they read."""
    members = halves(trained, phantom, tmp_path)
    name = next(iter(dice_of(trained / SCORES)))
    for mask in (own_phantom / name).glob("*_mask.tif"):
        tifffile.imwrite(mask, np.flipud(tifffile.imread(mask)))
    with pytest.raises(LggError, match=rf"patient {name}: image or label in .* by --dataset_dir, or train"):
        score_ensemble(members, tmp_path / "out", own_phantom)


def test_rules_are_chosen_over_folds(
    trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LggError, match="is one run: give a cross-validation"):
        choose_rule([trained], tmp_path / "out", phantom)
    for fold, part in enumerate(("test", "validation")):
        folder = Path(shutil.copytree(trained, tmp_path / "cv" / f"fold_{fold}"))
        content = json.loads((folder / "datalist.json").read_text())
        content["test"], content[part] = content[part], content["test"]
        (folder / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(LggError, match="its evaluation scored 0 of its 2 test patients: evaluate it first"):
        choose_rule([tmp_path / "cv"], tmp_path / "out", phantom)
    monkeypatch.chdir(REPOSITORY)
    settings = {**SETTINGS, "dataset_dir": str(phantom), "output_dir": str(folder)}
    execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", {**settings, "probabilities": True})
    with pytest.raises(LggError, match=r"fold_0 holds no probabilities: evaluate it with --probabilities True"):
        choose_rule([tmp_path / "cv"], tmp_path / "out", phantom)
    settings["output_dir"] = str(tmp_path / "cv" / "fold_0")
    execute(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", {**settings, "probabilities": True})

    words = ("rules", tmp_path / "cv", "--dataset_dir", phantom, "--output", tmp_path / "out")
    code, out, _ = Command(monkeypatch, capsys)(*words)
    assert code == 0
    assert "cross_fitted" in out
    assert "PHANTOM" in out
    rows = table(tmp_path / "out" / "patients.csv")
    scored = dice_of(tmp_path / "cv/fold_0" / SCORES) | dice_of(tmp_path / "cv/fold_1" / SCORES)
    # Probabilities are kept in 255 steps, so a voxel at the threshold may turn.
    assert {row["patient"]: float(row["present"]) for row in rows} == pytest.approx(scored, abs=2e-3)
    lines = table(tmp_path / "out" / "rules.csv")
    assert len(lines) == len(RULES)
    best = json.loads((tmp_path / "out" / "rules.json").read_text())["best"]
    assert best["mean_dice"] == pytest.approx(max(float(line["mean_dice"]) for line in lines), abs=1e-6)

    # Each fold has a rule of its own that suits it, and is ruined by that of the other, which is what it is judged by.
    labels = {patient.name: patient for patient in find_patients(phantom)}
    for fold, (inside, outside) in enumerate(((0.4, 0.1), (0.9, 0.6))):
        evaluation = tmp_path / "cv" / f"fold_{fold}" / "evaluation"
        for name in dice_of(evaluation / "patients.csv"):
            label = np.asarray(read_patient(labels[name])[1])[0] > 0
            write_probability(evaluation / "probabilities" / f"{name}.npz", np.where(label, inside, outside))
    content = choose_rule([tmp_path / "cv"], tmp_path / "apart", phantom, [MaskRule(0.3, 0, 0), MaskRule(0.7, 0, 0)])
    chosen = {rule["run"]: rule["threshold"] for rule in content["cross_fitted"]["chosen_by_fold"]}
    assert chosen == {"fold_0": 0.7, "fold_1": 0.3}
    assert content["cross_fitted"]["mean_dice"] < 0.4 < content["best"]["mean_dice"]

    # As fold 10, it comes after fold 1, and each patient keeps its fold's name.
    (tmp_path / "cv" / "fold_0").rename(tmp_path / "cv" / "fold_10")
    content = choose_rule([tmp_path / "cv"], tmp_path / "ten", phantom, [MaskRule(0.3, 0, 0), MaskRule(0.7, 0, 0)])
    chosen = {rule["run"]: rule["threshold"] for rule in content["cross_fitted"]["chosen_by_fold"]}
    assert chosen == {"fold_1": 0.3, "fold_10": 0.7}
    for row in table(tmp_path / "ten" / "patients.csv"):
        assert row["patient"] in dice_of(tmp_path / "cv" / row["run"] / SCORES)


def halves(trained: Path, phantom: Path, folder: Path) -> list[Path]:
    """Two scored runs: each is sure of one half of every tumour, by a little more than the other one doubts it."""
    members = [Path(shutil.copytree(trained, folder / name)) for name in ("left", "right")]
    labels = {patient.name: patient for patient in find_patients(phantom)}
    for name in dice_of(trained / SCORES):
        label = np.asarray(read_patient(labels[name])[1])[0] > 0
        left = np.arange(len(label))[:, None, None] < np.nonzero(label)[0].mean()
        for member, half in zip(members, (left, ~left), strict=True):
            probability = np.where(label, np.where(half, 0.9, 0.2), 0.1)
            write_probability(member / "evaluation" / "probabilities" / f"{name}.npz", probability)
    return members


def test_an_ensemble_finds_what_either_member_misses(trained: Path, phantom: Path, tmp_path: Path) -> None:
    members = halves(trained, phantom, tmp_path)
    content = score_ensemble(members, tmp_path / "out", phantom, MaskRule(0.5, 0, 0))
    assert content == json.loads((tmp_path / "out" / "ensemble.json").read_text())
    assert content["ensemble"]["volume_dice"]["mean"] == 1
    rows = table(tmp_path / "out" / "patients.csv")
    assert [row["patient"] for row in rows] == sorted(dice_of(trained / SCORES))
    assert all(float(row["volume_dice"]) == 1 for row in rows)
    for label in ("left", "right"):
        own = content["members"][label]
        alone = [float(row[f"volume_dice {label}"]) for row in rows]
        assert 0 < np.mean(alone) < 0.9
        assert own["volume_dice"]["mean"] == pytest.approx(np.mean(alone), abs=1e-6)
        assert own["difference"]["volume_dice"]["difference"] == pytest.approx(1 - np.mean(alone), abs=1e-6)
        assert own["difference"]["volume_dice"]["higher"] == len(rows)


def test_the_ensemble_command_scores_members_as_their_evaluations_did(
    trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    members = halves(trained, phantom, tmp_path)
    for name in dice_of(trained / SCORES):
        mask = read_prediction(trained / "evaluation" / "predictions" / f"{name}.npz")
        write_probability(members[0] / "evaluation" / "probabilities" / f"{name}.npz", mask.astype(float))
    words = ("ensemble", *members, "--dataset_dir", phantom, "--output", tmp_path / "out")
    code, out, _ = Command(monkeypatch, capsys)(*words)
    assert code == 0
    expected = dice_of(trained / SCORES)
    found = {row["patient"]: float(row["volume_dice left"]) for row in table(tmp_path / "out" / "patients.csv")}
    assert found == pytest.approx(expected, abs=1e-6)
    assert f"left      {np.mean(list(expected.values())):.3f}, median" in out
    assert "PHANTOM" in out


def test_members_that_do_not_fit_together_are_refused(trained: Path, phantom: Path, tmp_path: Path) -> None:
    members = halves(trained, phantom, tmp_path)

    def refused(message: str, *sources: Path) -> None:
        with pytest.raises(LggError, match=message):
            score_ensemble(sources, tmp_path / "out", phantom)
        assert not (tmp_path / "out").exists()

    refused("1 model given: give two or more", members[0])
    refused("right is given twice", *members, members[1])
    refused("unet holds no probabilities: evaluate it with --probabilities True", members[0], trained)
    name = next(iter(dice_of(trained / SCORES)))
    lost = members[1] / "evaluation" / "probabilities" / f"{name}.npz"
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(LggError, match=rf"lacks the probabilities of patient {name} \(1 of 2 in all\): copy them"):
        score_ensemble(members, tmp_path / "out", phantom, progress=lambda *_: pytest.fail("patients were scored"))
    lost.write_bytes(kept)
    path = members[1] / "datalist.json"
    content = json.loads(path.read_text())
    content["test"] = [entry for entry in content["test"] if entry["patient"] != name]
    path.write_text(json.dumps(content))
    scores = (members[1] / SCORES).read_text().splitlines(keepends=True)
    (members[1] / SCORES).write_text("".join(line for line in scores if not line.startswith(name)))
    refused(rf"patient {name} is tested in left but not in right \(1 such patients\)", *members)


def test_a_bundle_is_taken_with_its_shipped_weights(trained: Path, phantom: Path, tmp_path: Path) -> None:
    config = json.loads((trained / "run.json").read_text())["config"]
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({**config, "bundle_root": str(tmp_path)}))
    with pytest.raises(SystemExit, match=r"no checkpoint .*models/model\.pt"):
        load_model(bundle, phantom)
    (tmp_path / "models").mkdir()
    shutil.copy(trained / "checkpoints" / "best.pt", tmp_path / "models" / "model.pt")
    model, run = load_model(bundle, phantom), load_model(trained, phantom)
    assert len(model.datalist["patients"]) == 10  # nothing says which patients are its test patients
    image = run.read(run.datalist["patients"][0])
    torch.testing.assert_close(model.probability(image), run.probability(image))


def test_a_bundle_with_a_runs_weights_knows_what_that_run_saw(trained: Path, phantom: Path, tmp_path: Path) -> None:
    config = json.loads((trained / "run.json").read_text())["config"]
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({**config, "bundle_root": str(tmp_path)}))
    model = load_model(bundle, phantom, checkpoints=[trained / "checkpoints" / "best.pt"])
    listed = json.loads((trained / "datalist.json").read_text())
    parts = {entry["patient"]: entry["part"] for entry in model.datalist["patients"]}
    assert parts == {entry["patient"]: part for part in ("training", "validation", "test") for entry in listed[part]}
    assert len(model.datalist["seen"]) == len(listed["training"]) + len(listed["validation"])


def test_what_is_no_run_is_one_line(trained: Path, phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"no such run folder or bundle: .*nowhere: give .* bundles/unet\.yaml"):
        load_models([tmp_path / "nowhere"])
    with pytest.raises(LggError, match=r"no run\.json in .* or its folds: give .* a bundle's config such as"):
        load_models([tmp_path])
    (tmp_path / "rubbish.yaml").write_text("a: [")
    with pytest.raises(LggError, match="cannot read the bundle") as caught:
        load_models([tmp_path / "rubbish.yaml"])
    assert "\n" not in str(caught.value)
    (tmp_path / "run.json").write_text('{"config": {"network_def": {"_target_": "NoSuchNet"}}}')
    with pytest.raises(LggError, match="cannot be used") as caught:
        load_models([tmp_path])
    assert "\n" not in str(caught.value)


def test_preprocessing_that_crops_is_refused(trained: Path, phantom: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    record = json.loads((copy / "run.json").read_text())
    record["config"]["preprocessing"]["transforms"].append(
        {"_target_": "CenterSpatialCropd", "keys": ["image"], "roi_size": [32, 32, -1]}
    )
    (copy / "run.json").write_text(json.dumps(record))
    model = load_model(copy, phantom)
    with pytest.raises(LggError, match="changes the grid of a scan"):
        model.probability(model.read(model.datalist["patients"][0]))


class Command:
    """Run `lgg-monai` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[Any, str, str]:
        self.monkeypatch.setattr("sys.argv", ["lgg-monai", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self.capsys.readouterr()
        return caught.value.code, out, err


def test_the_commands_write_print_and_refuse_a_folder_that_is_not_empty(
    trained: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(monkeypatch, capsys)
    words = (trained, "--dataset_dir", phantom, "--output")
    code, out, _ = command("robustness", *words, tmp_path / "robustness", "--only", "flair alone")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[:-1]] == ["clean", "FLAIR alone"]
    assert "PHANTOM" in out
    code, out, _ = command("calibration", *words, tmp_path / "calibration")
    assert code == 0
    assert "expected calibration error, head" in out
    assert "rank correlation with Dice" in out
    code, out, _ = command("errors", *words, tmp_path / "errors")
    assert code == 0
    assert "mean volume Dice if they were mended" in out
    assert "PHANTOM" in out
    for name in ("robustness", "calibration", "errors"):
        code, out, err = command(name, *words, tmp_path / name)
        assert (code, out) == (1, "")
        assert err == f"lgg-monai: error: the output folder {tmp_path / name} is not empty: choose another --output\n"


def test_where_results_cannot_be_placed_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for output, message in (
        ("../file/a/b", "cannot write to the output folder .*file"),
        (".", "is the working directory"),
    ):
        with pytest.raises(LggError, match=message):
            require_new_folder(Path(output))
    for output in ("new", "../new/er", "../empty/../new"):
        require_new_folder(Path(output))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


def test_several_checkpoints_are_judged_by_their_mean_within_the_head(
    trained: Path, phantom: Path, tmp_path: Path
) -> None:
    files = [trained / "checkpoints" / "best.pt", tmp_path / "other.pt"]
    torch.save(bright_flair(2.0), files[1])
    model = load_model(trained, phantom, checkpoints=files)
    entry = model.datalist["patients"][0]
    image, label = model.read(entry), model.label_of(entry)[0].numpy() > 0
    mean = torch.stack([model.probability(image, number) for number in range(2)]).mean(dim=0)[0].numpy()
    head = head_of(np.asarray(image))
    _, counts, logits = judge_patient(model, entry)
    np.testing.assert_allclose(counts["head"].probability, count_voxels(mean, label, head)["head"].probability)
    np.testing.assert_array_equal(logits, count_logits(mean, label, head))
    assert 0 < head.sum() < head.size


def test_an_ensemble_is_the_mean_and_not_its_boldest_member(trained: Path, phantom: Path, tmp_path: Path) -> None:
    members = halves(trained, phantom, tmp_path)
    labels = {patient.name: patient for patient in find_patients(phantom)}
    for name in dice_of(trained / SCORES):
        label = np.asarray(read_patient(labels[name])[1])[0] > 0
        for member, inside in zip(members, (0.8, 0.1), strict=True):  # 0.45 on average
            write_probability(member / "evaluation" / "probabilities" / f"{name}.npz", np.where(label, inside, 0.0))
    content = score_ensemble(members, tmp_path / "out", phantom, MaskRule(0.5, 0, 0))
    assert content["ensemble"]["volume_dice"]["mean"] == 0
    assert content["members"]["left"]["volume_dice"]["mean"] == 1
