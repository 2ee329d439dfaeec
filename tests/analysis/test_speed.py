"""Epochs and seconds to a threshold, on a history with known crossings."""

from __future__ import annotations

from typing import Any

import pytest

from lgg_monai.analysis.original import original_ratio
from lgg_monai.analysis.speed import learning_speed, series, time_to


def history(*val_iou: float | None) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "elapsed_seconds": 7.0 * epoch, "val_iou": value, "loss": 1.0}
        for epoch, value in enumerate(val_iou, 1)
    ]


def test_a_threshold_is_reached_at_its_first_epoch_equality_included() -> None:
    rows = history(0.4, 0.5, 0.45, 0.7)
    assert time_to(rows, 0.5) == {"threshold": 0.5, "epoch": 2, "seconds": 14.0}
    assert time_to(rows, 0.6)["epoch"] == 4
    assert time_to(rows, 0.8) == {"threshold": 0.8, "epoch": None, "seconds": None}


def test_own_best_is_95_percent_of_the_highest() -> None:
    speed = learning_speed(history(0.2, 0.77, 0.8, 0.75))
    assert speed["best"] == {"epoch": 3, "val_iou": 0.8}
    assert speed["reached"]["own_best"]["threshold"] == pytest.approx(0.76)
    assert speed["reached"]["own_best"]["epoch"] == 2
    assert speed["last"]["val_iou"] == 0.75


def test_epochs_without_validation_are_passed_over() -> None:
    rows = history(None, 0.6, None)
    assert time_to(rows, 0.5)["epoch"] == 2
    assert series(rows, "val_iou", "elapsed_seconds") == ([14.0], [0.6])
    assert learning_speed(history(None))["best"] is None


def test_the_originals_ratio_turns_round_with_the_networks() -> None:
    assert original_ratio("seconds_per_epoch", "PSPNet", "UNet") == 1.5
    assert original_ratio("seconds_per_epoch", "UNet", "PSPNet") == pytest.approx(1 / 1.5)
    assert original_ratio("parameters", "PSPNet", "UNet") is None
    assert original_ratio("seconds_per_epoch", "SegResNet", "UNet") is None
