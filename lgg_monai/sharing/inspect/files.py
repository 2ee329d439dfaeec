"""Decides what kind each file of a bundle is, by its name and beginning, and grades what is neither code nor config."""

from __future__ import annotations

import re
import zipfile
from pathlib import PurePosixPath

from lgg_monai.sharing.inspect.archive import Member
from lgg_monai.sharing.inspect.configs import Item
from lgg_monai.sharing.inspect.findings import Finding, shown
from lgg_monai.sharing.inspect.pickles import grade_name, pickled_names
from lgg_monai.sharing.inspect.policy import D, E, N, words

CONFIGS = {".json", ".yaml", ".yml"}
SCRIPTS = {".py", ".pyw"}
LOGGING = {".conf", ".ini", ".cfg"}
WEIGHTS = words(".pt .pth .ckpt .pkl .pickle .bin .ts .onnx .safetensors .joblib .th .model .weights .dat")
_DOCUMENTS = {".md", ".txt", ".rst", ".csv", ".tsv", ".bib", ".cff", ".data"}
_DOCUMENT_NAMES = words("license notice readme authors citation changelog copying .gitattributes .gitignore")
_PICTURES = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".gif": b"GIF8"}
_VOLUMES = {".nii", ".mha", ".nrrd", ".tif", ".tiff", ".dcm"}
_COMPILED = words(".pyc .pyo .pyd .so .dll .dylib .exe .com .scr .msi .o .a .trt .plan")
_RUNNABLE = _COMPILED | words(".sh .bash .zsh .bat .cmd .ps1 .vbs .js .jar .egg .whl .pyz .lnk .app .desktop .engine")
_ARCHIVES = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh"),
    *(b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
)
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")
_NUMPY = b"\x93NUMPY"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_HASH = re.compile(r"[0-9a-fA-F]{32,128}")


def holds_weights(member: Member) -> bool:
    """Whether a file is to be graded as weights: by its suffix, or because it begins as a pickle does."""
    return member.suffix in WEIGHTS or _PICKLE.match(member.head(2)) is not None


def grade_place(path: str) -> list[Finding]:
    """Grade where a file lies: folders that programs act upon by themselves, and hidden files."""
    parts = PurePosixPath(path.lower()).parts
    if ".git" in parts or "__pycache__" in parts:
        return [Finding(path, 0, "file", shown(path), D, "programs run what lies here without being asked")]
    if any(part.startswith(".") for part in parts) and parts[-1] not in _DOCUMENT_NAMES:
        return [Finding(path, 0, "file", shown(path), N, "a hidden file")]
    return []


def grade_file(member: Member) -> Finding:
    """Grade a file that is neither config, script nor weights."""
    start = member.head(512)
    suffix = member.suffix
    volume = suffix in _VOLUMES or member.path.lower().endswith(".nii.gz")
    grade, reason = N, "of a kind that the inspector does not know"
    if suffix in _RUNNABLE or start.startswith(_PROGRAMS):
        grade, reason = D, "a program, or compiled: it cannot be inspected"
    elif volume and (suffix != ".gz" or start.startswith(b"\x1f\x8b")):
        grade, reason = E, "images"
    elif start.startswith(_ARCHIVES) or start[257:262] == b"ustar":
        grade, reason = D, "an archive in the bundle, which is not opened"
    elif suffix in _PICTURES:
        fits = start.startswith(_PICTURES[suffix])
        grade, reason = (E, "a picture") if fits else (N, "not the picture that its name says")
    elif suffix in (".npy", ".npz"):
        reason = "numbers; to be loaded without allow_pickle"
    elif suffix in _DOCUMENTS or PurePosixPath(member.path).stem.lower() in _DOCUMENT_NAMES:
        grade, reason = (N, "a document that is not text") if b"\0" in start else (E, "a document")
    with member.open() as stream:
        if grade != D and zipfile.is_zipfile(stream):
            return Finding(member.path, 0, "file", shown(member.path), D, "hides a zip behind something else")
        stream.seek(0)
        if grade != D and start.startswith(_NUMPY) and (suffix != ".npy" or _holds_objects(start)):
            reason = "hides NumPy's format behind another name, or holds objects, which are unpickled"
            return Finding(member.path, 0, "pickle", shown(member.path), D, reason)
        if grade != D:
            names, complete = pickled_names(stream)
            if complete and any(grade_name(name)[0] == D for _, name in names):
                return Finding(member.path, 0, "pickle", shown(names[0][1]), D, "hides a pickle behind another name")
    return Finding(member.path, 0, "file", f"{shown(member.path)}, {member.size} bytes", grade, reason)


def _holds_objects(start: bytes) -> bool:
    """Whether a NumPy file, by its beginning, holds objects as a pickle; also where its header does not end there."""
    if len(start) < 12:
        return False
    before, length = (10, start[8:10]) if start[6] == 1 else (12, start[8:12])
    end = before + int.from_bytes(length, "little")
    return end > len(start) or b"O" in start[before:end]


def is_large_files(path: str) -> bool:
    """Whether a file is MONAI's list of files to fetch."""
    return PurePosixPath(path).name.lower().startswith("large_files")


def grade_large_files(path: str, root: Item, paths: set[str]) -> list[Finding]:
    """Grade the files that `monai.bundle download_large_files` would fetch: checked by a hash, and into the bundle."""
    findings = [
        Finding(path, key.line, "download", shown(key.text, 60), D, "changes what is fetched, or where to")
        for key, _ in root.pairs
        if key.text.startswith(("+large_files", "large_files:", "large_files#"))
    ]
    listed = root.get("large_files")
    for entry in listed.items if listed else []:
        values = {name: item.text for name in ("path", "url", "hash_val") if (item := entry.get(name)) is not None}
        target, url = values.get("path", ""), values.get("url", "")
        grade, reason = E, "fetched on request, and checked by its hash"
        if not target or target.startswith(("/", "~")) or "\\" in target or ":" in target or ".." in target.split("/"):
            grade, reason = D, "written outside the bundle"
        elif not url.startswith("https://") or not _HASH.fullmatch(values.get("hash_val", "")):
            grade, reason = N, "fetched on request, without https or without a hash"
        elif target not in paths:
            grade, reason = N, "not in the bundle yet: inspect it again when it has been fetched"
        findings.append(
            Finding(path, entry.line, "download", f"{shown(target, 60)} from {shown(url, 90)}", grade, reason)
        )
    return findings
