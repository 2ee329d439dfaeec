"""The command that makes a data set of scans and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lgg_monai.commands.progress import terminal_bar


def collect(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Scans, or folders of them: NIfTI, DICOM, kaggle_3m TIFF."),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="An empty or new folder for the data set.")],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="NAME/mask.nii.gz, as predict writes them, NAME_seg.nii.gz, or NAME.nii.gz, .seg.nrrd, .dcm. "
            "Default: beside the scans.",
        ),
    ] = None,
    accept_unchanged: Annotated[
        bool, typer.Option("--accept-unchanged", help="Take also masks that are as predict wrote them.")
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(metavar="SEQ=S", help="DICOM series for flair, pre or post: number, description or UID; or none."),
    ] = None,
    keep_identity: Annotated[bool, typer.Option("--keep-identity", help="Name DICOM patients by PatientID.")] = False,
) -> None:
    """Make a data set to train on, of your own scans and masks that people outlined or corrected."""
    from lgg_monai.commands.predict import chosen_series
    from lgg_monai.prediction.collect import collect as write
    from lgg_monai.prediction.collect import require_folders
    from lgg_monai.prediction.inputs import find_scans
    from lgg_monai.prediction.pipeline import quiet_libraries

    require_folders(output, masks)
    sources = find_scans(
        inputs, series=chosen_series(series), keep_identity=keep_identity, leave_out=output, masks=masks
    )
    with terminal_bar() as bar:
        task = bar.add_task("scans", total=len(sources))
        with quiet_libraries():
            done = write(
                sources,
                output,
                masks,
                accept_unchanged=accept_unchanged,
                keep_identity=keep_identity,
                progress=lambda count, total, _: bar.update(task, completed=count, total=total),
            )
    for name, notes in done.warnings.items():
        typer.echo(f"note: {name}: {'; '.join(notes)}", err=True)
    for name, reason in done.left.items():
        typer.echo(f"left out: {name}: {reason}", err=True)
    for name, reason in done.failed.items():
        typer.echo(f"failed: {name}: {reason}", err=True)
    counts = {"collected": done.patients, "left out": done.left, "failed": done.failed}
    typer.echo(f"{', '.join(f'{len(names)} {what}' for what, names in counts.items() if names)}: {output}")
    if done.failed:
        raise typer.Exit(1)
