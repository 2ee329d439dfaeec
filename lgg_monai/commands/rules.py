"""The command that chooses how probabilities become masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.progress import patients_done
from lgg_monai.commands.robustness import DatasetDir, Output, interval


def rules(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CV",
            help="A cross-validation's folder with kept probabilities, or runs that were tested on different patients.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Choose threshold and smallest parts of masks on out-of-fold probabilities, and judge the choice on others."""
    from lgg_monai.robustness.mask_rules import choose_rule

    with patients_done() as progress:
        content = choose_rule(source, output, dataset_dir, progress=progress)
    for title in ("present", "best", "cross_fitted"):
        own = content[title]
        rule = ", ".join(f"{name} {own[name]}" for name in content["rule"] if name in own)
        difference = f"{own['difference']:+.4f}{interval(own['low'], own['high'], 4)}"
        typer.echo(f"{title:14}{own['mean_dice']:.4f}  {difference}  {rule}".rstrip())
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}mean volume Dice and difference to present; see {output}")
