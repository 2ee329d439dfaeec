"""The command that scores a trained model on degraded scans."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN [RUN ...]",
        help="A run folder, several that were tested on different patients, the folder of a cross-validation, or a "
        "bundle's config with shipped weights, such as bundles/unet.yaml.",
    ),
]
Output = Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the results.")]
DatasetDir = Annotated[
    Path | None,
    typer.Option("--dataset_dir", "--dataset-dir", metavar="DIR", help="The patients; default: those of the training."),
]
Subset = Annotated[str | None, typer.Option(help="test, val, train or all; default: test.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda:0; default: the first GPU, else the CPU.")]


def robustness(
    source: Sources,
    output: Output,
    dataset_dir: DatasetDir = None,
    subset: Subset = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to use instead of the run's best.")] = None,
    device: Device = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="This degradation alone, such as 'FLAIR alone' or noise; several times for several."
        ),
    ] = None,
) -> None:
    """Score patients with degraded scans: sequences missing, other intensities, noise, positions and grids."""
    from lgg_monai.robustness.degradations import DEGRADATIONS, choose_degradations
    from lgg_monai.robustness.table import measure_robustness

    chosen = choose_degradations(only) if only else DEGRADATIONS
    with progress_bar() as progress:
        content = measure_robustness(source, output, dataset_dir, subset, checkpoint, device, chosen, progress=progress)
    for row in content["table"]:
        name = f"{row['degradation']} {row['severity']}".strip()
        typer.echo(f"{name:28}{row['mean_dice']:.3f}  {row['difference']:+.3f}{interval(row['low'], row['high'])}")
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}mean volume Dice and difference to clean; see {output}")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval for a line of text; nothing where there is none."""
    return "" if low is None or high is None else f"  [{low:.{digits}f}, {high:.{digits}f}]"


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
def progress_bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show patients done on the terminal; in a log file, a line a minute."""
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("patients", total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)
