"""What a bundle config can know about itself: the effective config, unknown keys, and settings that are none."""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import monai.bundle
import torch
from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

from lgg_monai.errors import LggError, exits_with_one_line

# Keys that MONAI or this project reads by name, so that no `@key` in a config has to mention them.
RESERVED = {"imports", "initialize", "run", "finalize", "_meta_", "name", "description", "workflow_type"}
RESERVED |= {"displayable_configs", "evaluate", "train", "validate"}
RESERVED |= {"imagenet"}  # of the bundles' `network`, which configs/inference.yaml replaces
_REFERENCE = re.compile(r"@([A-Za-z_]\w*)")


def current_parser() -> ConfigParser | None:
    """Find the parser that is evaluating the expression from which this is called.

    MONAI hands a config's expressions no reference to the config itself; but the parser is always on the stack.
    """
    for frame in _stack():
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, ConfigParser):
            return candidate
    return None


def effective_config() -> dict[str, Any]:
    """Return the config with all overrides, before anything in it is evaluated; empty outside a config.

    What Python code overrode with an object, such as a ``torch.device``, is given as text.
    """
    parser = current_parser()
    return {} if parser is None else {key: _plain(value) for key, value in parser.get().items() if key != "_meta_"}


@exits_with_one_line
def check_keys() -> None:
    """Refuse a top-level key that nothing in the config refers to: nearly always a misspelt override.

    MONAI itself accepts ``--max_epoch 5`` in silence and trains for the default number of epochs. It drops
    ``--cache_dir None``, which so is refused as well where the config has something else.

    Raises:
        SystemExit: with one line that names the key and the most similar one, or says how to give None.
    """
    config = effective_config()
    used = set(_references(config)) | RESERVED | set(TrainProperties) | set(InferProperties)
    dropped = _dropped_overrides()
    unknown = [key for key in config if key not in used]
    unknown += [key for key in dropped if re.split("#|::", key)[0] not in config]
    if "tracking_uri" in unknown:  # MONAI puts it in, and handlers where no trainer of these configs looks for them
        raise LggError("--tracking is for packaged bundles (lgg-monai package): here TensorBoard logs to output_dir")
    if unknown:
        known = [key for key in config if key in used]
        similar = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean --{similar[0]}?" if similar else "see the top of bundles/*.yaml for the keys there are"
        raise LggError(f"config key {unknown[0]!r} does not exist: {hint}")
    parser = current_parser()
    for key in dropped:
        if parser is not None and parser.get(key, default="") is not None:
            raise LggError(f"MONAI drops --{key} None: give --{key} '$None' to mean it, or leave the key out")


@exits_with_one_line
def check_numbers(
    counts: dict[str, Any],
    amounts: dict[str, Any],
    switchable: dict[str, Any] | None = None,
    shares: dict[str, Any] | None = None,
    fractions: dict[str, Any] | None = None,
    weights: dict[str, Any] | None = None,
) -> None:
    """Refuse settings that no training can run with, before data are read.

    Args:
        counts: settings by name that must be whole numbers from 1 up.
        amounts: settings by name that must be numbers above 0.
        switchable: settings by name that must be whole numbers from 0 up, as 0 switches something off.
        shares: settings by name that must be numbers from 0 up and below 1.
        fractions: settings by name that must be numbers from 0 to 1.
        weights: settings by name that must be numbers from 0 up.

    Raises:
        SystemExit: with one line that names the setting and its value.
    """
    for lowest, settings in ((1, counts), (0, switchable or {})):
        for name, value in settings.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise LggError(f"{name} is {value!r}: give a whole number from {lowest} up with --{name}")
    for name, value in amounts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            # YAML reads 1e-4 as text, 1.0e-4 as a number.
            raise LggError(f"{name} is {value!r}: give a number above 0 with --{name}, such as 1.0e-4")
    for name, value in (shares or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise LggError(f"{name} is {value!r}: give a number from 0 up and below 1 with --{name}")
    for name, value in (fractions or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise LggError(f"{name} is {value!r}: give a number from 0 to 1 with --{name}")
    for name, value in (weights or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise LggError(f"{name} is {value!r}: give a number from 0 up with --{name}")


@exits_with_one_line
def check_switches(switches: dict[str, Any]) -> None:
    """Refuse text, which is how MONAI's command line hands on ``false``, and which Python takes for true.

    Args:
        switches: settings by name that must be True or False.

    Raises:
        SystemExit: with one line that names the setting and its value.
    """
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise LggError(f"{name} is {value!r}: give --{name} True or --{name} False, with a capital letter")


@exits_with_one_line
def check_paths(needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Refuse what is no path, such as the number that MONAI's command line makes of digits.

    Args:
        needed: keys of the config, looked at before anything of it is evaluated.
        optional: the same of those that may be None.

    Raises:
        SystemExit: with one line that names the key and its value.
    """
    config = effective_config()
    for name in (*needed, *optional):
        value = config.get(name)
        if not isinstance(value, str) and not (value is None and (name in optional or name not in config)):
            raise LggError(f"{name} is {value!r}: give a path with --{name}, such as ./{name}")


@exits_with_one_line
def check_apart(output_dir: str, used: dict[str, str | None]) -> None:
    """Refuse a run folder that holds what is used besides: it is set aside as a whole when another run begins there.

    Args:
        output_dir: the run folder.
        used: paths by what they are; None is nowhere.

    Raises:
        SystemExit: with one line that names the path.
    """
    for what, path in used.items():
        if path is not None and Path(path).resolve().is_relative_to(Path(output_dir).resolve()):
            raise LggError(
                f"{what} {path} lies in output_dir {output_dir}, which is moved as a whole when another run begins "
                "there: choose another --output_dir"
            )


@exits_with_one_line
def check_processes() -> None:
    """Refuse several processes, each of which would train the whole network by itself.

    Raises:
        SystemExit: with one line, where a launcher started several and nothing of the config lets them work together.
    """
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    count = os.environ.get("WORLD_SIZE", "1")  # as torchrun tells it
    if not together and count != "1":
        raise LggError(
            f"{count} processes were started (WORLD_SIZE), but this training is of one process: start it without "
            "torchrun, or train a packaged bundle on several GPUs (configs/multi_gpu_train.yaml in it)"
        )


@exits_with_one_line
def check_early_stop(early_stop: int, patients: bool, epochs: bool) -> None:
    """Refuse early stopping where no epoch will be validated, before a run is set aside.

    Args:
        early_stop: epochs without better validation after which training ends; 0: never.
        patients: there are some to validate on, by the settings.
        epochs: there is one that is validated.

    Raises:
        SystemExit: with one line.
    """
    if early_stop and not patients:
        raise LggError(f"early_stop is {early_stop}, but no patient validates an epoch: leave it at 0")
    if early_stop and not epochs:
        message = f"early_stop is {early_stop}, but val_interval is above max_epochs, so no epoch is validated"
        raise LggError(f"{message}: give a smaller --val_interval")


def _stack() -> Iterator[FrameType]:
    frame = sys._getframe(1).f_back
    while frame is not None:
        yield frame
        frame = frame.f_back


def _dropped_overrides() -> list[str]:
    """Name the overrides by None, of which ``python -m monai.bundle run`` tells the config nothing."""
    for frame in _stack():
        if frame.f_code is monai.bundle.run.__code__:
            return [key for key, value in frame.f_locals["override"].items() if value is None]
    return []


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node if node is None or isinstance(node, str | int | float) else str(node)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
    elif isinstance(node, str):
        yield from _REFERENCE.findall(node)
