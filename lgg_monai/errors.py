"""What a user is told when an input is wrong, on the command line and in a bundle alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class LggError(Exception):
    """A mistake in what the user gave: one line that says what is wrong, where, and what to do."""


def exits_with_one_line(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that a bundle config calls end the program with one line on stderr and exit code 1.

    MONAI wraps every ``Exception`` of a config in two more, with a traceback of some sixty lines. ``SystemExit`` passes
    through unwrapped, and Python prints its message without a traceback.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except LggError as error:
            raise SystemExit(f"lgg-monai: error: {error}") from error

    return wrapper
