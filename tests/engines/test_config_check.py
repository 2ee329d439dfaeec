"""Keys that a config does not know, and the config as it was when it ran."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, run

from lgg_monai.engines.config_check import (
    check_apart,
    check_keys,
    check_numbers,
    check_paths,
    check_processes,
    check_switches,
    current_parser,
    effective_config,
)

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


def test_experiment_tracking_is_refused_by_the_name_that_was_given() -> None:
    with pytest.raises(SystemExit, match="--tracking is for packaged bundles"):
        parser(tracking_uri="sqlite:///mlruns.db", run_name=None).get_parsed_content("check")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"max_epochs": None}, "MONAI drops --max_epochs None: give --max_epochs '$None' to mean it, or leave"),
        ({"trainer#epochs": None}, "MONAI drops --trainer#epochs None: give --trainer#epochs '$None' to mean it"),
        ({"max_epoch": None}, "config key 'max_epoch' does not exist: did you mean --max_epochs?"),
    ],
)
def test_none_on_the_command_line_is_refused_where_monai_drops_it(
    tmp_path: Path, override: dict[str, None], message: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    with pytest.raises(SystemExit) as caught:
        run(config_file=str(file), **override)
    assert str(caught.value).startswith(f"lgg-monai: error: {message}")


def test_none_on_the_command_line_is_fine_where_it_is_so_anyway(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**CONFIG, "max_epochs": None, "run": [], "evaluate": CONFIG["run"]}))
    run(config_file=str(file), max_epochs=None)


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


def test_what_a_training_uses_does_not_lie_in_the_folder_that_a_later_one_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_apart("runs/mine", {"dataset_dir": "runs/other", "initial_weights": None, "here": "."})
    for folder, path in (("data", "data"), (str(tmp_path / "data"), "data/kaggle_3m"), ("runs/..", "."), (".", ".")):
        with pytest.raises(SystemExit) as caught:
            check_apart(folder, {"initial_weights": None, "dataset_dir": path})
        assert str(caught.value).startswith(f"lgg-monai: error: dataset_dir {path} lies in output_dir {folder}, which")


@pytest.mark.parametrize("value", [-0.1, "abc", None, math.inf, True])
def test_a_weight_is_a_number_from_0_up(value: object) -> None:
    check_numbers(counts={}, amounts={}, weights={"weight_decay": 0})
    with pytest.raises(SystemExit) as caught:
        check_numbers(counts={}, amounts={}, weights={"weight_decay": value})
    message = f"lgg-monai: error: weight_decay is {value!r}: give a number from 0 up with --weight_decay"
    assert str(caught.value) == message


def test_processes_that_would_each_train_by_themselves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match=r"^lgg-monai: error: 2 processes were started \(WORLD_SIZE\)") as caught:
        check_processes()
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    check_processes()
