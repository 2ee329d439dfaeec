"""How far a command is, on standard error: a bar on a terminal, lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


def terminal_bar(shown: bool = True) -> Progress:
    """Make a bar that is gone when it ends; where standard error is no terminal, it shows nothing.

    Args:
        shown: False for a process beside another that shows it.
    """
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not (shown and sys.stderr.isatty()))


class ProgressLines:
    """Say on standard error how many patients are done, where it is no terminal: once every so often.

    Args:
        seconds: from one line to the next; the first comes so long after the start.
        clock: tells the time in seconds.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.clock = clock
        self.last = clock()

    def __call__(self, done: int, total: int, name: str) -> None:
        """Take note that `done` of `total` patients are done, and the next is `name`."""
        now = self.clock()
        if now - self.last >= self.seconds:
            self.last = now
            typer.echo(f"{done} of {total} patients done, {name} next", err=True)


@contextmanager
def patients_done() -> Iterator[Callable[[int, int, str], None]]:
    """Show patients done on the terminal; in a log file, a line a minute."""
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    with terminal_bar() as bar:
        task = bar.add_task("patients", total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)
