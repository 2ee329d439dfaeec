"""The command that scores the mean of several models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.progress import patients_done
from lgg_monai.commands.robustness import DatasetDir, Output, interval


def ensemble(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CV CV [CV ...]",
            help="Cross-validations' folders with kept probabilities, or runs that were tested on the same patients.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Score the mean probability of models beside each of them, on patients that none of them saw."""
    from lgg_monai.robustness.ensemble import score_ensemble
    from lgg_monai.words import counted

    with patients_done() as progress:
        content = score_ensemble(source, output, dataset_dir, progress=progress)
    scored = {**content["members"], "ensemble": content["ensemble"]}
    width = max(map(len, scored))
    typer.echo(
        f"{counted(content['patients'], 'patient')}, volume Dice of each model, and what the ensemble adds to it"
    )
    for label, own in scored.items():
        dice, line = own["volume_dice"], ""
        if label in content["members"]:
            entry = own["difference"]["volume_dice"]
            low, high = entry["ci95"] or (None, None)
            line = (
                f"  {entry['difference']:+.3f}{interval(low, high)}  {entry['higher']} better, {entry['lower']} worse"
            )
        typer.echo(f"{label:{width}}  {dice['mean']:.3f}, median {dice['median']:.3f}{line}")
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")
