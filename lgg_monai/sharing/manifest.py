"""The manifest of a bundle, its list of large files, and its zip: the same bytes from the same files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from lgg_monai.files import read_json, sha256

MANIFEST = "manifest.json"
LARGE_FILES = "large_files.yml"
COMPILED = "__pycache__"
LARGE = 25 * 1024 * 1024  # bytes; what model collections keep apart from the rest
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def write_manifest(bundle: Path) -> None:
    """Write ``manifest.json``: SHA-256 and size in bytes of every other file."""
    files = {
        path.relative_to(bundle).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in _files(bundle)
        if path.name != MANIFEST
    }
    content = {"format": 1, "files": files}
    (bundle / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def changed_files(bundle: Path) -> list[str]:
    """List the files of a bundle that its manifest does not describe: changed, added or missing ones."""
    files = read_json(bundle / MANIFEST, "manifest")["files"]
    found = {path.relative_to(bundle).as_posix(): path for path in _files(bundle) if path.name != MANIFEST}
    changed = {name for name, path in found.items() if name in files and sha256(path) != files[name]["sha256"]}
    return sorted(changed | (found.keys() ^ files.keys()))


def write_large_files(bundle: Path, url: str) -> None:
    """List the files above 25 MB in ``large_files.yml``, as MONAI's ``download_large_files`` reads it; else none.

    Args:
        bundle: its folder.
        url: where the bundle's files will lie.
    """
    entries = [path for path in _files(bundle) if path.stat().st_size > LARGE]
    if not entries:
        return
    lines = ["large_files:"]
    for path in entries:
        name = path.relative_to(bundle).as_posix()
        lines.append(f'  - path: "{name}"')
        lines.append(f'    url: "{url.rstrip("/")}/{name}"')
        lines.append(f'    hash_val: "{sha256(path)}"')
        lines.append('    hash_type: "sha256"')
    (bundle / LARGE_FILES).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_zip(bundle: Path, target: Path) -> None:
    """Pack a bundle's folder, with its name as the one folder in the zip; times are fixed and names sorted."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in _files(bundle):
            entry = zipfile.ZipInfo(f"{bundle.name}/{path.relative_to(bundle).as_posix()}", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o100644 << 16
            with path.open("rb") as source, archive.open(entry, "w") as packed:
                while block := source.read(1 << 20):
                    packed.write(block)


def _files(bundle: Path) -> list[Path]:
    """List a bundle's files; what Python compiles of its scripts, when they are run, is none of them."""
    files = (path for path in bundle.rglob("*") if path.is_file() and path.parent.name != COMPILED)
    return sorted(files, key=lambda path: path.as_posix())
