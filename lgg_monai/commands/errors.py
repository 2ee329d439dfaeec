"""The command that says what a scored model's errors consist of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.progress import patients_done
from lgg_monai.commands.robustness import DatasetDir, Output, interval


def errors(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...]",
            help="A scored run folder, several that were tested on different patients, or a cross-validation's folder.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Say what errors consist of (missed or added parts, slices, areas, rim), and what mending each would bring."""
    from lgg_monai.robustness.error_report import explain_errors
    from lgg_monai.words import counted

    with patients_done() as progress:
        content = explain_errors(source, output, dataset_dir, progress)
    mean = content["volume_dice"]["mean"]
    typer.echo(f"{counted(content['patients'], 'test patient')}, mean volume Dice {mean:.3f}")
    typer.echo(f"{'errors':14}{'share':>8}{'patients':>10}  mean volume Dice if they were mended")
    for row in content["table"]:
        share = "-" if row["share"] is None else f"{row['share']:.1%}"
        typer.echo(
            f"{row['errors']:14}{share:>8}{row['patients']:>10}  "
            f"{row['mean_dice_mended']:.3f}  {row['gain']:+.3f}{interval(row['low'], row['high'])}"
        )
    parts = content["parts"]
    typer.echo(
        f"{parts['missed_parts']} of {parts['label_parts']} tumour parts missed, "
        f"{parts['added_parts']} of {parts['predicted_parts']} predicted parts touch no tumour"
    )
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")
