"""The command that publishes a packaged bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def publish(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `lgg-monai package` wrote.")],
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="A new repository is private otherwise.")] = False,
) -> None:
    """Upload a packaged bundle to the Hugging Face Hub; log in there first (`hf auth login`)."""
    from lgg_monai.sharing.publish import publish as upload

    typer.echo(f"published at {upload(bundle, repo, private=not public)}")
