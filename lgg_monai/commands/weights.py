"""The command that writes a file of weights to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def weights(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT...", help="best.pt of a run, or a model.pt; of an ensemble all, in its order."
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write, with datalist.json beside it.")],
    bundle: Annotated[str, typer.Option(metavar="unet|pspnet|plain_unet|ensemble|RUN", help="Whose network it is.")],
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="Divide the logits by T, as `calibration` proposes.")
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Convolutions as one byte a weight: for this repository, whose `package --checkpoint` unpacks them.",
        ),
    ] = False,
) -> None:
    """Write averaged weights alone, calibrated by a temperature or compact where asked, and which patients they saw."""
    from lgg_monai.sharing.weights import write_weights

    write_weights(checkpoints, output, bundle, temperature, compact)
    typer.echo(f"written to {output} ({output.stat().st_size / 1e6:.1f} MB)")
