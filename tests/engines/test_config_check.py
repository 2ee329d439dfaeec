"""Keys that a config does not know, and the config as it was when it ran."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import BasicUNetPlusPlus, UNet
from monai.utils import optional_import

from lgg_monai.engines.config_check import (
    check_keys,
    check_numbers,
    check_parts,
    check_paths,
    check_switches,
    current_parser,
    effective_config,
)
from lgg_monai.engines.precision import SlicewiseInferer
from lgg_monai.networks import PSPNet

CONFIG = {
    "imports": ["$import lgg_monai.engines as engines"],
    "max_epochs": 5,
    "rate": 0.1,
    "unused_but_reserved": 1,
    "trainer": {"epochs": "@max_epochs", "steps": ["$@rate * 2"], "note": "$'@unused_but_reserved'"},
    "seen": "$engines.config_check.effective_config()",
    "run": ["$@trainer", "$@seen"],
    "check": "$engines.check_keys()",
    "initialize": ["$@check"],
}


def parser(**override: object) -> ConfigParser:
    result = ConfigParser({**CONFIG})
    result.update(pairs=override)
    return result


def test_a_config_whose_keys_are_all_used_passes() -> None:
    assert parser().get_parsed_content("check") is None
    assert parser(max_epochs=7).get_parsed_content("check") is None


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("max_epoch", "did you mean --max_epochs?"),
        ("rat", "did you mean --rate?"),
        ("quite_other", "see the top of bundles/*.yaml for the keys there are"),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(key: str, hint: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parser(**{key: 3}).get_parsed_content("check")
    assert str(caught.value) == f"lgg-monai: error: config key '{key}' does not exist: {hint}"


def test_what_the_unknown_key_itself_refers_to_does_not_save_it() -> None:
    with pytest.raises(SystemExit, match="config key 'max_epoch' does not exist"):
        parser(max_epoch="$@rate").get_parsed_content("check")


@pytest.mark.parametrize("key", ["bundle_root", "dataset_dir", "device", "network_def", "finalize", "evaluate"])
def test_keys_that_monai_reads_by_name_need_no_reference(key: str) -> None:
    assert parser(**{key: "value"}).get_parsed_content("check") is None


def test_overriding_within_a_key_is_allowed() -> None:
    assert parser(**{"trainer#epochs": 9}).get_parsed_content("check") is None


def test_effective_config_holds_overrides_and_no_metadata() -> None:
    content = parser(**{"max_epochs": 7, "trainer#epochs": 9, "_meta_": {"version": "1"}}).get_parsed_content("seen")
    assert content["max_epochs"] == 7
    assert content["trainer"]["epochs"] == 9
    assert content["rate"] == 0.1
    assert content["run"] == ["$@trainer", "$@seen"]  # not evaluated
    assert "_meta_" not in content


def test_objects_set_from_python_are_recorded_as_text() -> None:
    content = parser(rate=torch.device("cpu"), max_epochs=(1, 2)).get_parsed_content("seen")
    assert content["rate"] == "cpu"
    assert content["max_epochs"] == [1, 2]
    assert json.loads(json.dumps(content)) == content


def test_outside_a_config_there_is_none() -> None:
    assert current_parser() is None
    assert effective_config() == {}
    assert check_keys() is None


@pytest.mark.parametrize("value", [0, -3, 2.5, "ten", None, True])
def test_a_count_must_be_a_whole_number_from_1(value: object) -> None:
    check_numbers(counts={"max_epochs": 1}, amounts={})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={"batch_size": 4, "max_epochs": value}, amounts={})
    assert str(caught.value).startswith(f"lgg-monai: error: max_epochs is {value!r}: give a whole number from 1 up")


@pytest.mark.parametrize("value", [-1, 2.5, "ten", None, True])
def test_what_0_switches_off_must_be_a_whole_number_from_0(value: object) -> None:
    check_numbers(counts={}, amounts={}, switchable={"smallest_component": 0}, shares={"smallest_share": 0})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={}, switchable={"smallest_component": value})
    assert f"smallest_component is {value!r}: give a whole number from 0 up" in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1, float("nan"), "half", None, True])
def test_a_share_must_be_a_number_below_1(value: object) -> None:
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={}, shares={"smallest_share": value})
    assert f"smallest_share is {value!r}: give a number from 0 up and below 1" in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half", None, True])
def test_a_fraction_may_be_all(value: object) -> None:
    check_numbers(counts={}, amounts={}, fractions={"balance": 1})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={}, fractions={"balance": value})
    assert f"balance is {value!r}: give a number from 0 to 1" in str(caught.value)


@pytest.mark.parametrize("value", [0, -1e-3, float("nan"), float("inf"), "1e-4", None])
def test_an_amount_must_be_a_number_above_0(value: object) -> None:
    check_numbers(counts={}, amounts={"learning_rate": 1e-4})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={"learning_rate": value})
    assert str(caught.value).startswith(f"lgg-monai: error: learning_rate is {value!r}: give a number above 0")


@pytest.mark.parametrize("value", ["false", "true", "", 0, 1, None])
def test_a_switch_must_be_true_or_false(value: object) -> None:
    check_switches({"resume": True, "compile": False})
    with pytest.raises(SystemExit) as caught:
        check_switches({"resume": True, "compile": value})
    assert str(caught.value) == (
        f"lgg-monai: error: compile is {value!r}: give --compile True or --compile False, with a capital letter"
    )


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


PATHS = {
    "imports": ["$import lgg_monai.engines as engines"],
    "output_dir": "runs/unet",
    "cache_dir": "$1 / 0",  # what an expression gives is not asked for
    "datalist_file": None,
    "check": "$engines.check_paths(['output_dir'], ['cache_dir', 'datalist_file'])",
}


def test_paths_are_text_or_none_where_they_may_be() -> None:
    assert ConfigParser({**PATHS}).get_parsed_content("check") is None
    assert ConfigParser({**PATHS, "output_dir": Path("runs")}).get_parsed_content("check") is None
    check_paths(["output_dir"])  # outside a config there is nothing to look at


@pytest.mark.parametrize(
    ("key", "value"), [("output_dir", 20261127), ("output_dir", None), ("cache_dir", True), ("datalist_file", ["a"])]
)
def test_what_is_no_path_is_refused(key: str, value: object) -> None:
    with pytest.raises(SystemExit) as caught:
        ConfigParser({**PATHS, key: value}).get_parsed_content("check")
    assert str(caught.value) == f"lgg-monai: error: {key} is {value!r}: give a path with --{key}, such as ./{key}"


@pytest.mark.parametrize("value", [-0.1, "abc", None, math.inf, True])
def test_a_weight_is_a_number_from_0_up(value: object) -> None:
    check_numbers(counts={}, amounts={}, weights={"weight_decay": 0})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={}, weights={"weight_decay": value})
    message = f"lgg-monai: error: weight_decay is {value!r}: give a number from 0 up with --weight_decay"
    assert str(caught.value) == message


@pytest.mark.parametrize("training", [True, False])
def test_a_patch_is_shown_to_the_network_and_leaves_it_as_it_was(training: bool) -> None:
    config = ConfigParser({**PARTS, "size": 48, "patch": "$engines.check_patch(@network_def, @size)"})
    network = config.get_parsed_content("network_def").train(training)
    before = copy.deepcopy(network.state_dict())
    config.get_parsed_content("patch")
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("definition", "size", "message"),
    [
        ({"_target_": "lgg_monai.networks.PSPNet", "in_channels": 3, "out_channels": 1}, 48, "64"),
        ({"_target_": "UNet", "channels": [4, 8, 8], "strides": [2, 2]}, 50, "Sizes of tensors must match"),
    ],
)
def test_a_patch_that_the_network_cannot_take_is_one_line(definition: dict, size: int, message: str) -> None:
    unet = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1} if definition["_target_"] == "UNet" else {}
    content = {**PARTS, "network_def": definition | unet, "patch": f"$engines.check_patch(@network_def, {size})"}
    with pytest.raises(SystemExit, match=rf"no patches of {size} pixels \(.*{message}.*\): give another") as caught:
        ConfigParser(content).get_parsed_content("patch")
    assert "\n" not in str(caught.value)


def check_patch_of(network: torch.nn.Module) -> None:
    content = {"imports": PARTS["imports"], "network": network, "patch": "$engines.check_patch(@network, 64)"}
    ConfigParser(content).get_parsed_content("patch")


def test_a_package_that_the_network_lacks_is_named() -> None:
    class Needy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rearrange, _ = optional_import("no_such_package.of_ours", name="rearrange")
            return rearrange(x)

    with pytest.raises(SystemExit, match=r"a package that is not installed \(no_such_package\): install it") as caught:
        check_patch_of(Needy())
    assert "\n" not in str(caught.value)
    assert "patch_size" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: BasicUNetPlusPlus(2, 3, 1, features=[4] * 6), "gives a list when it is evaluated, not one logit"),
        (lambda: UNet(2, 3, 2, channels=(4, 8), strides=(2,)), r"gives \[1, 2, 64, 64\] for one patch of 64 pixels"),
        (lambda: torch.nn.Conv2d(3, 1, 2, stride=2), r"gives \[1, 1, 32, 32\] for one patch of 64 pixels"),
    ],
)
def test_a_network_without_one_logit_a_pixel_is_refused(network: Callable[[], torch.nn.Module], message: str) -> None:
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: the network {message}") as caught:
        check_patch_of(network())
    assert "\n" not in str(caught.value)


def test_a_network_may_give_several_outputs_while_it_learns() -> None:
    network = PSPNet(features=8)
    assert isinstance(network(torch.zeros(2, 3, 64, 64)), list)
    check_patch_of(network)


def test_slices_are_padded_to_what_the_configs_network_halves() -> None:
    content = {**PARTS, "divisor": "$engines.slice_divisor()"}
    assert ConfigParser(content).get_parsed_content("divisor") == 16
    content["network_def"] = {"_target_": "UNet", "strides": [2, 2, 2, 2, 2]}
    assert ConfigParser(content).get_parsed_content("divisor") == 32
    content["network_def"] = "$torch.nn.Identity()"
    assert ConfigParser(content).get_parsed_content("divisor") == 16


@pytest.mark.parametrize(
    "definition",
    [
        # As nnU-Net writes it: a stride for each axis, the first one halves nothing.
        {"_target_": "DynUNet", "kernel_size": [3] * 6, "strides": [[1, 1], [2, 2], [2, 2], [2, 1], [2, 2], [2, 2]],
         "upsample_kernel_size": [[2, 2], [2, 2], [2, 1], [2, 2], [2, 2]], "filters": [4] * 6},
        {"_target_": "SegResNet", "init_filters": 8, "blocks_down": [1] * 6, "blocks_up": [1] * 5},
    ],
)  # fmt: skip
def test_slices_of_any_size_fit_a_deep_network(definition: dict) -> None:
    network = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1} | definition
    config = ConfigParser({**PARTS, "network_def": network, "divisor": "$engines.slice_divisor()"})
    assert config.get_parsed_content("divisor") == 32
    inferer = SlicewiseInferer(divisor=config.get_parsed_content("divisor"))
    output = inferer(torch.zeros(1, 3, 72, 88, 1), config.get_parsed_content("network_def").eval())
    assert output.shape == (1, 1, 72, 88, 1)


INFERERS = {"train": "validate#inferer", "evaluate": "evaluation#evaluator#inferer", "inference": "inferer"}


@pytest.mark.parametrize("config", INFERERS)
def test_volumes_narrower_than_the_network_takes_are_padded(config: str, in_repository: Path) -> None:
    parser = ConfigParser()
    parser.read_config(["bundles/pspnet.yaml", *([] if config == "train" else [f"configs/{config}.yaml"])])
    parser["device"], parser["precision"] = "cpu", "fp32"
    parser["network_def"] = {"_target_": "lgg_monai.networks.PSPNet", "features": 8}
    inferer, network = (parser.get_parsed_content(key) for key in (INFERERS[config], "network_def"))
    with torch.no_grad():
        assert inferer(torch.zeros(1, 3, 40, 72, 2), network.eval()).shape == (1, 1, 40, 72, 2)
