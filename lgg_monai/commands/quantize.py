"""The command that makes a network's 8-bit twin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quantize(
    dataset_dir: Annotated[
        Path,
        typer.Option(
            "--dataset_dir", "--dataset-dir", metavar="DIR", help="The data set that the weights were trained on."
        ),
    ],
    bundle: Annotated[str, typer.Option(metavar="unet|pspnet|plain_unet|RUN", help="Whose network it is.")] = "unet",
    checkpoint: Annotated[Path | None, typer.Option(metavar="F", help="Other weights than the bundle's own.")] = None,
) -> None:
    """Write the 8-bit network of weights beside them, for `predict --precision int8` on a CPU."""
    from lgg_monai.sharing.quantize import quantize as run

    made = run(bundle, dataset_dir, checkpoint)
    typer.echo(
        f"written to {made.path} ({made.path.stat().st_size / 1e6:.1f} MB): "
        f"of {made.slices} slices its masks agree with the network's by a Dice of {made.agreement:.3f}"
    )
