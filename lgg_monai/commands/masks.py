"""Commands around masks of scans: predict, view, collect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgg_monai.commands.progress import terminal_bar
from lgg_monai.errors import LggError

if TYPE_CHECKING:
    from lgg_monai.prediction.run import Outcome

INPUTS = typer.Argument(metavar="INPUT...", help="Scans, or folders of them: NIfTI, DICOM, kaggle_3m TIFF.")
Series = Annotated[
    list[str] | None,
    typer.Option(metavar="SEQ=S", help="DICOM series for flair, pre or post: number, description or UID; or none."),
]


def predict(
    output: Annotated[Path, typer.Option(metavar="DIR", help="A folder for masks, measurements and the report.")],
    inputs: Annotated[list[Path] | None, INPUTS] = None,
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
    series: Series = None,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Name DICOM patients by PatientID, and in the DICOM SEG.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Scans read ahead.")] = 1,
) -> None:
    """Draw tumour masks on scans, measure them, and write a page to look at. For research use, not a medical device."""
    explicit = {name: path for name, path in (("flair", flair), ("pre", pre), ("post", post)) if path is not None}
    if not inputs and not explicit:
        raise LggError("no scan given: name files or folders, or one scan's sequences with --flair, --pre and --post")
    choices = _chosen_series(series)

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


def view(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with a report.html, as predict writes it.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On this computer; 0 is any free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Serve the page of a folder to your browser on this computer, and to nobody else. Ctrl+C ends it."""
    import webbrowser

    from lgg_monai.viewer.server import FolderServer, serve

    def ready(server: FolderServer) -> None:
        typer.echo(f"{server.address} (Ctrl+C ends it)")
        if browser:
            webbrowser.open(server.opening_address)

    serve(folder, port, ready)


def collect(
    inputs: Annotated[list[Path], INPUTS],
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
    series: Series = None,
    keep_identity: Annotated[bool, typer.Option("--keep-identity", help="Name DICOM patients by PatientID.")] = False,
) -> None:
    """Make a data set to train on, of your own scans and masks that people outlined or corrected."""
    from lgg_monai.prediction.collect import collect as write
    from lgg_monai.prediction.collect import require_folders
    from lgg_monai.prediction.inputs import find_scans
    from lgg_monai.prediction.pipeline import quiet_libraries

    require_folders(output, masks)
    sources = find_scans(
        inputs, series=_chosen_series(series), keep_identity=keep_identity, leave_out=output, masks=masks
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


def _chosen_series(given: list[str] | None) -> dict[str, str]:
    """Read ``--series``: which DICOM series the user means, by sequence."""
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
