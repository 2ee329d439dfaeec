"""How far a command is, on standard error: a bar on a terminal, lines in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from lgg_monai.progress import ProgressLines

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


@contextmanager
def patients_done() -> Iterator[Callable[[int, int, str], None]]:
    """Show patients done on the terminal; in a log file, a line a minute."""
    if not sys.stderr.isatty():
        yield ProgressLines(partial(typer.echo, err=True))
        return
    with terminal_bar() as bar:
        task = bar.add_task("patients", total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)
