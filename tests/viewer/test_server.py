"""What the server gives away, and to whom."""

from __future__ import annotations

import http.client
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lgg_monai.cli import app
from lgg_monai.errors import LggError
from lgg_monai.viewer.server import FolderServer, serve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "viewer").mkdir(parents=True)
    (folder / "report.html").write_text("<p>page</p>")
    (folder / "viewer" / "a b é.js").write_text("1")
    (folder / "mask.nii.gz").write_bytes(b"\x1f\x8b0123")
    (folder / ".hidden").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "out-secret").mkdir()
    (tmp_path / "out-secret" / "x.txt").write_text("secret")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FolderServer]:
    with FolderServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: FolderServer,
    target: str,
    method: str = "GET",
    host: str | None = None,
    secret: str | None = None,
    **headers: str,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask for a target beside the page, or behind another ``secret``."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    # As it is: http.client would refuse or mend some of these targets.
    connection._validate_path = lambda url: None  # type: ignore[attr-defined]
    if target.startswith("/"):
        target = (f"/{server.address.split('/')[3]}" if secret is None else secret) + target
    connection.putrequest(method, target, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers


def test_files_of_the_folder_are_served_with_their_types(server: FolderServer) -> None:
    for target, kind in [
        ("/", "text/html; charset=utf-8"),
        ("/report.html?x=1", "text/html; charset=utf-8"),
        ("/viewer/a%20b%20%C3%A9.js", "text/javascript; charset=utf-8"),
        ("/mask.nii.gz", "application/gzip"),
    ]:
        status, body, headers = ask(server, target)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert headers["Content-Length"] == str(len(body))
        assert headers["Content-Encoding"] is None
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, body, headers = ask(server, "/mask.nii.gz", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "6")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/viewer/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "//../secret.txt",
        "/../out-secret/x.txt",
        "/outside.txt",
        "/outside/x.txt",
        "/.hidden",
        "/viewer",
        "/viewer/",
        "/missing",
        "/report.html/",
        "/report.html%00.txt",
        "/%ff",
        "/pipe",
        "/loop",
        "C:/x",
        "file:///etc/passwd",
        "http://[x/",
        "/" + "a" * 5000,
    ],
)
def test_nothing_else_is_served_and_nothing_is_listed(server: FolderServer, folder: Path, target: str) -> None:
    (folder / "outside.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "outside").symlink_to(folder.parent / "out-secret")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    status, body, _ = ask(server, target)
    assert status == (200 if target == "/report.html/" else 404)
    assert b"secret" not in body.replace(target.encode(), b"")
    assert b"a b" not in body


def test_links_within_the_folder_are_followed(server: FolderServer, folder: Path) -> None:
    (folder / "again.js").symlink_to(folder / "viewer" / "a b é.js")
    assert ask(server, "/again.js")[:2] == (200, b"1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", ""]
)
def test_another_host_name_is_refused(server: FolderServer, host: str) -> None:
    status, body, _ = ask(server, "/", host=host.format(port=server.server_port))
    assert status == 421
    assert b"page" not in body


def test_localhost_is_this_computer_too(server: FolderServer) -> None:
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0] == 200


# The same site is another port of this computer: another program's page.
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_to_the_page_but_not_load_its_data(server: FolderServer, site: str) -> None:
    script = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}
    assert ask(server, "/mask.nii.gz", **script)[0] == 403
    assert ask(server, "/", **(script | {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}))[0] == 403
    link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    status, _, headers = ask(server, "/", **link)
    assert (status, headers["Cross-Origin-Resource-Policy"]) == (200, "same-origin")
    assert ask(server, "/mask.nii.gz", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_nothing_can_be_written(server: FolderServer, folder: Path, method: str) -> None:
    before = sorted(folder.rglob("*"))
    assert ask(server, "/report.html", method=method)[0] == 405
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("target", ["/missing", "/large"])
def test_a_browser_that_goes_elsewhere_is_no_error(
    server: FolderServer, folder: Path, target: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "large").write_bytes(bytes(1 << 20))
    ended = threading.Event()
    end = server.shutdown_request

    def shutdown_request(request: socket.socket) -> None:
        end(request)
        ended.set()

    def gone(self: socketserver._SocketWriter, _: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(server, "shutdown_request", shutdown_request)
    monkeypatch.setattr("socketserver._SocketWriter.write", gone)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, target)
    assert ended.wait(10)
    assert "".join(capfd.readouterr()) == ""


def test_only_this_computer_can_connect(server: FolderServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("secret", ["", "/", "/0", "/None", "/" + "0" * 32, "/%ff", "/%C3%A9", "/."])
def test_other_users_of_this_computer_who_know_the_port_see_nothing(server: FolderServer, secret: str) -> None:
    for target in ("/", "/report.html", "/mask.nii.gz", "/../report.html"):
        status, body, headers = ask(server, target, secret=secret)
        assert (status, headers["Location"]) == (404, None)
        assert b"page" not in body


def test_what_a_browser_is_started_with_leads_to_the_page_once(server: FolderServer) -> None:
    opening = "/" + server.opening_address.split("/")[3]
    status, _, headers = ask(server, opening, secret="")
    assert (status, headers["Location"]) == (302, "/" + server.address.split("/", 3)[3])
    status, _, headers = ask(server, opening, secret="")
    assert (status, headers["Location"]) == (404, None)
    with FolderServer(server.folder) as again:
        assert again.address.split("/")[3] != server.address.split("/")[3]


def test_a_taken_port_and_a_folder_without_a_page_are_told_in_one_line(server: FolderServer, tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"cannot serve on port \d+ .*choose another with --port"):
        serve(server.folder, server.server_port)
    with pytest.raises(LggError, match=r"no report\.html in .*lgg-monai predict"):
        serve(tmp_path)


@pytest.mark.parametrize("named", ["", "report.html"])
def test_the_command_says_the_address_and_opens_it(folder: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def interrupt(self: FolderServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderServer, "serve_forever", interrupt)
    result = CliRunner().invoke(app, ["view", str(folder / named)])
    assert result.exit_code == 0
    address = result.output.split()[0]
    assert address.startswith("http://127.0.0.1:")
    secret = address.split("/")[3]
    assert [one.split("/")[2] for one in opened] == [address.split("/")[2]]
    assert secret not in opened[0]  # other users see a program's arguments
    assert CliRunner().invoke(app, ["view", str(folder), "--no-browser"]).exit_code == 0
    assert len(opened) == 1
