"""Whether a run's weights are used as they were trained: with the same network, on volumes prepared in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETTINGS = ("network_def", "preprocessing")
# Steps that earlier runs lack, by `_desc_` or `_target_`; what they learnt from is prepared as it was.
LATER = frozenset(
    {
        "Orientationd",  # of 2026-11-26: changes NIfTI alone that is stored in another way
        "brain alone",  # of 2026-11-28: changes scans without scalp and skull alone
    }
)


def changed_settings(trained: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that have to be as they were in training and are not; weights may fit all the same.

    Args:
        trained: the config of the training, as in ``run.json``.
        now: the config that its weights are used with, or a part of it; what it lacks is not compared.
    """
    return [key for key in SETTINGS if key in now and key in trained and not _same(key, trained[key], now[key])]


def _same(key: str, trained: Any, now: Any) -> bool:
    if key == "preprocessing":
        lacking = LATER - {_name(step) for step in _steps(trained)}
        if lacking:
            return _steps(trained) == [step for step in _steps(now) if _name(step) not in lacking]
    return bool(trained == now)


def _steps(preprocessing: Any) -> list[Any]:
    return list(preprocessing.get("transforms", [])) if isinstance(preprocessing, dict) else [preprocessing]


def _name(step: Any) -> Any:
    return step.get("_desc_", step.get("_target_")) if isinstance(step, dict) else None
