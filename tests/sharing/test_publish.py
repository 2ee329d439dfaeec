"""Publishing to a hub that is not there, and receiving from a server that is."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import load, scripts

from lgg_monai.errors import LggError
from lgg_monai.sharing.manifest import changed_files
from lgg_monai.sharing.publish import publish


class Hub:
    """What MONAI uses of the Hub's client, kept in memory."""

    calls: list[tuple[str, dict[str, Any]]]
    uploaded: dict[str, bytes]

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, **arguments: Any) -> None:
        Hub.calls.append(("create_repo", arguments))

    def upload_folder(self, repo_id: str, folder_path: str) -> str:
        folder = Path(folder_path)
        Hub.uploaded = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return f"https://hub/{repo_id}"

    def upload_file(self, path_or_fileobj: bytes, path_in_repo: str, repo_id: str) -> None:
        assert not [name for name, _ in Hub.calls if name == "create_tag"]  # or the tags would show the card before
        Hub.uploaded[path_in_repo] = path_or_fileobj

    def create_tag(self, **arguments: Any) -> None:
        Hub.calls.append(("create_tag", arguments))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    """Put a hub in memory in the place of huggingface_hub."""
    Hub.calls, Hub.uploaded = [], {}
    client = types.ModuleType("huggingface_hub")
    client.HfApi = Hub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setattr(scripts, "huggingface_hub", client)
    return Hub


def test_the_bundle_is_uploaded_tagged_and_left_as_it_is(own_bundle: Path, hub: type[Hub]) -> None:
    assert publish(own_bundle, "someone/lgg_unet") == "https://hub/someone/lgg_unet"
    assert changed_files(own_bundle) == []
    here = {p.relative_to(own_bundle).as_posix(): p.read_bytes() for p in own_bundle.rglob("*") if p.is_file()}
    assert {name: content for name, content in hub.uploaded.items() if name != "README.md"} == here
    assert hub.uploaded["README.md"].startswith(b"---\ntags:\n- monai")  # the Hub's model card
    assert b"license: other\n" in hub.uploaded["README.md"]  # not the code's alone
    assert b"license_link: docs/data_license.txt\n---" in hub.uploaded["README.md"]
    assert b"apache-2.0\n" not in hub.uploaded["README.md"]
    version = json.loads(here["configs/metadata.json"])["version"]
    assert ("create_repo", {"repo_id": "someone/lgg_unet", "private": True, "exist_ok": True}) in hub.calls
    assert [call["tag"] for name, call in hub.calls if name == "create_tag"] == [version, "latest_version"]


def test_what_should_not_be_published_is_refused(own_bundle: Path, hub: type[Hub], tmp_path: Path) -> None:
    with pytest.raises(LggError, match="'lgg' is no name of a repository: give user/name"):
        publish(own_bundle, "lgg")
    with pytest.raises(LggError, match=r"no manifest.json in .*: give the folder"):
        publish(tmp_path, "a/b")
    (own_bundle / "LICENSE").write_text("mine\n")
    with pytest.raises(LggError, match=r"LICENSE in .* differ from its manifest"):
        publish(own_bundle, "a/b")
    assert hub.calls == []


def test_a_refusal_of_the_hub_is_one_line(own_bundle: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise PermissionError("401 Client Error\nUnauthorized")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(LggError, match=r"cannot publish to a/b \(PermissionError: 401 Client Error Unauthorized\)"):
        publish(own_bundle, "a/b")
    assert changed_files(own_bundle) == []


def test_without_the_client_it_says_what_to_install(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(LggError, match=r"pip install 'lgg-monai\[publish\]'"):
        publish(own_bundle, "a/b")


# Receiving


@pytest.fixture(scope="module")
def server(packaged: Path) -> Iterator[str]:
    """A web server with the zip; the result is the zip's address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(packaged.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{packaged.name}.zip"
        running.shutdown()
        thread.join()


def test_the_zip_is_received_from_any_address(server: str, packaged: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "download", "--name", packaged.name, "--url", server]
    result = subprocess.run(
        [*command, "--bundle_dir", str(tmp_path), "--progress", "False"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert changed_files(tmp_path / packaged.name) == []


def test_monai_loads_what_was_received(packaged: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(packaged.with_suffix(".zip"), tmp_path)
    expected = torch.load(packaged / "models/model.pt", weights_only=True)
    network = load(packaged.name, bundle_dir=tmp_path, device="cpu")
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name])
    scripted, metadata, _ = load(packaged.name, bundle_dir=tmp_path, load_ts_module=True, device="cpu")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        torch.testing.assert_close(scripted.eval()(image), network.eval()(image), atol=1e-4, rtol=0)
    assert metadata["version"]
