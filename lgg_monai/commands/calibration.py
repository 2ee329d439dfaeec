"""The command that measures calibration and uncertainty of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lgg_monai.commands.progress import patients_done
from lgg_monai.commands.robustness import DatasetDir, Device, Output, Sources, Subset, interval


def calibration(
    source: Sources,
    output: Output,
    dataset_dir: DatasetDir = None,
    subset: Subset = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Weights instead of the run's best; give it several times for several.")
    ] = None,
    device: Device = None,
) -> None:
    """Say whether probabilities can be believed, and whether uncertainty finds the patients a model fails on."""
    from lgg_monai.robustness.trust import measure_trust

    with patients_done() as progress:
        content = measure_trust(source, output, dataset_dir, subset, checkpoint or [], device, progress)
    _print_errors(content["calibration"])
    if content["temperature"]:
        own = content["temperature"]
        typer.echo(f"logits divided by {own['value']:.2f} ({own['lowest']:.2f} to {own['highest']:.2f} by parts):")
        _print_errors(own["calibration"])
    for name, own in content["uncertainty"].items():
        correlation = "-" if own["rank_correlation"] is None else f"{own['rank_correlation']:+.2f}"
        rise = "-" if own["rise"] is None else f"{own['rise']:+.3f}"
        typer.echo(
            f"{name:26}rank correlation with Dice {correlation}; mean Dice {rise} "
            f"without the least certain {own['referred']} of {own['n']}"
        )
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")


def _print_errors(calibration: dict[str, Any]) -> None:
    for region, own in calibration.items():
        low, high = own["ece_ci95"] or (None, None)
        error = "-" if own["ece"] is None else f"{own['ece']:.4f}"
        typer.echo(f"expected calibration error, {region:5}{error}{interval(low, high, 4)}")
