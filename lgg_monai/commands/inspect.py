"""The command that looks into a bundle before anybody runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


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
