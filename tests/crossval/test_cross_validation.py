"""Cross-validation on the phantom: folds apart and together, interrupted, resumed, merged, and refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from lgg_monai.crossval import folds as folds_module
from lgg_monai.crossval import run as run_module
from lgg_monai.crossval.folds import claimed, fold_state
from lgg_monai.crossval.merge import merge_folds
from lgg_monai.crossval.plan import adopt_plan, make_plan, parse_overrides
from lgg_monai.crossval.run import cross_validate, draw_worst
from lgg_monai.engines.history import read_history
from lgg_monai.engines.predictions import read_prediction
from lgg_monai.engines.probabilities import read_probability
from lgg_monai.engines.summary import summarise
from lgg_monai.errors import LggError
from lgg_monai.files import sha256

TINY = [
    *("--device", "cpu", "--precision", "fp32", "--progress", "False", "--pictures", "False"),
    *("--max_epochs", "2", "--batch_size", "4", "--slices_per_epoch=8"),
    *("--network_def#channels", "[4,8]", "--network_def#strides", "[2]"),
]
FOLDS = 2


@pytest.fixture(autouse=True)
def _here(in_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The bundle's logging.conf would change the logging of the whole test session.
    monkeypatch.setattr(folds_module, "LOGGING", False)


def run(phantom: Path, output: Path, *chosen: int, **options: Any) -> tuple[dict[str, Any] | None, list[int]]:
    options = {"folds": FOLDS, "overrides": TINY, **options}
    return cross_validate("plain_unet", output, chosen=chosen, dataset_dir=phantom, **options)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = read(path)
    change(content)
    path.write_text(json.dumps(content))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LggError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def finished(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation whose folds were run apart, as on two machines; do not write into it (see `own`)."""
    folder = tmp_path_factory.mktemp("crossval")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds_module, "LOGGING", False)
        patch.chdir(Path(__file__).resolve().parents[2])
        assert run(phantom, folder / "one", 0, keep_probabilities=True) == (None, [1])
        assert run(phantom, folder / "other", 1, keep_probabilities=True) == (None, [0])
        shutil.copytree(folder / "other" / "fold_1", folder / "one" / "fold_1")
        shutil.rmtree(folder / "other")
        summary, waiting = run(phantom, folder / "one", keep_probabilities=True)
    assert summary is not None
    assert waiting == []
    return folder / "one"


@pytest.fixture
def own(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished cross-validation that a test may change; its pictures are not drawn again."""
    monkeypatch.setattr(run_module, "draw_worst", lambda *_: None)
    return Path(shutil.copytree(finished, tmp_path / "own"))


def test_a_block_that_draws_on_the_recipe_is_the_same_in_every_process(phantom: Path, tmp_path: Path) -> None:
    """As `docs/results/ablations/turns.yaml`; it need not use all settings of the recipe, such as missing_sequences."""
    file = tmp_path / "mine.yaml"
    names = [f"%configs/train.yaml::augmentation::transforms::{number}" for number in (7, 0)]
    block = {"_target_": "lgg_monai.transforms.BatchAugmentation", "seed": "@seed", "transforms": names}
    file.write_text(json.dumps({"augmentation": block}))
    overrides = [*TINY, "--augmentation", f"%{file}::augmentation"]
    assert run(phantom, tmp_path / "cv", 0, overrides=overrides) == (None, [1])
    merged, missing = run(phantom, tmp_path / "cv", 1, overrides=overrides)
    assert merged is not None
    assert missing == []


def test_every_patient_is_scored_once_by_a_model_that_never_saw_it(finished: Path, phantom: Path) -> None:
    rows = table(finished / "patients.csv")
    assert [row["patient"] for row in rows] == sorted(path.name for path in phantom.iterdir() if path.is_dir())
    for row in rows:
        datalist = read(finished / f"fold_{row['fold']}" / "datalist.json")
        parts = {part: [entry["patient"] for entry in datalist[part]] for part in ("training", "validation", "test")}
        assert [part for part, names in parts.items() if row["patient"] in names] == ["test"]
        own = next(one for one in table(finished / f"fold_{row['fold']}/evaluation/patients.csv")
                   if one["patient"] == row["patient"])  # fmt: skip
        assert {key: row[key] for key in own} == own
    assert {row["fold"] for row in rows} == {"0", "1"}


def test_the_summary_is_over_all_patients_and_tells_folds_sites_and_worst(finished: Path) -> None:
    summary, rows = read(finished / "summary.json"), table(finished / "patients.csv")
    dice = {row["patient"]: float(row["volume_dice"]) for row in rows}
    assert summary["patients"] == 10
    assert summary["phantom"] is True
    assert summary["volume_dice"]["mean"] == pytest.approx(np.mean(list(dice.values())))
    assert summary["volume_dice"]["median"] == pytest.approx(np.median(list(dice.values())))
    numbers = [{key: row[key] if key in ("patient", "site", "part") else float(row[key] or "nan") for key in row}
               for row in rows]  # fmt: skip
    assert summary["volume_dice"]["ci95"] == pytest.approx(summarise(numbers)["volume_dice"]["ci95"])
    assert {site: own["n"] for site, own in summary["by_site"].items()} == {"AA": 4, "BB": 3, "CC": 3}
    means = [np.mean([dice[row["patient"]] for row in rows if row["fold"] == str(fold)]) for fold in range(FOLDS)]
    assert [fold["scores"]["volume_dice"] for fold in summary["by_fold"]] == pytest.approx(means)
    assert summary["fold_spread"]["volume_dice"]["std"] == pytest.approx(np.std(means, ddof=1))
    assert [row["patient"] for row in summary["worst"]] == sorted(dice, key=lambda name: (dice[name], name))[:5]
    assert len(list((finished / "worst").glob("*.png"))) == 5


def test_kept_probabilities_are_those_of_the_masks(finished: Path) -> None:
    for row in table(finished / "patients.csv"):
        evaluation = finished / f"fold_{row['fold']}" / "evaluation"
        probability = read_probability(evaluation / "probabilities" / f"{row['patient']}.npz")
        mask = read_prediction(evaluation / "predictions" / f"{row['patient']}.npz")
        np.testing.assert_array_equal(probability > 0.5, mask)
        assert 0 < probability[mask].size < probability.size or not mask.any()


def test_repeating_the_command_trains_and_scores_nothing(
    own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("ran again"))
    before = (own / "patients.csv").read_bytes(), (own / "summary.json").read_bytes()
    run(phantom, own, keep_probabilities=True)
    assert ((own / "patients.csv").read_bytes(), (own / "summary.json").read_bytes()) == before


def test_patients_that_were_added_since_are_told_of(
    own: Path, own_phantom: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("ran again"))
    run(own_phantom, own)
    assert "are of other patients" not in caplog.text
    first = min(path for path in own_phantom.iterdir() if path.is_dir())
    shutil.copytree(first, own_phantom / "PHANTOM_AA_9999_20000101")
    run(own_phantom, own)
    assert f"than lie in {own_phantom}, such as PHANTOM_AA_9999_20000101 (1 in all): choose" in caplog.text


def test_an_unscored_fold_is_scored_without_training_again(
    own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own / "fold_1" / "evaluation")
    done: list[str] = []
    monkeypatch.setattr(folds_module, "run_bundle", lambda configs, kind, overrides: done.append(kind))
    assert fold_state(own / "fold_1") == "trained"
    assert run(phantom, own) == (None, [1])  # what stands for the bundle did not score it
    assert done == ["eval"]


class PowerCut(BaseException):
    """Ends a training as nothing in it expects."""


def test_an_interrupted_fold_is_resumed_to_the_same_numbers(
    finished: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(configs: list[str], kind: str, overrides: dict[str, Any]) -> None:
        workflow = ConfigWorkflow(configs, workflow_type=kind, logging_file=False, **overrides)
        workflow.initialize()
        workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), stop)
        workflow.run()

    def stop() -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(folds_module, "run_bundle", cut)
        with pytest.raises(PowerCut):
            run(phantom, tmp_path / "cut", 1)
    assert fold_state(tmp_path / "cut" / "fold_1") == "interrupted"
    assert run(phantom, tmp_path / "cut", 1) == (None, [0])
    assert read(tmp_path / "cut/fold_1/run.json")["resumed"]
    losses = [[row["loss"] for row in read_history(folder / "fold_1/history.csv")]
              for folder in (finished, tmp_path / "cut")]  # fmt: skip
    assert losses[0] == losses[1]
    scores = [table(folder / "fold_1/evaluation/patients.csv") for folder in (finished, tmp_path / "cut")]
    assert scores[0] == scores[1]


def test_a_fold_in_other_hands_is_passed_over_or_refused(
    own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own / "fold_1" / "evaluation")
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("ran a fold in other hands"))
    with claimed(own, 1) as ours:
        assert ours
        assert run(phantom, own) == (None, [1])
        assert "is being run by another process" in refusal(lambda: run(phantom, own, 1))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"overrides": [*TINY, "--learning_rate", "0.5"]}, "learning_rate"),
        ({"folds": 3}, "folds"),
        ({"overrides": [*TINY, "--tta", "True"]}, "(tta)"),
        ({"leave_one_site_out": True}, "split"),
    ],
)
def test_other_settings_are_refused_before_anything_runs(
    own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("ran with other settings"))
    message = refusal(lambda: run(phantom, own, **options))
    assert "began with other settings" in message
    assert named in message


@pytest.mark.parametrize("gone", ["fold_1", "fold_1/evaluation"])
def test_other_patients_are_refused_before_anything_runs(
    own: Path, own_phantom: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    shutil.rmtree(own / gone)
    done: list[str] = []
    monkeypatch.setattr(folds_module, "run_bundle", lambda configs, kind, overrides: done.append(kind))
    run(own_phantom, own, 1)
    assert done[-1] == "eval"
    shutil.rmtree(next(path for path in own_phantom.iterdir() if path.is_dir()))
    done.clear()
    message = refusal(lambda: run(own_phantom, own, 1))
    assert f"the patients in {own_phantom}, or how they are read, are not those of {own / 'fold_'}" in message
    assert not done


def test_a_run_folder_is_not_made_a_cross_validation(own: Path, phantom: Path) -> None:
    before = sorted((own / "fold_0").rglob("*"))
    assert "fold_0 is the folder of a run: choose another" in refusal(lambda: run(phantom, own / "fold_0"))
    assert sorted((own / "fold_0").rglob("*")) == before


def test_settings_of_the_machine_may_differ(own: Path, phantom: Path) -> None:
    summary, _ = run(phantom, own, overrides=[*TINY, "--device", "cuda:1", "--cache_dir", str(own / "elsewhere")])
    assert summary is not None


def test_the_path_of_the_config_is_that_of_a_machine(own: Path, phantom: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy("bundles/plain_unet.yaml", tmp_path / "mine.yaml"))
    summary, waiting = cross_validate(str(copy), own, FOLDS, dataset_dir=phantom, overrides=TINY)
    assert summary is not None
    assert waiting == []


def test_the_records_of_folds_are_enough_to_merge_them(finished: Path, phantom: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    for fold in range(FOLDS):
        for kept in ("run.json", "datalist.json", "history.csv", "evaluation/summary.json", "evaluation/patients.csv"):
            copy = records / f"fold_{fold}" / kept
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(finished / f"fold_{fold}" / kept, copy)
    summary, waiting = run(phantom, records)
    assert waiting == []
    assert summary == read(finished / "summary.json")
    assert table(records / "patients.csv") == table(finished / "patients.csv")


def learnt(name: str | None = None, fingerprint: str | None = None, part: str = "training") -> Callable[[Any], None]:
    """Put a patient into a part of a datalist's training: its first test patient, under another name or pixels."""

    def change(content: Any) -> None:
        first = content["test"][0]
        content[part].append({"patient": name or first["patient"], "fingerprint": fingerprint or first["fingerprint"]})

    return change


def learnt_another_scan(content: Any) -> None:
    """Put another scan of a test patient into the training."""
    name = content["test"][0]["patient"].rpartition("_")[0] + "_20300101"
    content["training"].append({"patient": name, "fingerprint": "another"})


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("run.json", lambda content: content["config"].update(seed=7), "was trained with other settings (seed)"),
        ("datalist.json", lambda content: content.update(fingerprint="x"), "was trained on other data"),
        ("datalist.json", lambda content: content.update(fold=0), "holds fold 0"),
        ("datalist.json", learnt(), "took part in its training"),
        ("datalist.json", learnt(part="validation"), "took part in its training"),
        ("datalist.json", learnt(name="renamed"), "took part in its training"),
        ("datalist.json", learnt_another_scan, "or another scan of this person, took part in its training"),
        ("datalist.json", lambda content: content.update(seen_before={"training": content["test"][:1]}), "took part"),
        ("datalist.json", learnt(name="another", fingerprint="another"), "patient another is tested in no fold"),
        ("evaluation/summary.json", lambda content: content.update(checkpoint="models/all.pt"), "not its own best.pt"),
        ("evaluation/summary.json", lambda content: content["config"].update(tta=True), "different settings (tta)"),
        ("evaluation/summary.json", lambda content: content.update(evaluated="2000"), "older than the end"),
    ],
)  # fmt: skip
def test_folds_that_do_not_belong_together_are_not_merged(
    own: Path, phantom: Path, file: str, change: Callable[[Any], None], message: str
) -> None:
    (own / "summary.json").unlink()
    edit(own / "fold_1" / file, change)
    plan = make_plan("plain_unet", FOLDS, dataset_dir=phantom, tokens=TINY)
    assert message in refusal(lambda: merge_folds(plan, own))
    assert not (own / "summary.json").exists()


def test_a_fold_that_was_scored_by_itself_since_is_merged(own: Path, phantom: Path) -> None:
    """As docs/evaluation.md scores a run: without what matters to its training alone. It was refused."""
    before = read(own / "summary.json")
    network = ["--network_def#channels", "[4,8]", "--network_def#strides", "[2]"]
    overrides = parse_overrides([*network, "--device", "cpu", "--precision", "fp32"])
    where = {"dataset_dir": str(phantom), "output_dir": str(own / "fold_0")}
    folds_module.run_bundle(["bundles/plain_unet.yaml", "configs/evaluate.yaml"], "eval", overrides | where)
    assert read(own / "fold_0/evaluation/summary.json")["config"]["slices_per_epoch"] is None
    summary, _ = run(phantom, own)
    assert summary is not None
    assert summary["volume_dice"] == before["volume_dice"]


def test_folds_made_by_other_versions_are_merged_and_told_of(
    own: Path, phantom: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(own / "summary.json")["remarks"] == []
    edit(own / "fold_1/run.json", lambda content: content.update(commit="abc", precision="bfloat16"))
    edit(own / "fold_1/run.json", lambda content: content["versions"].update(torch="1.0"))
    edit(own / "fold_0/evaluation/summary.json", lambda content: content.update(dtype="bfloat16"))
    edit(own / "fold_1/run.json", lambda content: content.update(made_with_before=[{"torch": "0.9", "threads": 4}]))
    summary, _ = run(phantom, own)
    assert summary is not None
    own_commit = read(own / "fold_0/run.json")["commit"]
    torch_version = read(own / "fold_0/run.json")["versions"]["torch"]
    assert summary["remarks"] == [
        "The folds were not trained alike: type is float32 (fold 0), bfloat16 (fold 1).",
        f"The folds were not trained alike: commit is {own_commit} (fold 0), abc (fold 1).",
        f"The folds were not trained alike: torch is {torch_version} (fold 0), 1.0 (fold 1).",
        "The folds were not scored alike: type is bfloat16 (fold 0), float32 (fold 1).",
        "Fold 1 was resumed with something else than what made its first part: torch 0.9, threads 4.",
    ]
    assert all(remark in caplog.text for remark in summary["remarks"])
    assert [fold["versions"]["torch"] for fold in summary["by_fold"]] == [torch_version, "1.0"]


def test_first_weights_are_compared_by_their_content(
    own: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("ran with other weights"))
    here, there, changed = (tmp_path / name for name in ("here.pt", "there.pt", "changed.pt"))
    for path, content in ((here, b"weights"), (there, b"weights"), (changed, b"others")):
        path.write_bytes(content)

    def began_with(path: Path, record: bool = True) -> None:
        """Say of all folds, each as on its own machine, that they began with a file."""
        (own / "cross_validation.json").unlink(missing_ok=True)
        digest = sha256(path) if record else None
        for fold in range(FOLDS):
            for name in ("run.json", "evaluation/summary.json"):
                edit(own / f"fold_{fold}" / name, lambda content: content["config"].update(initial_weights=str(path)))
            edit(own / f"fold_{fold}/datalist.json", lambda content: content.update(initial_weights_sha256=digest))

    def merged(path: Path) -> bool:
        summary, _ = run(phantom, own, overrides=[*TINY, "--initial_weights", str(path)])
        return summary is not None

    began_with(here)
    edit(own / "fold_1/evaluation/summary.json", lambda content: content["config"].update(initial_weights="elsewhere"))
    assert merged(there)
    assert merged(here)  # the plan that was written down took the other path
    message = refusal(lambda: merged(changed))
    assert "began with other settings (content of initial_weights)" in message
    (own / "cross_validation.json").unlink()
    assert f"{own / 'fold_0'} was trained with other settings (content of initial_weights)" in refusal(
        lambda: merged(changed)
    )
    (own / "cross_validation.json").unlink()
    here.write_bytes(b"others")  # under the same path
    assert "was trained with other settings (content of initial_weights)" in refusal(lambda: merged(here))
    (own / "cross_validation.json").unlink()
    assert "was trained with other settings (initial_weights)" in refusal(lambda: run(phantom, own))
    # What wrote no digest down, and weights that are not on this machine, are known by their path.
    for record, weights in ((False, there), (True, tmp_path / "gone.pt")):
        there.write_bytes(b"weights")
        (tmp_path / "gone.pt").write_bytes(b"weights")
        began_with(weights, record)
        (tmp_path / "gone.pt").unlink()
        assert merged(weights)
        (own / "cross_validation.json").unlink()
        assert "was trained with other settings (initial_weights)" in refusal(lambda: merged(tmp_path / "other.pt"))


@pytest.mark.parametrize("content", ["[]", '{"finished": true, "config": null}'])
def test_a_record_of_a_fold_that_is_none_is_one_line(own: Path, phantom: Path, content: str) -> None:
    (own / "fold_1" / "run.json").write_text(content)
    message = refusal(lambda: run(phantom, own))
    assert str(own / "fold_1") in message


def test_a_patient_tested_twice_is_refused(own: Path, phantom: Path) -> None:
    for part in ("datalist.json", "evaluation"):
        source, target = own / "fold_0" / part, own / "fold_1" / part
        (shutil.rmtree if target.is_dir() else Path.unlink)(target)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    edit(own / "fold_1/datalist.json", lambda content: content.update(fold=1))
    pretended = {"checkpoint": "fold_1/checkpoints/best.pt", "evaluated": "2999"}
    edit(own / "fold_1/evaluation/summary.json", lambda content: content.update(pretended))
    plan = make_plan("plain_unet", FOLDS, dataset_dir=phantom, tokens=TINY)
    assert "is tested in" in refusal(lambda: merge_folds(plan, own))


def test_scans_out_of_reach_cost_the_pictures_only(own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_worst", draw_worst)
    shutil.rmtree(own / "worst")
    for fold in range(FOLDS):
        path = own / f"fold_{fold}/datalist.json"
        path.write_text(path.read_text().replace(str(phantom), "/nowhere"))
    summary, _ = cross_validate("plain_unet", own, FOLDS, overrides=TINY)
    assert summary is not None
    assert not (own / "worst").exists()


def test_leave_one_site_out_has_a_fold_a_site(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[dict[str, Any]] = []
    monkeypatch.setattr(folds_module, "run_bundle", lambda configs, kind, overrides: done.append(overrides))
    assert run(phantom, tmp_path / "sites", leave_one_site_out=True) == (None, [0, 1, 2])
    assert [own["fold"] for own in done] == [0, 0, 1, 1, 2, 2]
    assert {own["split"] for own in done} == {"sites"}
    assert read(tmp_path / "sites/cross_validation.json")["sites"] == ["AA", "BB", "CC"]
    assert refusal(lambda: run(phantom, tmp_path / "sites", 3, leave_one_site_out=True)).startswith("unknown fold 3")


def test_one_site_cannot_be_left_out(own_phantom: Path, tmp_path: Path) -> None:
    for folder in own_phantom.glob("PHANTOM_[BC]*"):
        shutil.rmtree(folder)
    message = refusal(lambda: make_plan("plain_unet", leave_one_site_out=True, dataset_dir=own_phantom))
    assert "all patients are of site AA, by their names" in message
    assert "LGG_SITE_0001" in message


def test_overrides_are_read_as_monai_reads_them() -> None:
    tokens = ["--max_epochs", "2", "--network_def#channels", "[4,8]", "--learning_rate=1e-3", "--precision", "bf16"]
    assert parse_overrides(tokens) == {
        "max_epochs": 2,
        "network_def#channels": [4, 8],
        "learning_rate": 1e-3,
        "precision": "bf16",
    }


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["max_epochs", "2"], "cannot read 'max_epochs' as an override"),
        (["--max_epochs"], "cannot read '--max_epochs' as an override"),
        (["--fold", "1"], "fold cannot be overridden in a cross-validation: give --fold before --"),
        (["--resume", "true"], "resume cannot be overridden"),
        (["--checkpoint", "a.pt"], "each fold's best epoch is scored"),
    ],
)
def test_overrides_that_are_none_are_refused(tokens: list[str], message: str) -> None:
    assert message in refusal(lambda: parse_overrides(tokens))


def test_overrides_of_the_evaluation_are_kept_from_the_training(phantom: Path) -> None:
    plan = make_plan("pspnet", 3, dataset_dir=phantom, tokens=["--tta", "True", "--max_epochs", "7"])
    assert plan.overrides == {"max_epochs": 7, "folds": 3}
    assert plan.evaluation == {"tta": True}
    assert plan.settings["max_epochs"] == 7
    assert plan.settings["train"]["trainer"]["max_epochs"] == "@max_epochs"
    assert not {"fold", "device", "output_dir"} & set(plan.settings)


def test_folds_without_a_validated_epoch_are_refused_before_they_train(phantom: Path) -> None:
    tokens = ["--max_epochs", "2", "--val_interval"]
    message = refusal(lambda: make_plan("pspnet", 3, dataset_dir=phantom, tokens=[*tokens, "5"]))
    assert message.endswith("no epoch would be validated and none the best: give --val_interval 2 or less")
    assert make_plan("pspnet", 3, dataset_dir=phantom, tokens=[*tokens, "2"]).settings["val_interval"] == 2
    # Where no patient validates, the last epoch is what is scored.
    assert make_plan("pspnet", 3, dataset_dir=phantom, tokens=[*tokens, "3", "--validation_fraction", "0"])


def test_a_bundle_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "no config bundles/vnet.yaml here" in refusal(lambda: make_plan("vnet"))
    monkeypatch.chdir(tmp_path)
    assert "run from the repository's root" in refusal(lambda: make_plan("plain_unet"))


@pytest.mark.parametrize(("key", "value"), [("tta", "true"), ("smallest_share", "2"), ("smallest_component", "-1")])
def test_what_the_evaluation_refuses_is_refused_before_the_training(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    """All folds were trained first, and the mended command was another cross-validation."""
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit, match=f"lgg-monai: error: {key} is"):
        run(phantom, tmp_path / "cv", overrides=[*TINY, f"--{key}", value])
    assert not (tmp_path / "cv").exists()


def test_a_config_that_could_not_be_scored_is_refused_before_the_training(phantom: Path, tmp_path: Path) -> None:
    lacking = Path("bundles/plain_unet.yaml").read_text().replace('batch_size: "%bundles/unet.yaml::batch_size"', "")
    (tmp_path / "own.yaml").write_text(lacking)
    assert "batch_size" not in lacking
    message = refusal(lambda: make_plan(str(tmp_path / "own.yaml"), dataset_dir=phantom))
    assert "cannot score what" in message
    assert "batch_size" in message


@pytest.mark.parametrize("existing", [False, True])
def test_settings_that_training_refuses_leave_nothing_behind(existing: bool, phantom: Path, tmp_path: Path) -> None:
    output = tmp_path / "cv"
    if existing:
        output.mkdir()
        (output / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match="learning_rate"):
        run(phantom, output, overrides=[*TINY, "--learning_rate", "-1"])
    assert [path.name for path in output.rglob("*")] == (["notes.txt"] if existing else [])
    assert output.exists() == existing
    with pytest.raises(SystemExit, match="no such dataset folder"):  # for which the fold's folder is made
        run(tmp_path / "nowhere", output, 1)
    assert output.exists() == existing
    assert run(phantom, output, 0, overrides=[*TINY, "--learning_rate", "1.0e-3"]) == (None, [1])


def test_what_a_later_fold_is_refused_for_is_told_before_the_first_trains(
    finished: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fold was trained for nothing: other weights, or another split, are another cross-validation."""
    learnt_by_first, tested_in_second = (
        {entry["patient"] for entry in read(finished / f"fold_{fold}" / "datalist.json")[part]}
        for fold, part in ((0, "training"), (1, "test"))
    )
    known = min(learnt_by_first & tested_in_second)
    weights = tmp_path / "weights" / "model.pt"
    weights.parent.mkdir()
    shutil.copy(finished / "fold_0" / "checkpoints" / "best.pt", weights)
    datalist = {"training": [{"patient": known}], "validation": [], "test": []}
    (weights.parent / "datalist.json").write_text(json.dumps(datalist))
    monkeypatch.setattr(folds_module, "run_bundle", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit, match=f"test patient {known} .* is known to"):
        run(phantom, tmp_path / "cv", overrides=[*TINY, "--initial_weights", str(weights)])
    assert not list((tmp_path / "cv").glob("[!c]*"))  # nothing but the cache


def test_a_plan_that_another_process_goes_by_stays(phantom: Path, tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(SystemExit, match="learning_rate"):
            run(phantom, tmp_path, 0, overrides=[*TINY, "--learning_rate", "-1"])

    with claimed(tmp_path, 1):
        refused()
        assert (tmp_path / "cross_validation.json").is_file()
    refused()  # by a plan that was there before
    assert (tmp_path / "cross_validation.json").is_file()


def test_a_folder_with_something_else_is_not_taken_for_a_plan(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "cross_validation.json").write_text("[]")
    plan = make_plan("plain_unet", FOLDS, dataset_dir=phantom, tokens=TINY)
    assert "is no plan of a cross-validation" in refusal(lambda: adopt_plan(plan, tmp_path))


def test_the_command_says_what_is_left_to_do(
    own: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lgg_monai.cli import main

    monkeypatch.setattr(
        "sys.argv",
        [
            "lgg-monai",
            *("cross-validate", "--bundle", "plain_unet", "--folds", "2"),
            *("--dataset_dir", str(phantom), "--output", str(own)),
            *("--", *TINY),
        ],
    )
    monkeypatch.setattr(run_module, "run_fold", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        main()
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert "volume_dice" in out
    assert "fold 1" in out
    shutil.rmtree(own / "fold_0")
    with pytest.raises(SystemExit):
        main()
    assert "folds still to run: 0;" in capsys.readouterr().out
