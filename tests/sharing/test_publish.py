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
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import load, scripts

from lgg_monai.errors import LggError
from lgg_monai.sharing.manifest import changed_files, write_manifest
from lgg_monai.sharing.publish import publish


class Hub:
    """What MONAI and `publish` use of the Hub's client, kept in memory: a repository, its commits and its tags."""

    calls: list[tuple[str, dict[str, Any]]]
    commits: list[dict[str, bytes]]
    tags: dict[str, int]

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, **arguments: Any) -> None:
        Hub.calls.append(("create_repo", arguments))

    def upload_folder(self, repo_id: str, folder_path: str) -> str:
        folder = Path(folder_path)
        Hub.commits.append({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        return f"https://hub/{repo_id}"

    def upload_file(self, path_or_fileobj: bytes, path_in_repo: str, repo_id: str) -> None:
        Hub.commits.append({**Hub.commits[-1], path_in_repo: path_or_fileobj})

    def revision_exists(self, repo_id: str, revision: str) -> bool:
        return revision in Hub.tags

    def file_exists(self, repo_id: str, filename: str, *, revision: str) -> bool:
        return revision in Hub.tags and filename in Hub.at(revision)

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str, cache_dir: str) -> str:
        path = Path(cache_dir) / filename
        path.write_bytes(Hub.at(revision)[filename])
        return str(path)

    def create_tag(self, repo_id: str, *, tag: str, exist_ok: bool = False) -> None:
        if tag in Hub.tags and not exist_ok:
            raise RuntimeError("409 Client Error: Conflict")
        Hub.tags.setdefault(tag, len(Hub.commits) - 1)  # the Hub leaves a tag where it is

    def delete_tag(self, repo_id: str, *, tag: str) -> None:
        if tag not in Hub.tags:
            raise RuntimeError("404 Client Error: Revision Not Found")
        del Hub.tags[tag]

    @classmethod
    def at(cls, tag: str) -> dict[str, bytes]:
        """Give the files that a client receives by a tag."""
        return cls.commits[cls.tags[tag]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    """Put a hub in memory in the place of huggingface_hub."""
    Hub.calls, Hub.commits, Hub.tags = [], [], {}
    client = types.ModuleType("huggingface_hub")
    client.__spec__ = ModuleSpec("huggingface_hub", None)
    client.HfApi = Hub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setattr(scripts, "huggingface_hub", client)
    return Hub


def test_the_bundle_is_uploaded_tagged_and_left_as_it_is(own_bundle: Path, hub: type[Hub]) -> None:
    for compiled in own_bundle.rglob("__pycache__"):  # where another test ran the package
        shutil.rmtree(compiled)
    assert publish(own_bundle, "someone/lgg_unet") == "https://hub/someone/lgg_unet"
    assert changed_files(own_bundle) == []
    here = {p.relative_to(own_bundle).as_posix(): p.read_bytes() for p in own_bundle.rglob("*") if p.is_file()}
    version = json.loads(here["configs/metadata.json"])["version"]
    assert set(hub.tags) == {version, "latest_version"}
    uploaded = hub.at("latest_version")  # with the card, or the tags would show the one before
    assert hub.at(version) == uploaded
    assert {name: content for name, content in uploaded.items() if name != "README.md"} == here
    assert uploaded["README.md"].startswith(b"---\ntags:\n- monai")  # the Hub's model card
    assert b"license: other\n" in uploaded["README.md"]  # not the code's alone
    assert b"license_link: docs/data_license.txt\n---" in uploaded["README.md"]
    assert b"apache-2.0\n" not in uploaded["README.md"]
    assert ("create_repo", {"repo_id": "someone/lgg_unet", "private": True, "exist_ok": True}) in hub.calls


def test_a_bundle_that_was_tried_is_published_without_what_python_compiled(own_bundle: Path, hub: type[Hub]) -> None:
    compiled = own_bundle / "scripts/engines/__pycache__/training.cpython-311.pyc"
    compiled.parent.mkdir(exist_ok=True)
    compiled.write_bytes(b"compiled")
    publish(own_bundle, "a/b")
    assert compiled.exists()
    assert not [name for name in hub.at("latest_version") if "__pycache__" in name]


def repackage(bundle: Path, version: str) -> None:
    """Change a package's weights and version, as another one from the repository would."""
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    (bundle / "configs/metadata.json").write_text(json.dumps(metadata | {"version": version}))
    (bundle / "models/model.pt").write_bytes(version.encode())
    write_manifest(bundle)


def test_the_latest_version_is_the_last_one_published(own_bundle: Path, hub: type[Hub]) -> None:
    publish(own_bundle, "a/b")
    first = json.loads((own_bundle / "configs/metadata.json").read_text())["version"]
    weights = (own_bundle / "models/model.pt").read_bytes()
    repackage(own_bundle, "99.0.0")
    publish(own_bundle, "a/b")
    assert hub.at("latest_version")["models/model.pt"] == hub.at("99.0.0")["models/model.pt"] == b"99.0.0"
    assert b"license: other\n" in hub.at("latest_version")["README.md"]
    assert hub.at(first)["models/model.pt"] == weights


def test_a_version_on_the_hub_never_changes(own_bundle: Path, hub: type[Hub]) -> None:
    version = json.loads((own_bundle / "configs/metadata.json").read_text())["version"]
    publish(own_bundle, "a/b")
    before = hub.at(version)
    del hub.tags["latest_version"]  # as if it had been interrupted
    publish(own_bundle, "a/b")
    assert hub.at("latest_version") == before == hub.at(version)
    repackage(own_bundle, version)
    uploads = len(hub.commits)
    with pytest.raises(LggError, match=f"^a/b has a version {version} already, with other content: raise the version"):
        publish(own_bundle, "a/b")
    for commit in hub.commits:
        commit.pop("manifest.json")  # a tag that something else has set
    with pytest.raises(LggError, match=f"^a/b has a version {version} already"):
        publish(own_bundle, "a/b")
    assert len(hub.commits) == uploads


def test_the_working_directory_may_be_the_bundle(
    own_bundle: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_bundle)
    publish(Path("."), "a/b")
    assert "configs/metadata.json" in hub.at("latest_version")


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
    with pytest.raises(LggError, match=r"huggingface_hub is not installed, .*'\.\[publish\]'"):
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
