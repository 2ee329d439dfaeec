"""Commands around bundles: weights, quantize, package, publish, inspect."""

from __future__ import annotations

import json
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


def package(
    bundle: Annotated[
        str, typer.Option(metavar="unet|pspnet|plain_unet|ensemble", help="A bundle of this repository.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the package and its zip.")] = Path("dist"),
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder: its best weights, and its figures.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights; by default the run's, or bundles/<bundle>/models.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier package.")] = False,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the files will lie, for large_files.yml.")
    ] = None,
) -> None:
    """Write a self-contained bundle, folder and zip, for every MONAI client: configs, weights, exports, documents."""
    from lgg_monai.sharing.package import package as write

    packed = write(bundle, output, run, checkpoint, overwrite, url)
    typer.echo(f"written to {packed} ({packed.stat().st_size / 1e6:.1f} MB) and {packed.with_suffix('')}")


def publish(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `lgg-monai package` wrote.")],
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="A new repository is private otherwise.")] = False,
) -> None:
    """Upload a packaged bundle to the Hugging Face Hub; log in there first (`hf auth login`)."""
    from lgg_monai.sharing.publish import publish as upload

    typer.echo(f"published at {upload(bundle, repo, private=not public)}")


def inspect(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE_OR_ZIP", help="A bundle's folder, or its zip, not unpacked.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what a bundle would do, without importing, evaluating or unpickling anything of it.

    Compares the files with the manifest; lists every expression, target, import, script and kind of weights with file
    and line; and grades each: expected, note or dangerous.

    Exit code 0: clean, everything is expected. 1: look, there are notes: things the inspector cannot judge, or files
    that differ from the manifest. 2: dangerous, or refused because it cannot be inspected safely. (Also 1, with a line
    on stderr and no report: there is no such bundle.)
    """
    from lgg_monai.sharing.inspect import Report, inspect_bundle
    from lgg_monai.sharing.inspect.findings import RefusedError
    from lgg_monai.sharing.inspect.limits import limited

    try:
        with limited():
            report = inspect_bundle(bundle)
    except RefusedError as error:
        report = Report.of_refused(bundle, error)
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else report.text())
    raise typer.Exit(int(report.grade))
