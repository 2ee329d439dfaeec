"""Commands around a data set: check, download, convert, phantom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lgg_monai.commands.progress import terminal_bar

if TYPE_CHECKING:
    from lgg_monai.data.patients import Patient

DatasetDir = Annotated[
    Path, typer.Argument(metavar="DIR", help="A kaggle_3m folder, or one with imagesTr and labelsTr.")
]


def check(folder: DatasetDir) -> None:
    """Read every pixel of a data set once; say what is there and everything that is wrong with it."""
    from lgg_monai.data.integrity import inspect_dataset
    from lgg_monai.data.report import describe

    report = inspect_dataset(folder, progress=_progress)
    typer.echo(describe(report))
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    problems = report.all_problems + report.without_tumour
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if problems:
        typer.echo(f"{len(problems)} problem(s) found", err=True)
        raise typer.Exit(1)


def download(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put kaggle_3m, such as data.")],
    source: Annotated[
        str | None,
        typer.Option(help="A zip from a browser, the folder it was unpacked to, or a URL; default: kagglehub."),
    ] = None,
) -> None:
    """Fetch the published data set (Kaggle, mateuszbuda/lgg-mri-segmentation) into DIR/kaggle_3m."""
    from lgg_monai.data.download import download as fetch

    typer.echo(f"written to {fetch(folder, source)}; train with --dataset_dir {folder / 'kaggle_3m'}")


def convert(
    folder: DatasetDir,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="An empty or new folder.")],
    layout: Annotated[
        Literal["msd", "nnunet"], typer.Option(help="Medical Segmentation Decathlon, or nnU-Net's raw layout.")
    ] = "msd",
) -> None:
    """Write the patients as NIfTI volumes for other tools."""
    from lgg_monai.data.convert import convert as write

    with terminal_bar() as bar:
        task = bar.add_task("patients", total=None)
        written = write(
            folder, output, layout, progress=lambda done, total, _: bar.update(task, completed=done, total=total)
        )
    typer.echo(f"written to {written}")


def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    patients: Annotated[int, typer.Option(min=1, help="How many synthetic patients.")] = 15,
    seed: Annotated[int, typer.Option(help="Of their shapes.")] = 0,
    size: Annotated[int, typer.Option(min=32, help="Columns and rows of a slice, in pixels.")] = 128,
) -> None:
    """Write synthetic patients in kaggle_3m layout, to try the workflow without data."""
    from lgg_monai.data.phantom import write_phantom

    typer.echo(f"PHANTOM: {patients} synthetic patients in {write_phantom(folder, patients, seed, size)}")


def _progress(patients: Iterable[Patient]) -> Iterator[Patient]:
    with terminal_bar() as bar:
        yield from bar.track(list(patients), description="reading")
