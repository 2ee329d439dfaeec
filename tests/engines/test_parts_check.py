"""Parts that a config cannot build, and schedules that nothing can step, are refused in one line."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from monai.bundle import ConfigParser

from lgg_monai.engines import check_parts, check_schedule_length

PARTS = {
    "imports": ["$import lgg_monai.engines as engines"],
    "steps": [{"_target_": "lgg_monai.transforms.RandomNoise", "probability": 0.5}],
    "augmentation": {"_target_": "lgg_monai.transforms.BatchAugmentation", "transforms": "@steps"},
    "network_def": {"_target_": "lgg_monai.networks.EfficientUNet", "encoder": "efficientnet-lite0"},
    "check": "$engines.check_parts('network_def', 'augmentation')",
}


def test_parts_that_can_be_built_are_built_once() -> None:
    config = ConfigParser({**PARTS})
    assert config.get_parsed_content("check") is None
    network = config.get_parsed_content("network_def")
    assert isinstance(network, torch.nn.Module)
    config.get_parsed_content("check")
    assert config.get_parsed_content("network_def") is network
    check_parts("network_def")  # outside a config there is nothing to build


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network_def#encoder": "vgg"}, r"network_def from the config \(.*'vgg'.*efficientnet-lite0.*\): correct it"),
        ({"network_def#depth": 7}, r"network_def from the config \(TypeError: .*'depth'.*\): correct it"),
        (
            {"steps#0#probability": 50},
            r"augmentation from the config \(ValueError: probability of RandomNoise is 50: use a number from 0 to 1\)",
        ),
        (
            {"augmentation": "$1 / 0"},
            r"augmentation from the config \(ZeroDivisionError: division by zero\): correct it",
        ),
    ],
)
def test_a_part_that_cannot_be_built_is_one_line(change: dict[str, object], message: str) -> None:
    config = ConfigParser(copy.deepcopy(PARTS))
    config.update(pairs=change)
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: cannot build {message}") as caught:
        config.get_parsed_content("check")
    assert "\n" not in str(caught.value)


def test_a_part_that_lacks_a_package_names_it() -> None:
    lacking = "$monai.utils.optional_import('no_such_package.of_ours', name='layer')[0]()"
    config = ConfigParser({**PARTS, "imports": [*PARTS["imports"], "$import monai"], "network_def": lacking})
    with pytest.raises(SystemExit) as caught:
        config.get_parsed_content("check")
    assert str(caught.value) == (
        "lgg-monai: error: network_def needs a package that is not installed (no_such_package): "
        "install it, or give another --network_def"
    )


@pytest.mark.parametrize("value", ["UNet", None, 3, [1], {"spatial_dims": 2}])
def test_a_part_that_is_no_definition_is_refused(value: object) -> None:
    config = ConfigParser(copy.deepcopy(PARTS))
    config.set(value, "network_def")
    with pytest.raises(SystemExit) as caught:
        config.get_parsed_content("check")
    assert str(caught.value).startswith(f"lgg-monai: error: network_def is {value!r}, which builds nothing: give a def")


def test_an_optimizer_that_no_trainer_can_step_is_refused() -> None:
    optimizer = {"_target_": "torch.optim.LBFGS", "params": "$@network_def.parameters()"}
    config = ConfigParser({**copy.deepcopy(PARTS), "optimizer": optimizer})
    config.update(pairs={"check": "$engines.check_parts('optimizer')"})
    with pytest.raises(SystemExit) as caught:
        config.get_parsed_content("check")
    assert str(caught.value) == (
        "lgg-monai: error: LBFGS wants closure at each step, and gets nothing: give another --optimizer"
    )
    config = ConfigParser(config.get())
    config.update(pairs={"optimizer#_target_": "torch.optim.NAdam"})
    assert config.get_parsed_content("check") is None


SCHEDULE = {
    "imports": ["$import lgg_monai.engines as engines"],
    "lr_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 10},
    "train": {"handlers": [{"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler"}]},
    "optimizer": "$1 / 0",  # nothing of the schedule is built
    "check": "$engines.check_schedule()",
}


def test_a_schedule_that_nothing_can_step_is_refused_before_it_is_built() -> None:
    assert ConfigParser(copy.deepcopy(SCHEDULE)).get_parsed_content("check") is None
    by_metric = {"lr_scheduler#_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}
    config = ConfigParser(copy.deepcopy(SCHEDULE))
    config.update(pairs=by_metric)
    with pytest.raises(SystemExit) as caught:
        config.get_parsed_content("check")
    assert str(caught.value) == (
        "lgg-monai: error: torch.optim.lr_scheduler.ReduceLROnPlateau wants metrics at each step, and gets nothing: "
        "give another --lr_scheduler, or a --train of your own whose LrScheduleHandler has a step_transform"
    )
    config = ConfigParser(copy.deepcopy(SCHEDULE))
    config.update(pairs={**by_metric, "train#handlers#0#step_transform": "$lambda engine: 1.0"})
    assert config.get_parsed_content("check") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("StepLR", "lr_scheduler is 'StepLR', which builds nothing: give a definition with _target_"),
        ({"_target_": "torch.optim.lr_scheduler.StepLRR"}, "cannot build lr_scheduler from the config (Cannot locate"),
    ],
)
def test_what_is_no_schedule_is_refused(value: object, message: str) -> None:
    config = ConfigParser({**copy.deepcopy(SCHEDULE), "lr_scheduler": value})
    with pytest.raises(SystemExit) as caught:
        config.get_parsed_content("check")
    assert str(caught.value).startswith(f"lgg-monai: error: {message}")


def test_the_class_of_a_schedule_may_be_an_expression() -> None:
    for name, refused in (("StepLR", False), ("ReduceLROnPlateau", True), ("StepLRR", True)):
        config = ConfigParser({**copy.deepcopy(SCHEDULE), "torch": "$__import__('torch')"})
        config.update(pairs={"lr_scheduler#_target_": f"$@torch.optim.lr_scheduler.{name}"})
        with pytest.raises(SystemExit) if refused else contextlib.nullcontext():
            config.get_parsed_content("check")


def test_a_schedule_that_ends_before_the_training_is_refused() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=12)
    check_schedule_length(schedule, 12)
    for _ in range(12):  # so many it allows
        optimizer.step()
        schedule.step()
    with pytest.raises(SystemExit, match="OneCycleLR ends after 12 steps, but the training has 13: correct --lr_sched"):
        check_schedule_length(schedule, 13)
    check_schedule_length(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3), 13)


def test_a_schedule_of_another_kind_is_left_to_itself() -> None:
    for value in ("$None", {"_target_": "builtins.dict"}):
        assert ConfigParser({**copy.deepcopy(SCHEDULE), "lr_scheduler": value}).get_parsed_content("check") is None
