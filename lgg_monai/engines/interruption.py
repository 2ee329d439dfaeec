"""Ctrl-C and SIGTERM while a config runs."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from ignite.engine import Engine

from lgg_monai.engines.checkpoints import GO_ON, can_resume
from lgg_monai.interruption import INTERRUPTED, interrupt_by_sigterm, say_interrupted

_left = ""  # what the hook says that an interruption leaves


def tell_interruption(left: str) -> None:
    """Let a config's program end with one line when it is interrupted: MONAI's command has no place to catch it.

    Python then ends as after any Ctrl-C, which a shell calls exit code 130.

    Args:
        left: what the interruption leaves, for the line.
    """
    global _left
    _left = left
    interrupt_by_sigterm()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_said_nowhere_else)
    if sys.excepthook is sys.__excepthook__:  # not where another program, such as a debugger, has its own
        sys.excepthook = _in_one_line


def run_until_interrupted(trainer: Engine, output_dir: str) -> None:
    """Run a trainer; Ctrl-C ends the program with one line that says how to go on, in place of a traceback.

    Args:
        trainer: of the run.
        output_dir: the run folder.

    Raises:
        SystemExit: with exit code 130, after Ctrl-C.
    """
    try:
        trainer.run()
    except KeyboardInterrupt:
        way = GO_ON if can_resume(output_dir) else "no epoch was saved yet"
        print(
            f"lgg-monai: interrupted in epoch {trainer.state.epoch} of the run in {output_dir}: {way}", file=sys.stderr
        )
        raise SystemExit(INTERRUPTED) from None


def _is_said_nowhere_else(record: logging.LogRecord) -> bool:
    # Ignite logs whatever ends an engine, once for each that runs within another.
    ending = isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit)
    return not (ending and record.name.startswith("ignite."))


def _in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        say_interrupted(_left)
    else:
        sys.__excepthook__(kind, error, trace)
