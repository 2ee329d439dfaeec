"""The command `lgg-monai`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from lgg_monai.commands.bundles import inspect, package, publish, quantize, weights
from lgg_monai.commands.dataset import check, convert, download, phantom
from lgg_monai.commands.masks import collect, predict, view
from lgg_monai.commands.trained import calibration, compare, cross_validate, ensemble, errors, robustness, rules
from lgg_monai.errors import LggError
from lgg_monai.interruption import exits_when_interrupted, interrupt_by_sigterm

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tools around the lgg_monai bundles. Training and evaluation run through `python -m monai.bundle run`.",
)
# In the order of --help. The commands import what they need when they run: --help must not wait for PyTorch.
COMMANDS = {
    "Data sets": (check, download, convert, phantom),
    "Masks of scans": (predict, view, collect),
    "Trained networks": (cross_validate, robustness, calibration, errors, rules, ensemble, compare),
    "Bundles": (weights, quantize, package, publish, inspect),
}


def _help(command: Callable) -> str:
    """Give a command's docstring with a line a paragraph: Typer wraps each, but leaves breaks within the later ones."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in str(command.__doc__).split("\n\n"))


for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel, help=_help(command))(exits_when_interrupted(command))


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 1, an interruption one and 130."""
    interrupt_by_sigterm()
    try:
        app()
    except LggError as error:
        typer.echo(f"lgg-monai: error: {error}", err=True)
        raise SystemExit(1) from None
