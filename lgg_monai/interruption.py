"""Ctrl-C, and SIGTERM as schedulers send it, end a program with one line in place of a traceback."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130  # exit code of a program that Ctrl-C ended


def exits_when_interrupted(function: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with one line and exit code 130 when it is interrupted."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            say_interrupted()
            raise SystemExit(INTERRUPTED) from None

    return wrapper


def interrupt_by_sigterm() -> None:
    """Make SIGTERM do what Ctrl-C does, so that temporary files are removed; only where nothing else is made of it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def say_interrupted(left: str = "") -> None:
    """Say on stderr that the program was interrupted, and what that leaves."""
    print("lgg-monai: interrupted" + (f": {left}" if left else ""), file=sys.stderr)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
