"""The command that compares finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.robustness import DatasetDir


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN [RUN ...]", help="Folders of runs or cross-validations; the first is the reference."
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for report.html, numbers and plots.")],
    allow_different_data: Annotated[
        bool, typer.Option("--allow-different-data", help="Compare runs of other data, splits or seeds, and stamp it.")
    ] = False,
    dataset_dir: DatasetDir = None,
) -> None:
    """Compare finished runs: learning, cost, quality on test patients, pictures and findings on one page."""
    from lgg_monai.analysis.output import require_packages

    require_packages("jinja2", "matplotlib")  # before what imports them
    from lgg_monai.analysis.comparison import compare as write

    typer.echo(f"written to {write(runs, output, allow_different_data, dataset_dir=dataset_dir)}")
