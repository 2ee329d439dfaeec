"""The bundles as users run them: training, resuming and evaluating on the phantom, in this process where possible."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.networks.nets import UNet
from PIL import Image
from skimage import measure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lgg_monai.data.convert import convert
from lgg_monai.data.patients import Patient, read_patient
from lgg_monai.data.phantom import PHANTOM_MARKER, write_phantom
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.history import COLUMNS, read_history
from lgg_monai.files import sha256

REPOSITORY = Path(__file__).resolve().parents[1]
UNET = "bundles/plain_unet.yaml"
EVALUATE = [UNET, "configs/evaluate.yaml"]
TINY = {
    "device": "cpu",
    "precision": "fp32",
    "progress": False,
    "max_epochs": 3,
    "batch_size": 4,
    "slices_per_epoch": 16,
    "network_def#channels": [4, 8, 8],
    "network_def#strides": [2, 2],
}
OF_THE_MACHINE = ("seconds", "elapsed_seconds", "slices_per_second", "peak_memory_mb")
METRICS = [  # the table of conventions; none is ever given without its name
    "volume_dice",
    "volume_iou",
    "pooled_iou",
    "tumour_slice_iou",
    "all_slice_iou",
    "false_positive_slices",
    "hd95_px",
    "surface_dice_2px",
    "sensitivity",
    "precision",
]


def workflow(config: str | list[str], data: Path, run: Path, **override: Any) -> ConfigWorkflow:
    """Read a bundle with the smallest settings; `override` goes on top."""
    settings = {**TINY, "dataset_dir": str(data), "output_dir": str(run), **override}
    # Without its logging.conf, which would change the logging of the whole test session.
    return ConfigWorkflow(
        config_file=config,
        logging_file=False,
        meta_file=str(REPOSITORY / "bundles/plain_unet/metadata.json"),
        workflow_type="train" if config == UNET else "eval",
        **settings,
    )


def execute(config: str | list[str], data: Path, run: Path, **override: Any) -> None:
    """Run a bundle; `%configs/...` in it resolves against the working directory."""
    with contextlib.chdir(REPOSITORY):
        bundle = workflow(config, data, run, **override)
        bundle.initialize()
        bundle.run()
        bundle.finalize()


def refusal(config: str | list[str], data: Path, run: Path, **override: Any) -> str:
    """The one line with which a bundle refuses to run."""
    with pytest.raises(SystemExit) as caught:
        execute(config, data, run, **override)
    message = str(caught.value)
    assert message.startswith("lgg-monai: error: ")
    assert "\n" not in message
    return message.removeprefix("lgg-monai: error: ")


def history(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's history, without what differs from machine to machine."""
    rows = read_history(run / "history.csv")
    return [{key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in rows]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def weights(run: Path, name: str = "last") -> Any:
    return torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("best", "last"):
        torch.testing.assert_close(weights(one, name), weights(other, name), rtol=0, atol=0)


def patients(run: Path) -> list[dict[str, str]]:
    with (run / "evaluation" / "patients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs; do not write into it (see `own_run`)."""
    run = tmp_path_factory.mktemp("runs") / "unet"
    execute(UNET, phantom, run)
    return run


@pytest.fixture
def own_run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def evaluated(trained: Path, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, evaluated on its test patients."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "unet"))
    execute(EVALUATE, phantom, run)
    return run


# Training


def test_history_has_a_row_of_finite_numbers_for_every_epoch(trained: Path) -> None:
    rows = read_history(trained / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(tuple(row) == COLUMNS for row in rows)
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert all(0 <= row[name] <= 1 for row in rows for name in COLUMNS if name.endswith(("iou", "dice")))
    assert rows[-1]["learning_rate"] == 0  # the schedule ends with the training
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_run_json_says_what_ran(trained: Path, phantom: Path) -> None:
    run = read(trained / "run.json")
    assert run["finished"] is True
    assert run["epochs"] == 3
    assert run["phantom"] is True
    assert run["seed"] == 0
    assert run["precision"] == "float32"
    assert run["device"].startswith("cpu (")
    assert run["versions"]["torch"] == torch.__version__
    assert run["data"]["fingerprint"] == read(trained / "datalist.json")["fingerprint"]
    assert run["data"]["dataset_dir"] == str(phantom)
    assert run["parameters"] == sum(value.numel() for value in network().parameters())
    assert {key: run["config"][key] for key in ("max_epochs", "batch_size", "device")} == {
        "max_epochs": 3,
        "batch_size": 4,
        "device": "cpu",
    }
    assert run["config"]["network_def"]["channels"] == [4, 8, 8]
    assert run["config"]["train"]["trainer"]["max_epochs"] == "@max_epochs"  # what % refers to is in it


def test_datalist_json_parts_all_patients(trained: Path, phantom: Path) -> None:
    datalist = read(trained / "datalist.json")
    names = [entry["patient"] for part in ("training", "validation", "test") for entry in datalist[part]]
    assert sorted(names) == sorted(path.name for path in phantom.iterdir() if path.is_dir())
    assert [len(datalist[part]) for part in ("training", "validation", "test")] == [6, 2, 2]
    assert datalist["phantom"] is True
    assert len(datalist["fingerprint"]) == 64


def network() -> UNet:
    """The network of `TINY`, as plain MONAI builds it."""
    return UNet(2, 3, 1, channels=(4, 8, 8), strides=(2, 2), num_res_units=2, norm="batch")


def test_training_goes_on_from_given_weights(phantom: Path, trained: Path, tmp_path: Path) -> None:
    given = trained / "checkpoints" / "best.pt"
    settings = {"initial_weights": str(given), "max_epochs": 1, "learning_rate": 1e-9}
    execute(UNET, phantom, tmp_path / "run", **settings)
    before, after = weights(trained, "best"), weights(tmp_path / "run", "best")
    learnt = [name for name, _ in network().named_parameters()]
    torch.testing.assert_close({name: after[name] for name in learnt}, {name: before[name] for name in learnt})
    first, one = history(tmp_path / "run")
    assert [first["epoch"], one["epoch"]] == [0, 1]
    of_these = history(trained)[weights(trained)["progress"]["best_epoch"] - 1]
    assert first["val_volume_dice"] == of_these["val_volume_dice"]
    execute(UNET, phantom, tmp_path / "run", **settings | {"resume": True, "max_epochs": 2})
    assert [row["epoch"] for row in history(tmp_path / "run")] == [0, 1, 2]
    message = refusal(UNET, phantom, tmp_path / "other", fold=1, **settings)
    assert f"is known to {given}, so its score would flatter" in message
    seen = read(tmp_path / "run" / "datalist.json")["seen_before"]
    assert len(seen["training"]) == len(read(trained / "datalist.json")["training"])
    assert read(tmp_path / "run" / "datalist.json")["initial_weights_sha256"] == sha256(given)
    assert not (tmp_path / "other" / "run.json").exists()
    message = refusal(UNET, phantom, tmp_path / "none", **settings | {"initial_weights": str(tmp_path / "no.pt")})
    assert message.startswith(f"no checkpoint {tmp_path / 'no.pt'}")


@pytest.mark.parametrize(("bundle", "rate"), [("unet", 1e-3), ("pspnet", 1e-3), ("plain_unet", 3e-3)])
def test_a_network_is_trained_further_with_a_tenth_of_the_learning_rate(bundle: str, rate: float) -> None:
    with contextlib.chdir(REPOSITORY):
        parser = ConfigParser(ConfigParser.load_config_files(f"bundles/{bundle}.yaml"))
        parser.resolve_macro_and_relative_ids()
    assert parser.get_parsed_content("learning_rate") == rate
    parser["initial_weights"] = "model.pt"
    assert parser.get_parsed_content("learning_rate") == pytest.approx(rate / 10)


def test_a_setting_that_asks_for_the_data_leaves_the_earlier_runs_list_alone(
    phantom: Path, own_run: Path, tmp_path: Path
) -> None:
    """It is resolved before the run folder is prepared; the earlier run then had the new one's test patients."""
    before = read(own_run / "datalist.json")
    execute(UNET, phantom, own_run, fold=1, max_epochs=1, slices_per_epoch="$len(@train#dataset) // 20")
    (aside,) = tmp_path.glob("run-until-*")
    assert read(aside / "datalist.json") == before
    assert (read(own_run / "datalist.json")["fold"], before["fold"]) == (1, 0)


def test_checkpoints_hold_the_best_and_the_last_epoch(trained: Path) -> None:
    last = weights(trained)
    scores = [row["val_volume_iou"] for row in history(trained)]
    assert last["progress"]["epoch"] == 3
    assert last["progress"]["iteration"] == 12
    assert last["progress"]["best_metric"] == pytest.approx(max(scores))
    assert last["progress"]["best_epoch"] == scores.index(max(scores)) + 1
    assert set(last) == {"model", "averaged_model", "optimizer", "lr_scheduler", "random", "progress"}
    network().load_state_dict(weights(trained, "best"))
    assert any(not torch.equal(last["model"][key], last["averaged_model"][key]) for key in last["model"])
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["best.pt", "last.pt"]


def test_tensorboard_shows_the_numbers_of_the_history_and_pictures(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    rows = history(trained)
    for tag, column in {
        "loss/training": "loss",
        "loss/validation": "val_loss",
        "iou/validation_volume": "val_volume_iou",
        "dice/validation_volume": "val_volume_dice",
        "optimizer/learning_rate": "learning_rate",
    }.items():
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == pytest.approx([row[column] for row in rows], rel=1e-6)
    assert events.Tags()["images"] == ["validation/1", "validation/2"]  # one each of the two patients
    pictures = events.Images("validation/1")
    assert [picture.step for picture in pictures] == [1, 3]  # the first epoch and the last
    assert pictures[0].width == 128
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")


def test_check_properties_finds_nothing_missing(phantom: Path, tmp_path: Path) -> None:
    with contextlib.chdir(REPOSITORY):
        bundle = workflow(UNET, phantom, tmp_path / "run")
        bundle.initialize()
        assert bundle.check_properties() == []
        assert bundle.max_epochs == 3
        assert len(bundle.train_dataset) > 6  # slices, not patients


def test_the_same_seed_gives_the_same_numbers(trained: Path, phantom: Path, tmp_path: Path) -> None:
    torch.rand(17)  # what ran before must not matter
    execute(UNET, phantom, tmp_path / "run")
    assert history(tmp_path / "run") == history(trained)
    assert_same_weights(tmp_path / "run", trained)


def test_another_seed_gives_other_numbers(trained: Path, phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", seed=1)
    for one, other in zip(history(tmp_path / "run"), history(trained), strict=True):
        assert one["loss"] != other["loss"]
        assert one["val_loss"] != other["val_loss"]


class PowerCut(BaseException):
    """Ends a training as nothing in it expects."""


@pytest.mark.parametrize("iteration", [2, 10], ids=["in the first epoch", "in the last epoch"])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(
    trained: Path, phantom: Path, tmp_path: Path, iteration: int
) -> None:
    run = tmp_path / "run"

    def cut() -> None:
        raise PowerCut

    with contextlib.chdir(REPOSITORY):
        bundle = workflow(UNET, phantom, run)
        bundle.initialize()
        bundle.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), cut)
        with pytest.raises(PowerCut):
            bundle.run()
    assert len(read_history(run / "history.csv")) == (iteration - 1) // 4
    assert read(run / "run.json")["finished"] is False
    execute(UNET, phantom, run, resume=True)
    assert history(run) == history(trained)
    assert_same_weights(run, trained)
    assert read(run / "run.json")["finished"] is True


def test_resuming_a_finished_run_changes_nothing(own_run: Path, phantom: Path) -> None:
    before = tree(own_run)
    execute(UNET, phantom, own_run, resume=True)
    after = tree(own_run)
    assert [name for name in after if after[name] != before.get(name)] == []
    assert after.keys() == before.keys()


def test_a_finished_run_can_be_trained_for_longer(own_run: Path, trained: Path, phantom: Path) -> None:
    execute(UNET, phantom, own_run, resume=True, max_epochs=5)
    rows = history(own_run)
    assert rows[:3] == history(trained)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    # The schedule is that of five epochs of four steps, the first of which warms up: no jump back to a high rate.
    assert [row["learning_rate"] / 3e-3 for row in rows[3:]] == pytest.approx(
        [(1 + np.cos(np.pi * 15 / 19)) / 2, 0], abs=1e-9
    )


def test_resuming_on_another_fold_is_refused(own_run: Path, phantom: Path) -> None:
    before = tree(own_run)
    assert "resume with the same --fold, --folds" in refusal(UNET, phantom, own_run, resume=True, fold=1)
    assert tree(own_run) == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"seed": 1}, "(seed)"),
        ({"network_def#channels": [4, 8, 16]}, "(network_def)"),
        ({"learning_rate": 1.0e-4, "weight_decay": 0.5}, "(learning_rate, weight_decay)"),
        ({"precision": "bf16", "val_interval": 2, "early_stop": 9, "cache": "disk"}, "(precision)"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    own_run: Path, phantom: Path, override: dict[str, Any], named: str
) -> None:
    before = tree(own_run)
    message = refusal(UNET, phantom, own_run, resume=True, max_epochs=4, **override)
    assert f"began with other settings {named}: resume with those" in message
    assert tree(own_run) == before


def test_resuming_on_changed_data_is_refused(own_run: Path, own_phantom: Path) -> None:
    mask = next(own_phantom.rglob("*_4_mask.tif"))
    pixels = np.asarray(Image.open(mask)).copy()
    pixels[10:20, 10:20] = 255 - pixels[10:20, 10:20]
    Image.fromarray(pixels).save(mask)
    assert "the data, or how they are read, changed since" in refusal(UNET, own_phantom, own_run, resume=True)


def test_a_second_run_sets_the_first_aside(own_run: Path, phantom: Path) -> None:
    before = tree(own_run)
    execute(UNET, phantom, own_run, max_epochs=1, slices_per_epoch=4)
    assert len(read_history(own_run / "history.csv")) == 1
    (aside,) = own_run.parent.glob("run-until-*")
    assert tree(aside) == before


def test_early_stop_ends_training(phantom: Path, tmp_path: Path) -> None:
    # With a rate of 0 and no running statistics nothing changes, so no epoch is better than the first.
    override = {"learning_rate": 1e-30, "network_def#norm": "instance"}
    execute(UNET, phantom, tmp_path / "run", max_epochs=6, early_stop=2, slices_per_epoch=4, **override)
    assert [row["epoch"] for row in history(tmp_path / "run")] == [1, 2, 3]
    run = read(tmp_path / "run" / "run.json")
    assert run["ended"] is not None
    assert run["epochs"] == 3
    settings = {"max_epochs": 6, "slices_per_epoch": 4, **override, "resume": True}
    execute(UNET, phantom, tmp_path / "run", early_stop=2, **settings)
    assert len(history(tmp_path / "run")) == 3  # it had ended
    run = read(tmp_path / "run" / "run.json")
    assert (run["ended"] is not None, run["epochs"], run["finished"]) == (True, 3, False)
    execute(UNET, phantom, tmp_path / "run", early_stop=3, **settings)
    assert len(history(tmp_path / "run")) == 4  # more patience


def test_epochs_without_validation_have_empty_cells(phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", max_epochs=2, val_interval=2, slices_per_epoch=4)
    validation = [name for name in COLUMNS if name.startswith("val_")]
    for row in history(tmp_path / "run"):
        assert all((row[name] is not None) == (row["epoch"] == 2) for name in validation)
        assert row["loss"] is not None
    assert weights(tmp_path / "run")["progress"]["best_epoch"] == 2


def test_the_last_epoch_is_validated_whatever_the_interval(phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", max_epochs=3, val_interval=2, slices_per_epoch=4)
    assert [row["epoch"] for row in history(tmp_path / "run") if row["val_iou"] is not None] == [2, 3]


def test_pictures_come_with_the_first_and_the_last_validated_epoch(phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", max_epochs=8, val_interval=3, slices_per_epoch=4)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("validation/1")] == [3, 8]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"early_stop": 2, "validation_fraction": 0}, "early_stop is 2, but no patient validates an epoch"),
        ({"early_stop": 2, "fold": "all"}, "early_stop is 2, but no patient validates an epoch"),
        (
            {"early_stop": 2, "max_epochs": 3, "val_interval": 5},
            "early_stop is 2, but val_interval is above max_epochs, so no epoch is validated",
        ),
        (
            {
                "lr_scheduler": {
                    "_target_": "torch.optim.lr_scheduler.OneCycleLR",
                    "optimizer": "@optimizer",
                    "max_lr": 0.1,
                    "total_steps": 3,
                }
            },
            "OneCycleLR ends after 3 steps, but the training has ",
        ),
        ({"early_stop": -1}, "early_stop is -1: give a whole number from 0 up with --early_stop"),
        ({"warmup": 5}, "warmup is 5: give a number from 0 to 1 with --warmup"),
        ({"slices_per_epoch": "all"}, "slices_per_epoch is 'all': give a whole number from 1 up"),
        ({"slices_per_epoch": 0}, "slices_per_epoch is 0: give a whole number from 1 up with --slices_per_epoch"),
        ({"seed": "abc"}, "seed is 'abc': give a whole number from 0 up with --seed"),
        ({"patch_size": 50}, "the network takes no patches of 50 pixels"),
        ({"network_def#norm": "none of them"}, "cannot build network_def from the config"),
        ({"network_def#in_channels": 1}, "network_def#in_channels is 1, but the volumes have 3 channels"),
        ({"network_def#spatial_dims": 3}, "the network is three-dimensional"),
        ({"loss": {"_target_": "DiceLoss"}}, "the loss of right masks falls without end"),
        (
            {"lr_scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "optimizer": "@optimizer"}},
            "torch.optim.lr_scheduler.ReduceLROnPlateau wants metrics at each step",
        ),
        (
            {"lr_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer"}},
            "cannot build train::trainer from the config (TypeError",
        ),
        ({"lr_scheduler": "$None"}, "lr_scheduler is None, which builds nothing: give a definition with _target_"),
        ({"fold": 9}, "unknown fold 9: --fold takes 0 to 4"),
        ({"precision": "fp61"}, "unknown precision 'fp61'"),
        ({"dataset_dir": "nowhere/at/all"}, "no such dataset folder: nowhere/at/all"),
        ({"datalist_file": "nowhere.json"}, "cannot read the datalist nowhere.json"),
        ({"cache": "disc"}, "unknown cache 'disc'"),
    ],
)
def test_settings_that_nothing_can_come_of_are_refused_before_a_run_is_set_aside(
    own_run: Path, phantom: Path, override: dict[str, Any], message: str
) -> None:
    before = tree(own_run)
    assert refusal(UNET, phantom, own_run, **override).startswith(message)
    assert tree(own_run) == before


def test_slices_of_any_size_are_validated_and_scored_by_a_deeper_network(own_phantom: Path, tmp_path: Path) -> None:
    deep = {"network_def#channels": [4, 4, 4, 4, 4, 4], "network_def#strides": [2, 2, 2, 2, 2], "patch_size": 32}
    for path in own_phantom.rglob("*.tif"):  # 48 is no multiple of the 32 that five halvings ask for
        with Image.open(path) as picture:
            Image.fromarray(np.asarray(picture)[8:56, 8:56]).save(path)
    execute(UNET, own_phantom, tmp_path / "run", max_epochs=1, slices_per_epoch=4, **deep)
    execute(EVALUATE, own_phantom, tmp_path / "run", **deep)
    assert patients(tmp_path / "run")


def test_an_interval_beyond_the_last_epoch_validates_none(phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", max_epochs=1, val_interval=2, slices_per_epoch=4)
    assert history(tmp_path / "run")[0]["val_iou"] is None
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.pt"]


def test_fold_all_trains_on_every_patient_to_the_last_epoch(phantom: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    execute(UNET, phantom, run, fold="all", max_epochs=2, slices_per_epoch=4)
    parts = json.loads((run / "datalist.json").read_text())
    assert (len(parts["training"]), parts["validation"], parts["test"]) == (len(list(phantom.glob("*/"))), [], [])
    assert all(row["loss"] > 0 and row["val_iou"] is None for row in history(run))
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    averaged = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["averaged_model"]
    assert all(torch.equal(best[key], value) for key, value in averaged.items())


def test_nifti_files_of_the_same_voxels_train_the_same(trained: Path, phantom: Path, tmp_path: Path) -> None:
    nifti = convert(phantom, tmp_path / "nifti")
    execute(UNET, nifti, tmp_path / "run")
    assert history(tmp_path / "run") == history(trained)
    assert_same_weights(tmp_path / "run", trained)
    assert read(tmp_path / "run" / "datalist.json")["fingerprint"] == read(trained / "datalist.json")["fingerprint"]
    assert read(tmp_path / "run" / "run.json")["phantom"] is True


OTHER_NETWORKS: dict[str, dict[str, Any]] = {
    "SegResNet": {
        "blocks_down": [1, 1],
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 1,
        "init_filters": 8,
        "blocks_up": [1],
    },
    "AttentionUnet": {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [4, 8], "strides": [2]},
}


@pytest.mark.parametrize("name", OTHER_NETWORKS)
def test_another_network_needs_its_definition_alone(name: str, phantom: Path, tmp_path: Path) -> None:
    definition = {"_target_": name, **OTHER_NETWORKS[name]}
    settings = {key: value for key, value in TINY.items() if not key.startswith("network_def")}
    settings |= {"dataset_dir": str(phantom), "output_dir": str(tmp_path / "run"), "network_def": definition}
    with contextlib.chdir(REPOSITORY):
        for config, changes in ((UNET, {"max_epochs": 1, "slices_per_epoch": 8}), (EVALUATE, {"pictures": False})):
            bundle = ConfigWorkflow(config_file=config, logging_file=False, **(settings | changes))
            bundle.initialize()
            bundle.run()
    assert np.isfinite(history(tmp_path / "run")[0]["val_loss"])
    assert read(tmp_path / "run" / "run.json")["config"]["network_def"] == definition
    assert len(patients(tmp_path / "run")) == 2


def test_a_block_of_the_recipe_is_replaced_by_one_of_another_file(phantom: Path, tmp_path: Path) -> None:
    step = {"_target_": "lgg_monai.transforms.RandomNoise", "probability": 1.0}
    augmentation = {"_target_": "lgg_monai.transforms.BatchAugmentation", "seed": "@seed", "transforms": [step]}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"augmentation": augmentation}))
    override = {"augmentation": f"%{tmp_path / 'recipe.yaml'}::augmentation"}
    # Without the random patches of the default recipe, slices stay as large as they are.
    execute(UNET, phantom, tmp_path / "run", max_epochs=1, **override)
    assert read(tmp_path / "run" / "run.json")["config"]["augmentation"] == augmentation
    assert len(history(tmp_path / "run")) == 1


def test_a_preprocessing_that_keeps_one_sequence_trains_and_evaluates(phantom: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(REPOSITORY / "configs/data.yaml")
    preprocessing = parser["preprocessing"]
    flair = {"_target_": "Lambdad", "keys": "image", "func": f"$lambda image: image[{FLAIR}:{FLAIR + 1}]"}
    preprocessing["transforms"].insert(-3, flair)
    own = {"preprocessing": preprocessing, "network_def#in_channels": 1}
    execute(UNET, phantom, tmp_path / "run", max_epochs=1, val_head_only=True, **own)
    execute(EVALUATE, phantom, tmp_path / "run", **own)
    assert any((tmp_path / "run" / "evaluation" / "overlays").iterdir())


def test_bfloat16_trains_and_evaluates_on_the_processor(phantom: Path, tmp_path: Path) -> None:
    execute(UNET, phantom, tmp_path / "run", precision="bf16", max_epochs=1, slices_per_epoch=8)
    assert read(tmp_path / "run" / "run.json")["precision"] == "bfloat16"
    assert all(value is not None and np.isfinite(value) for value in history(tmp_path / "run")[0].values())
    assert all(value.dtype != torch.bfloat16 for value in weights(tmp_path / "run", "best").values())
    execute(EVALUATE, phantom, tmp_path / "run", precision="bf16", pictures=False)
    assert read(tmp_path / "run" / "evaluation" / "summary.json")["dtype"] == "bfloat16"


def test_only_the_phantom_is_called_one(own_phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lgg_monai")
    execute(UNET, own_phantom, tmp_path / "synthetic", max_epochs=1, slices_per_epoch=4)
    assert "PHANTOM epoch 1/1" in caplog.text
    assert "PHANTOM: 10 patients" in caplog.text
    caplog.clear()
    (own_phantom / PHANTOM_MARKER).unlink()
    execute(UNET, own_phantom, tmp_path / "real", max_epochs=1, slices_per_epoch=4)
    assert "epoch 1/1" in caplog.text
    assert "PHANTOM epoch" not in caplog.text
    assert "PHANTOM:" not in caplog.text
    assert read(tmp_path / "real" / "run.json")["phantom"] is False


# Evaluation


def test_evaluation_writes_table_summary_and_pictures(evaluated: Path, trained: Path) -> None:
    rows = patients(evaluated)
    test = [entry["patient"] for entry in read(trained / "datalist.json")["test"]]
    assert [row["patient"] for row in rows] == test
    assert {row["part"] for row in rows} == {"test"}
    summary = read(evaluated / "evaluation" / "summary.json")
    assert summary["subset"] == "test"
    assert summary["phantom"] is True
    assert summary["patients"] == 2
    assert summary["patients_seen_in_training_or_validation"] == 0
    assert summary["dtype"] == "float32"
    assert summary["checkpoint"].endswith("checkpoints/best.pt")
    assert summary["config"]["subset"] is None  # test patients, as there is a run
    assert (summary["preprocessing_as_trained"], summary["network_as_trained"]) == (True, True)
    pictures = sorted((evaluated / "evaluation" / "overlays").iterdir())
    assert [path.name.split("_")[0] for path in pictures] == ["best", "median", "worst"]
    for path in pictures:
        with Image.open(path) as picture:
            assert np.asarray(picture).std() > 0
    assert not list(evaluated.glob(".partial*"))


def test_another_preprocessing_or_network_than_that_of_the_training_is_said(
    own_run: Path, phantom: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = read(own_run / "run.json")
    run["config"]["preprocessing"]["transforms"][3]["upper"] = 99
    run["config"]["network_def"]["act"] = "relu"  # whose weights fit as well
    (own_run / "run.json").write_text(json.dumps(run))
    execute(EVALUATE, phantom, own_run, pictures=False)
    summary = read(own_run / "evaluation" / "summary.json")
    assert (summary["preprocessing_as_trained"], summary["network_as_trained"]) == (False, False)
    assert "prepared in another way than those" in caplog.text
    assert f"the network is not as {own_run} trained it" in caplog.text


def test_the_summary_has_every_metric_by_its_name(evaluated: Path) -> None:
    summary = read(evaluated / "evaluation" / "summary.json")
    rows = patients(evaluated)
    for name in METRICS:
        entry = summary[name]
        assert entry["n"] + entry["undefined"] == 2
        assert entry["definition"]
        assert entry["mean"] is None or len(entry["ci95"]) == 2 or entry["n"] < 2
    for name in ("volume_dice", "volume_iou", "hd95_px", "surface_dice_2px", "sensitivity", "precision"):
        assert summary[name]["mean"] == pytest.approx(np.mean([float(row[name]) for row in rows]), abs=1e-6)
    union, intersection = (sum(float(row[name]) for row in rows) for name in ("union", "intersection"))
    assert summary["pooled_iou"]["mean"] == pytest.approx(intersection / union)


def test_the_scores_are_those_of_a_prediction_made_by_hand(evaluated: Path, phantom: Path) -> None:
    model = network()
    model.load_state_dict(weights(evaluated, "best"))
    model.eval()
    for row in patients(evaluated):
        folder = phantom / row["patient"]
        image, label = read_patient(Patient(folder.name, folder, folder, "tiff"))
        assert label is not None
        predicted = np.zeros(label.shape[1:], dtype=bool)
        scaled = []
        for volume in image.astype(np.float64):
            low, high = np.percentile(volume, [1, 99.5])
            scaled.append(np.clip((volume - low) / (high - low), 0, 1))
        sample = scaled[FLAIR][::3, ::3]
        head = scaled[FLAIR] > 0.1 + 0.9 * np.quantile(sample[sample > 0], 0.1)
        channels = [(volume - volume[head].mean()) / volume[head].std(ddof=1) for volume in scaled]
        normalised = torch.from_numpy(np.stack(channels)).half().float()
        with torch.no_grad():
            for z in range(predicted.shape[-1]):
                predicted[..., z] = model(normalised[None, ..., z])[0, 0].numpy() >= 0
        parts = measure.label(predicted, connectivity=3)
        sizes = np.bincount(parts.ravel()) * (np.arange(parts.max() + 1) > 0)
        predicted &= sizes[parts] > max(200, sizes.max() // 2)
        true = label[0] > 0
        both = (predicted & true).sum()
        assert both > 0  # so that the comparison means something
        # Half precision may turn a voxel or two at the threshold.
        assert float(row["predicted_voxels"]) == pytest.approx(predicted.sum(), abs=3)
        assert float(row["volume_dice"]) == pytest.approx(2 * both / (predicted.sum() + true.sum()), abs=1e-3)
        assert float(row["sensitivity"]) == pytest.approx(both / true.sum(), abs=1e-2)
        assert float(row["tumour_voxels"]) == true.sum()


def test_validation_scores_are_those_of_the_best_epoch_in_the_history(own_run: Path, phantom: Path) -> None:
    # So what was validated is what best.pt holds, and both engines score alike.
    execute(EVALUATE, phantom, own_run, subset="val", pictures=False, smallest_component=0, smallest_share=0)
    best = max(history(own_run), key=lambda row: row["val_volume_iou"])
    summary = read(own_run / "evaluation" / "summary.json")
    assert summary["volume_iou"]["mean"] == pytest.approx(best["val_volume_iou"], rel=1e-5)
    assert summary["volume_dice"]["mean"] == pytest.approx(best["val_volume_dice"], rel=1e-5)
    assert summary["pooled_iou"]["mean"] == pytest.approx(best["val_iou"], rel=1e-5)
    assert summary["patients_seen_in_training_or_validation"] == 2


def test_train_and_all_name_the_part_of_each_patient(own_run: Path, phantom: Path) -> None:
    datalist = read(own_run / "datalist.json")
    part_of = {entry["patient"]: part for part in ("training", "validation", "test") for entry in datalist[part]}
    execute(EVALUATE, phantom, own_run, subset="train", pictures=True)
    assert {row["patient"]: row["part"] for row in patients(own_run)} == {
        name: part for name, part in part_of.items() if part == "training"
    }
    execute(EVALUATE, phantom, own_run, subset="all", pictures=False)
    assert {row["patient"]: row["part"] for row in patients(own_run)} == part_of
    assert read(own_run / "evaluation" / "summary.json")["patients_seen_in_training_or_validation"] == 8
    assert not (own_run / "evaluation" / "overlays").exists()  # the earlier results are replaced as a whole


def test_a_renamed_training_patient_is_known_by_its_pixels(own_run: Path, own_phantom: Path) -> None:
    name = read(own_run / "datalist.json")["training"][0]["patient"]
    for path in sorted((own_phantom / name).iterdir()):
        path.rename(path.with_name(path.name.replace(name, "OTHER_XX_0001_20000101")))
    (own_phantom / name).rename(own_phantom / "OTHER_XX_0001_20000101")
    execute(EVALUATE, own_phantom, own_run, subset="all", pictures=False)
    assert {row["part"] for row in patients(own_run) if row["patient"].startswith("OTHER")} == {"training"}


def test_patients_of_another_data_set_are_unseen(own_run: Path, tmp_path: Path) -> None:
    other = write_phantom(tmp_path / "other", patients=2, seed=2, size=64, slices=(8, 8))
    for path in [path for path in other.iterdir() if path.is_dir()]:
        path.rename(other / path.name.replace("PHANTOM", "ELSEWHERE"))
    execute(EVALUATE, other, own_run, subset="all", pictures=False)
    assert [(row["patient"][:9], row["part"]) for row in patients(own_run)] == [("ELSEWHERE", "unseen")] * 2
    summary = read(own_run / "evaluation" / "summary.json")
    assert summary["patients_seen_in_training_or_validation"] == 0
    assert summary["fingerprint"] != read(own_run / "datalist.json")["fingerprint"]


def test_the_last_checkpoint_and_a_renamed_one_can_be_scored(own_run: Path, phantom: Path) -> None:
    best = weights(own_run, "best")
    torch.save(best, own_run / "model.pt")
    execute(EVALUATE, phantom, own_run, checkpoint=str(own_run / "model.pt"), pictures=False)
    scores = {"model": patients(own_run)}
    execute(EVALUATE, phantom, own_run, checkpoint=str(own_run / "checkpoints/last.pt"), pictures=False)
    scores["last"] = patients(own_run)
    execute(EVALUATE, phantom, own_run, pictures=False)
    assert scores["model"] == patients(own_run)
    progress = weights(own_run)["progress"]
    assert (scores["last"] == patients(own_run)) == (progress["best_epoch"] == progress["epoch"])


def test_where_nothing_was_trained_the_shipped_weights_score_every_patient(
    own_run: Path, phantom: Path, tmp_path: Path
) -> None:
    execute(EVALUATE, phantom, own_run, subset="all", pictures=False)
    bundle, run = tmp_path / "bundle", tmp_path / "new"
    (bundle / "models").mkdir(parents=True)
    shutil.copy(own_run / "checkpoints/best.pt", bundle / "models/model.pt")
    shutil.copy(own_run / "datalist.json", bundle / "models/datalist.json")
    execute(EVALUATE, phantom, run, bundle_root=str(bundle), pictures=False)
    assert patients(run) == patients(own_run)  # with the part that each patient had in the training
    assert read(run / "evaluation/summary.json")["checkpoint"] == str(bundle / "models/model.pt")
    # A run of one's own goes before them.
    execute(EVALUATE, phantom, own_run, bundle_root=str(bundle), pictures=False, fold=0)
    assert read(own_run / "evaluation/summary.json")["checkpoint"] == str(own_run / "checkpoints/best.pt")
    assert {row["part"] for row in patients(own_run)} == {"test"}


# What is refused


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"max_epoch": 2}, "config key 'max_epoch' does not exist: did you mean --max_epochs?"),
        ({"fold": 7}, "unknown fold 7: --fold takes 0 to 4"),
        ({"batch_size": 0}, "batch_size is 0: give a whole number from 1 up with --batch_size"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"device": "cuda:42"}, "cannot use device cuda:42"),
        ({"dataset_dir": "nowhere/at/all"}, "no such dataset folder: nowhere/at/all"),
        ({"datalist_file": "nowhere.json"}, "cannot read the datalist nowhere.json"),
    ],
)
def test_training_refuses_a_mistake_in_one_line(
    phantom: Path, tmp_path: Path, override: dict[str, Any], message: str
) -> None:
    assert message in refusal(UNET, phantom, tmp_path / "run", **override)
    assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"subset": "tests"}, "unknown subset 'tests': --subset takes test, val, train or all"),
        ({"checkpoint": "nowhere.pt"}, "no checkpoint nowhere.pt"),
        ({"network_def#channels": [4, 8, 16]}, "is of another network"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"picture": False}, "config key 'picture' does not exist: did you mean --pictures?"),
        ({"fold": 1}, "tests on fold 0, not 1: an evaluation scores the run's own patients"),
    ],
)
def test_evaluation_refuses_a_mistake_in_one_line(
    own_run: Path, phantom: Path, override: dict[str, Any], message: str
) -> None:
    assert message in refusal(EVALUATE, phantom, own_run, **override)
    assert not (own_run / "evaluation").exists()


def test_evaluation_without_a_run_is_refused(phantom: Path, tmp_path: Path) -> None:
    message = refusal(EVALUATE, phantom, tmp_path / "none", bundle_root=str(tmp_path / "no_bundle"))
    assert f"no checkpoint {tmp_path / 'none/checkpoints/best.pt'}: train first" in message


def test_evaluation_on_a_folder_without_the_run_s_patients_is_refused(own_run: Path, own_phantom: Path) -> None:
    name = read(own_run / "datalist.json")["test"][0]["patient"]
    shutil.rmtree(own_phantom / name)
    assert f"patient {name} of the datalist is not in" in refusal(EVALUATE, own_phantom, own_run)


# The command line itself: its start takes seconds, so only what cannot be seen from within


def command(**settings: Any) -> Iterator[str]:
    yield from (sys.executable, "-m", "monai.bundle", "run", "--config_file", UNET)
    for key, value in settings.items():
        yield from (f"--{key}", str(value))


def start(**settings: Any) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(command(**settings)), cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_command_trains_without_complaint(trained: Path, phantom: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = start(**TINY, dataset_dir=phantom, output_dir=run)
    assert result.returncode == 0, result.stderr
    assert "ERROR" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "PHANTOM epoch 3/3" in result.stdout
    assert history(run) == history(trained)  # another process, the same numbers


def test_the_command_ends_on_a_mistake_with_one_line(tmp_path: Path) -> None:
    result = start(dataset_dir=tmp_path / "nowhere", output_dir=tmp_path / "run")
    assert result.returncode == 1
    ours = [line for line in result.stderr.splitlines() if line.startswith("lgg-monai: error:")]
    assert ours == [
        f"lgg-monai: error: no such dataset folder: {tmp_path / 'nowhere'}: "
        "give the kaggle_3m folder, or one that holds imagesTr"
    ]
    assert "Traceback" not in result.stdout + result.stderr
