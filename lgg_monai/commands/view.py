"""The command that shows predicted masks in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
