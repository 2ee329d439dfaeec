"""The command `lgg-monai`: thin, one function a command."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lgg_monai.errors import LggError

# Everything else is imported inside the commands: `lgg-monai --help` must not wait for PyTorch.
if TYPE_CHECKING:
    from lgg_monai.data.patients import Patient

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tools around the lgg_monai bundles. Training and evaluation run through `python -m monai.bundle run`.",
)

DatasetDir = Annotated[
    Path, typer.Argument(metavar="DIR", help="A kaggle_3m folder, or one with imagesTr and labelsTr.")
]


@app.command()
def check(folder: DatasetDir) -> None:
    """Read every pixel of a data set once; say what is there and everything that is wrong with it."""
    from lgg_monai.data.integrity import inspect_dataset
    from lgg_monai.data.report import describe

    report = inspect_dataset(folder, progress=_progress)
    typer.echo(describe(report))
    problems = report.all_problems + report.without_tumour
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if problems:
        typer.echo(f"{len(problems)} problem(s) found", err=True)
        raise typer.Exit(1)


@app.command()
def download(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put kaggle_3m, such as data.")],
    source: Annotated[
        str | None, typer.Option(help="A zip downloaded in a browser, or its URL; default: kagglehub.")
    ] = None,
) -> None:
    """Fetch the published data set (Kaggle, mateuszbuda/lgg-mri-segmentation) into DIR/kaggle_3m."""
    from lgg_monai.data.download import download as fetch

    typer.echo(f"written to {fetch(folder, source)}; train with --dataset_dir {folder / 'kaggle_3m'}")


@app.command()
def convert(
    folder: DatasetDir,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="An empty or new folder.")],
    layout: Annotated[
        Literal["msd", "nnunet"], typer.Option(help="Medical Segmentation Decathlon, or nnU-Net's raw layout.")
    ] = "msd",
) -> None:
    """Write the patients as NIfTI volumes for other tools."""
    from rich.progress import Progress

    from lgg_monai.data.convert import convert as write

    with Progress(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("patients", total=None)
        written = write(
            folder, output, layout, progress=lambda done, total, _: bar.update(task, completed=done, total=total)
        )
    typer.echo(f"written to {written}")


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    patients: Annotated[int, typer.Option(min=1, help="How many synthetic patients.")] = 15,
    seed: Annotated[int, typer.Option(help="Of their shapes.")] = 0,
    size: Annotated[int, typer.Option(min=32, help="Columns and rows of a slice, in pixels.")] = 128,
) -> None:
    """Write synthetic patients in kaggle_3m layout, to try the workflow without data."""
    from lgg_monai.data.phantom import write_phantom

    typer.echo(f"PHANTOM: {patients} synthetic patients in {write_phantom(folder, patients, seed, size)}")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN [RUN ...]", help="Run folders; the first is the reference.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for report.html, numbers and plots.")],
    allow_different_data: Annotated[
        bool, typer.Option("--allow-different-data", help="Compare runs of other data, splits or seeds, and stamp it.")
    ] = False,
) -> None:
    """Compare finished runs: learning, cost, quality on test patients, pictures and findings on one page."""
    from lgg_monai.analysis.comparison import compare as write

    typer.echo(f"written to {write(runs, output, allow_different_data)}")


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 1."""
    try:
        app()
    except LggError as error:
        typer.echo(f"lgg-monai: error: {error}", err=True)
        raise SystemExit(1) from None


def _progress(patients: Iterable[Patient]) -> Iterator[Patient]:
    from rich.console import Console
    from rich.progress import track

    members = list(patients)
    yield from track(members, "reading", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
