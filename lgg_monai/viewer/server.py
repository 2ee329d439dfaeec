"""Serving a folder to the browser of one user of this computer, and to nobody else."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lgg_monai.errors import LggError
from lgg_monai.viewer.patient import PAGE

ADDRESS = "127.0.0.1"
# Not from the system's table, which differs between computers. A volume stays compressed: no Content-Encoding.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".dcm": "application/dicom",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".nii": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class FolderServer(ThreadingHTTPServer):
    """Files of one folder, read-only, on the loopback interface, to whoever knows the page's address.

    The interface is that of all users of this computer, so each address begins with a secret.

    Args:
        folder: what is served; nothing outside it is.
        port: 0 for any free one.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = Path(folder).resolve()
        self._secret = secrets.token_hex(16)
        self._opening = f"/{secrets.token_hex(16)}"
        self._opened = False
        super().__init__((ADDRESS, port), partial(_Handler, directory=self.folder))

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/{self._secret}/{PAGE}"

    @property
    def opening_address(self) -> str:
        """An address that leads to the page's once: a browser is started with it, where all users see its arguments."""
        return f"http://{ADDRESS}:{self.server_port}{self._opening}"

    def opens(self, target: str) -> bool:
        """Tell whether a request's target is the address that leads to the page's, the first time."""
        if self._opened or target != self._opening:
            return False
        self._opened = True
        return True

    @property
    def hosts(self) -> set[str]:
        """The names that a request may call this server by.

        Another name means that a page elsewhere made the browser believe that its own name is this computer.
        """
        names = (ADDRESS, "localhost")
        # Browsers leave out the port that http has by default.
        return {f"{name}:{self.server_port}" for name in names} | {*(names if self.server_port == 80 else ())}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went elsewhere before it had its answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def find(self, target: str) -> Path | None:
        """Give the file that a request's target names, or None where it is no regular file within the folder."""
        try:
            path = unquote(urlsplit(target).path, errors="surrogateescape")
        except ValueError:  # no address, such as http://[x/
            return None
        secret, *parts = [part for part in path.split("/") if part] or [""]
        if not secrets.compare_digest(secret.encode("utf-8", "surrogateescape"), self._secret.encode()):
            return None
        if "\0" in path or any(part.startswith(".") or "\\" in part or ":" in part for part in parts):
            return None
        try:
            # Symbolic links are followed, but only to what lies within the folder too.
            found = self.folder.joinpath(*(parts or [PAGE])).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return None
        return found if found.is_relative_to(self.folder) and found.is_file() else None


class _Handler(SimpleHTTPRequestHandler):
    server: FolderServer
    server_version = "lgg-monai"
    sys_version = ""
    timeout = 30

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log: its lines would hold the patients' names."""

    def translate_path(self, path: str) -> str:
        """Give the file that `send_head` has found."""
        return str(self.found)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Tell the type of a file by its name."""
        return TYPES.get(Path(path).suffix.lower(), "application/octet-stream")

    def send_head(self) -> Any:
        """Answer up to the body; give the file to send, or None where the answer is complete."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to its own address only")
            return None
        # A page elsewhere may not load patients' data as its script or picture; following a link is the user's choice.
        if self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not self._navigates():
            self.send_error(HTTPStatus.FORBIDDEN, "asked for by another site")
            return None
        if self.server.opens(self.path):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", urlsplit(self.server.address).path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.found = self.server.find(self.path)
        if self.found is None:  # as of folders, which would be listed
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return None
        return super().send_head()

    def _navigates(self) -> bool:
        return self.headers.get("Sec-Fetch-Mode") == "navigate" and self.headers.get("Sec-Fetch-Dest") == "document"

    def _refuse_method(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "files are read here, nothing else")
        self.close_connection = True


def serve(folder: Path, port: int = 0, ready: Callable[[FolderServer], None] = lambda server: None) -> None:
    """Serve the page of a folder until interrupted.

    Args:
        folder: that holds ``report.html``, or that page itself.
        port: 0 for any free one.
        ready: called with the server once requests are answered.

    Raises:
        LggError: there is no page in the folder, or the port is taken.
    """
    folder = Path(folder)
    if folder.name == PAGE:
        folder = folder.parent
    try:
        there = (folder / PAGE).is_file()
    except OSError as error:
        raise LggError(f"cannot read {folder} ({error.strerror}): give a folder that you may read") from error
    if not there:
        raise LggError(
            f"there is no {PAGE} in {folder}: give the output folder of `lgg-monai predict`, which writes it at its "
            "end unless by --no-report"
        )
    try:
        server = FolderServer(folder, port)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LggError(f"cannot serve on port {port} ({reason}): choose another with --port") from error
    with server, contextlib.suppress(KeyboardInterrupt):
        ready(server)
        server.serve_forever()
