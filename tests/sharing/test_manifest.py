"""Manifest, list of large files, and zip."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
from monai.apps.utils import HashCheckError
from monai.bundle import ConfigParser, download_large_files

from lgg_monai.sharing import manifest
from lgg_monai.sharing.manifest import changed_files, write_large_files, write_manifest, write_zip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "name"
    (folder / "models").mkdir(parents=True)
    (folder / "LICENSE").write_text("free\n")
    (folder / "models/b.pt").write_bytes(bytes(1000))
    (folder / "models/a.pt").write_bytes(b"x" * 10)
    return folder


def test_the_manifest_has_every_file(bundle: Path) -> None:
    write_manifest(bundle)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    assert list(files) == ["LICENSE", "models/a.pt", "models/b.pt"]
    assert files["models/a.pt"] == {"sha256": hashlib.sha256(b"x" * 10).hexdigest(), "bytes": 10}


def test_changes_since_the_manifest_are_found(bundle: Path) -> None:
    write_manifest(bundle)
    assert changed_files(bundle) == []
    (bundle / "LICENSE").write_text("else\n")
    (bundle / "models/a.pt").unlink()
    (bundle / "new.txt").write_text("")
    assert changed_files(bundle) == ["LICENSE", "models/a.pt", "new.txt"]


def test_the_zip_depends_on_names_and_contents_alone(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zip(bundle, tmp_path / "one.zip")
    for number, path in enumerate(sorted(bundle.rglob("*"), reverse=True)):
        os.utime(path, (number * 1e6, number * 1e6))
        path.chmod(0o700)
    monkeypatch.setattr(sys, "platform", "win32")
    write_zip(bundle, tmp_path / "two.zip")
    monkeypatch.undo()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["name/LICENSE", "name/models/a.pt", "name/models/b.pt"]
        assert archive.read("name/models/b.pt") == bytes(1000)


def test_large_files_are_listed_as_monai_reads_them(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_large_files(bundle, "https://example.org/x")
    assert not (bundle / "large_files.yml").exists()  # nothing is large
    monkeypatch.setattr(manifest, "LARGE", 100)
    write_large_files(bundle, "https://example.org/x/")
    entries = ConfigParser.load_config_file(bundle / "large_files.yml")["large_files"]
    assert [(entry["path"], entry["url"]) for entry in entries] == [
        ("models/b.pt", "https://example.org/x/models/b.pt")
    ]
    download_large_files(str(bundle))  # it is there, with that hash: nothing is fetched
    (bundle / "models/b.pt").write_bytes(b"changed")
    with pytest.raises(HashCheckError, match="sha256 hash check of existing file failed"):
        download_large_files(str(bundle))
