"""The command that draws masks on scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgg_monai.commands.progress import terminal_bar

if TYPE_CHECKING:
    from lgg_monai.prediction.run import Outcome


def predict(
    output: Annotated[Path, typer.Option(metavar="DIR", help="A folder for masks, measurements and the report.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT...", help="Scans, or folders of them: NIfTI, DICOM, kaggle_3m TIFF."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="unet|pspnet|plain_unet|PATH",
            help="Or a bundle's folder or zip, or a run; several make an ensemble. Default: unet.",
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(metavar="F", help="Weights; several make an ensemble. Default: the bundle's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, ... Default: a GPU where there is one.")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16; int8: on a CPU, by onnxruntime.")] = "auto",
    tta: Annotated[bool, typer.Option("--tta", help="Average with the mirrored slices' predictions.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write probability maps too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Segment again what is done.")] = False,
    flair: Annotated[Path | None, typer.Option(metavar="F", help="One scan's NIfTI files by sequence.")] = None,
    pre: Annotated[Path | None, typer.Option(metavar="F", help="T1 before contrast, with --flair.")] = None,
    post: Annotated[Path | None, typer.Option(metavar="F", help="T1 after contrast, with --flair.")] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(metavar="SEQ=S", help="DICOM series for flair, pre or post: number, description or UID; or none."),
    ] = None,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Name DICOM patients by PatientID, and in the DICOM SEG.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Scans read ahead.")] = 1,
) -> None:
    """Draw tumour masks on scans, measure them, and write a page to look at. For research use, not a medical device."""
    from lgg_monai.errors import LggError

    explicit = {name: path for name, path in (("flair", flair), ("pre", pre), ("post", post)) if path is not None}
    if not inputs and not explicit:
        raise LggError("no scan given: name files or folders, or one scan's sequences with --flair, --pre and --post")
    choices = chosen_series(series)

    from lgg_monai.prediction.inputs import find_scans

    sources = find_scans(
        inputs or [], explicit=explicit, series=choices, keep_identity=keep_identity, leave_out=output
    )  # fmt: skip

    from lgg_monai.prediction.models import load_segmenter
    from lgg_monai.prediction.processes import own_device, processes
    from lgg_monai.prediction.run import RESEARCH_USE
    from lgg_monai.prediction.run import predict as run

    with processes() as own:
        segmenter = load_segmenter(
            bundle or "unet", checkpoint or [], device=own_device(device), precision=precision, tta=tta
        )
        if own.first:
            typer.echo(RESEARCH_USE)
            for note in segmenter.notes:
                typer.echo(f"note: {note}", err=True)
        with terminal_bar(own.first) as bar:
            task = bar.add_task("scans", total=len(own.share(sources)))
            outcome = run(
                sources,
                segmenter,
                output,
                probabilities=probabilities,
                overwrite=overwrite,
                report=report,
                workers=workers,
                keep_identity=keep_identity,
                processes=own,
                progress=lambda done, total, _: bar.update(task, completed=done, total=total),
            )
        if own.first:
            _tell(outcome, output)
    if outcome.failed:
        raise typer.Exit(1)


def chosen_series(given: list[str] | None) -> dict[str, str]:
    """Read ``--series``: which DICOM series the user means, by sequence."""
    from lgg_monai.errors import LggError

    choices = {}
    for choice in given or []:
        sequence, _, value = choice.partition("=")
        if not value:
            raise LggError(f"--series {choice} names no series: write --series flair=NUMBER")
        choices[sequence] = value
    return choices


def _tell(outcome: Outcome, output: Path) -> None:
    counts = [f"{len(outcome.done)} segmented"]
    if outcome.skipped:
        counts.append(f"{len(outcome.skipped)} done already (--overwrite segments them again)")
    if outcome.warned:
        counts.append(f"{len(outcome.warned)} with warnings, see measurements.csv")
    if outcome.failed:
        counts.append(f"{len(outcome.failed)} failed")
    typer.echo(f"{', '.join(counts)}: {output}")
    for name, reason in outcome.failed.items():
        typer.echo(f"failed: {name}: {reason}", err=True)
