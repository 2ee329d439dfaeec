"""The command that trains and scores every fold of a cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cross_validate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the cross-validation; a run folder a fold.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- --key value ...]", help="Overrides of the bundle's config.", show_default=False),
    ] = None,
    bundle: Annotated[str, typer.Option(help="unet, pspnet, plain_unet, or a config file.")] = "unet",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    fold: Annotated[
        list[int] | None, typer.Option(help="Run this fold alone (or several): one a process, GPU or machine.")
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option("--dataset_dir", "--dataset-dir", metavar="DIR", help="The patients; default: as the bundle."),
    ] = None,
    leave_one_site_out: Annotated[
        bool, typer.Option("--leave-one-site-out", help="A fold a site instead of --folds.")
    ] = False,
    keep_probabilities: Annotated[
        bool, typer.Option("--keep-probabilities", help="Keep each patient's out-of-fold map, one byte a voxel.")
    ] = False,
) -> None:
    """Train and score every fold, and pool the scores: each patient once, by a model that never saw it.

    Repeat the command to go on after an interruption: finished folds are passed over, unfinished ones resumed. The
    folds may be run by several processes or machines with --fold; put the folders fold_<k> (of each at least run.json,
    datalist.json, history.csv and evaluation) into one folder, and the same command merges them.
    """
    from lgg_monai.crossval.run import cross_validate as run
    from lgg_monai.engines.summary import format_summary
    from lgg_monai.words import counted

    summary, waiting = run(
        bundle, output, folds, fold or [], dataset_dir, leave_one_site_out, keep_probabilities, overrides or []
    )
    if summary is None:
        typer.echo(f"folds still to run: {', '.join(map(str, waiting))}; the scores are merged when all are there")
        return
    typer.echo(format_summary(summary))
    for row in summary["by_fold"]:
        name = f"fold {row['fold']}" + (f" ({row['site']})" if "site" in row else "")
        typer.echo(
            f"{name:14} volume Dice {row['scores']['volume_dice']:.3f} over {counted(row['patients'], 'patient')}"
        )
    typer.echo(f"{'PHANTOM: ' if summary['phantom'] else ''}written to {output}")
