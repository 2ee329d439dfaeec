"""The command that makes a bundle for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def package(
    bundle: Annotated[
        str, typer.Option(metavar="unet|pspnet|plain_unet|ensemble", help="A bundle of this repository.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the package and its zip.")] = Path("dist"),
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder: its best weights, and its figures.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights; by default the run's, or bundles/<bundle>/models.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier package.")] = False,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the files will lie, for large_files.yml.")
    ] = None,
) -> None:
    """Write a self-contained bundle, folder and zip, for every MONAI client: configs, weights, exports, documents."""
    from lgg_monai.sharing.package import package as write

    packed = write(bundle, output, run, checkpoint, overwrite, url)
    typer.echo(f"written to {packed} ({packed.stat().st_size / 1e6:.1f} MB) and {packed.with_suffix('')}")
