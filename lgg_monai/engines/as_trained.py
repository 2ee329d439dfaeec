"""Whether a run's weights are used as they were trained: with the same network, on volumes prepared in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS = ("network_def", "preprocessing")
TURNING = "Orientationd"  # which runs of before 2026-11-26 lack: it changes NIfTI alone that is stored in another way


def changed_settings(trained: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that have to be as they were in training and are not; weights may fit all the same.

    Args:
        trained: the config of the training, as in ``run.json``.
        now: the config that its weights are used with, or a part of it; what it lacks is not compared.
    """
    return [key for key in SETTINGS if key in now and key in trained and not _same(key, trained[key], now[key])]


def _same(key: str, trained: Any, now: Any) -> bool:
    if key == "preprocessing" and TURNING not in _targets(trained):
        return _steps(trained) == [step for step in _steps(now) if _target(step) != TURNING]
    return bool(trained == now)


def _steps(preprocessing: Any) -> list[Any]:
    return list(preprocessing.get("transforms", [])) if isinstance(preprocessing, dict) else [preprocessing]


def _target(step: Any) -> Any:
    return step.get("_target_") if isinstance(step, dict) else None


def _targets(preprocessing: Any) -> list[Any]:
    return [_target(step) for step in _steps(preprocessing)]
