"""Whether parts that a config defines, such as network and schedule, can be built, found out before data are read."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from monai.bundle import ConfigComponent

from lgg_monai.engines.config_check import current_parser, effective_config
from lgg_monai.errors import LggError, exits_with_one_line

_MISSING = re.compile(r"No module named '([\w.]+)'")


@exits_with_one_line
def check_parts(*names: str) -> None:
    """Build parts of the config, such as the network, before data are read or a folder is made.

    MONAI wraps what a part raises in a traceback of some eighty lines, whose last one does not say what was wrong.

    Args:
        names: keys of the config; what has been built stays, so nothing is built twice.

    Raises:
        SystemExit: with one line that names the part and the reason; also for an optimizer whose step wants more than
            a trainer gives.
    """
    parser = current_parser()
    if parser is None:
        return
    for name in names:
        try:
            built = parser.get_parsed_content(name)
        except Exception as error:  # whatever a network or a transform may raise
            reason = root_cause(error)
            kind = "" if isinstance(reason, LggError) else f"{type(reason).__name__}: "
            package = missing_package(reason)
            if package:  # MONAI's own message goes on with a traceback
                raise LggError(
                    f"{name} needs a package that is not installed ({package}): install it, or give another --{name}"
                ) from error
            message = f"cannot build {name} from the config ({kind}{' '.join(str(reason).split())[:300]}): correct it"
            raise LggError(message) from error
        if built is None or isinstance(built, str | int | float | list | dict):
            raise LggError(_builds_nothing(name, built))
        wanted = _wanted(built.step) if isinstance(built, torch.optim.Optimizer) else None
        if wanted:  # such as a closure, as LBFGS
            raise LggError(
                f"{type(built).__name__} wants {wanted} at each step, and gets nothing: give another --{name}"
            )


@exits_with_one_line
def check_schedule() -> None:
    """Refuse a schedule of the learning rate that cannot be stepped, before data are read.

    Its length is that of the training, so it is built after them, and would fail after the first batch.

    Raises:
        SystemExit: with one line, where it is none, or its ``step`` wants what no handler gives.
    """
    config = effective_config()
    definition = config.get("lr_scheduler")
    if not isinstance(definition, dict) or "_target_" not in definition:
        if str(definition).startswith(("$", "@")):
            return
        raise LggError(_builds_nothing("lr_scheduler", definition))
    parser = current_parser()
    assert parser is not None  # or there were no definition
    try:
        target = parser.get_parsed_content("lr_scheduler#_target_")  # a name, or the class that an expression gives
        schedule = ConfigComponent({"_target_": target, "_mode_": "callable"}).instantiate()
    except Exception as error:  # whatever an import may raise
        reason = " ".join(str(root_cause(error)).split())[:300]
        raise LggError(f"cannot build lr_scheduler from the config ({reason}): correct it") from error
    step = getattr(schedule, "step", None)  # a function that builds one has none
    wanted = None if step is None else _wanted(functools.partial(step, None))
    handlers = (config.get("train") or {}).get("handlers") or []
    if wanted and not any("step_transform" in handler for handler in handlers):
        raise LggError(
            f"{target} wants {wanted} at each step, and gets nothing: give another --lr_scheduler, "
            "or a --train of your own whose LrScheduleHandler has a step_transform"
        )


@exits_with_one_line
def check_schedule_length(schedule: Any, steps: int) -> None:
    """Refuse a schedule of the learning rate that ends before the training, which would end there with a traceback.

    Args:
        schedule: as it was built.
        steps: of the whole training.

    Raises:
        SystemExit: with one line, where it has a number of steps beyond which it cannot be stepped, and that is less.
    """
    length = getattr(schedule, "total_steps", None)  # of OneCycleLR, the one of PyTorch's that has an end
    if isinstance(length, int) and length < steps:
        raise LggError(
            f"{type(schedule).__name__} ends after {length} steps, but the training has {steps}: "
            "correct --lr_scheduler, such as by 'total_steps': '$@max_epochs * len(@train#dataloader)'"
        )


def missing_package(error: BaseException) -> str | None:
    """Return the package for lack of which something failed; None where that is not the reason."""
    found = _MISSING.search(str(error))
    return found[1] if found else None


def root_cause(error: BaseException) -> BaseException:
    """Return the error that MONAI wrapped in others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _wanted(step: Callable) -> str | None:
    """Return the first argument without which a step cannot be taken, if there is one."""
    for one in inspect.signature(step).parameters.values():
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD:
            return one.name
    return None


def _builds_nothing(name: str, value: Any) -> str:
    return (
        f"{name} is {repr(value)[:200]}, which builds nothing: give a definition with _target_, "
        f"as of {name} in bundles/*.yaml or configs/*.yaml"
    )
