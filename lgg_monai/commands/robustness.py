"""The command that scores a trained model on degraded scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.progress import patients_done

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
    with patients_done() as progress:
        content = measure_robustness(source, output, dataset_dir, subset, checkpoint, device, chosen, progress=progress)
    for row in content["table"]:
        name = f"{row['degradation']} {row['severity']}".strip()
        typer.echo(f"{name:28}{row['mean_dice']:.3f}  {row['difference']:+.3f}{interval(row['low'], row['high'])}")
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}mean volume Dice and difference to clean; see {output}")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval for a line of text; nothing where there is none."""
    return "" if low is None or high is None else f"  [{low:.{digits}f}, {high:.{digits}f}]"
