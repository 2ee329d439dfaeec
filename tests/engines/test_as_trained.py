"""Weights are used as they were trained, or it is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lgg_monai.engines.as_trained import changed_settings

REPOSITORY = Path(__file__).parents[2]
NOW: dict[str, Any] = {
    "network_def": {"_target_": "lgg_monai.networks.PSPNet", "zoom": 1.5},
    "preprocessing": yaml.safe_load((REPOSITORY / "configs/data.yaml").read_text())["preprocessing"],
}


def test_the_same_settings_and_those_that_nobody_asks_for_are_no_change() -> None:
    assert changed_settings(copy.deepcopy(NOW), NOW) == []
    assert changed_settings({**NOW, "max_epochs": 1}, {"preprocessing": NOW["preprocessing"]}) == []
    assert changed_settings({}, NOW) == []  # of a run that recorded no config nothing is known


@pytest.mark.parametrize("later", [{"Orientationd"}, {"Orientationd", "brain alone"}, {"brain alone"}])
def test_a_run_of_before_a_step_that_leaves_its_patients_alone_is_prepared_alike(later: set[str]) -> None:
    trained = copy.deepcopy(NOW)
    steps = trained["preprocessing"]["transforms"]
    steps[:] = [step for step in steps if step.get("_desc_", step["_target_"]) not in later]
    assert len(steps) == len(NOW["preprocessing"]["transforms"]) - len(later)
    assert changed_settings(trained, NOW) == []
    steps.pop()
    assert changed_settings(trained, NOW) == ["preprocessing"]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("network_def", lambda settings: settings.update(zoom=1)),
        ("preprocessing", lambda settings: settings["transforms"].pop()),
        ("preprocessing", lambda settings: settings["transforms"][3].update(axcodes="RAS")),
    ],
)
def test_a_change_is_named(key: str, change: Callable[[Any], Any]) -> None:
    trained = copy.deepcopy(NOW)
    change(trained[key])
    assert changed_settings(trained, NOW) == [key]
