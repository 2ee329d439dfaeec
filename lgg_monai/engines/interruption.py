"""Ctrl-C during a training."""

from __future__ import annotations

import sys

from ignite.engine import Engine

from lgg_monai.engines.checkpoints import GO_ON, can_resume

INTERRUPTED = 130  # exit code of a program that Ctrl-C ended


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
