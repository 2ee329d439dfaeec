"""Grades files of weights: PyTorch archives, old pickles, TorchScript, ONNX, safetensors."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from bisect import bisect
from functools import partial
from pathlib import PurePosixPath
from typing import IO

from lgg_monai.sharing.inspect.archive import Member
from lgg_monai.sharing.inspect.configs import LARGEST_CONFIG
from lgg_monai.sharing.inspect.files import CONFIGS
from lgg_monai.sharing.inspect.findings import Finding, Grade, RefusedError, shown
from lgg_monai.sharing.inspect.onnx_file import grade_onnx
from lgg_monai.sharing.inspect.pickles import grade_name, pickled_names
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.zip_checks import ZIP_ERRORS, check_entries, check_layout

LARGEST_PICKLE = 256 * 2**20
LARGEST_ONNX = 2**31
LARGEST_CODE = 16 * 2**20
ZIP_MAGIC = b"PK\x03\x04"
# TorchScript has no operating system, but these operators touch files, and other namespaces need compiled libraries.
_SCRIPT_FILES = re.compile(r"\b(?:torch|aten)[\s\\]*(?:\.|::)[\s\\]*(?:save|load|from_file|classes)\b")
_SCRIPT_OPS = re.compile(r"\bops[\s\\]*\.[\s\\]*(\w+)")
# PyTorch writes one kind of text, no comments, no continued lines, and operators by their whole names. Anything else
# would be a way to write those above otherwise.
_SCRIPT_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_SCRIPT_ODD = re.compile(r"""["'#\\]|(?<![\w.])(?:torch|ops)\b(?!\.[A-Za-z_])|(?<![\w.])ops\.\w+\b(?!\.[A-Za-z_])""")
_SCRIPT_OUTSIDE = {"image", "video_reader", "c10d", "rpc"}  # of torchvision: read and write files; of PyTorch: network
_SCRIPT_KNOWN = {"aten", "prim", "prims", "quantized", "torchvision", "inductor", "profiler"}


def grade_weights(member: Member, paths: set[str]) -> list[Finding]:
    """Grade a file of weights by its content.

    Raises:
        RefusedError: it is broken, or cannot be looked into.
    """
    with member.open() as stream:
        start = stream.read(512)
        behind = start[:4] != ZIP_MAGIC and zipfile.is_zipfile(stream)
    if start[257:262] == b"ustar":
        return [
            Finding(
                member.path, 0, "weights", "", D, "PyTorch's oldest format, a tar of pickles: it is not looked into"
            )
        ]
    if behind and member.suffix in (".onnx", ".safetensors"):
        return [Finding(member.path, 0, "weights", "", D, f"{member.suffix[1:]} and a zip at once")]
    if member.suffix == ".onnx":
        folder = str(PurePosixPath(member.path).parent)
        found = grade_onnx(member.read(LARGEST_ONNX), paths, "" if folder == "." else folder + "/")
        return _summary(member, "ONNX", [Finding(member.path, 0, "onnx", shown(t), g, shown(r)) for t, g, r in found])
    with member.open() as stream:
        start = stream.read(4)
        stream.seek(0)
        if member.suffix == ".safetensors":
            return _safetensors(member, stream)
        if start == ZIP_MAGIC:
            return _archive(member, stream)
        names, complete = pickled_names(stream)
        if not complete and not names:
            raise RefusedError("neither a PyTorch archive nor a pickle")
        findings = [_pickled(member.path, "", name) for name in _each_once(names)]
        if not complete:
            findings.append(Finding(member.path, 0, "pickle", "", D, "breaks off, but not before it has run"))
        stream.seek(0)
        if zipfile.is_zipfile(stream):
            findings.append(Finding(member.path, 0, "weights", "", D, "a pickle and a zip at once"))
        return _summary(member, "old pickle", findings)


def _summary(member: Member, kind: str, findings: list[Finding]) -> list[Finding]:
    worst = max((finding.grade for finding in findings), default=E)
    reason = (
        {E: "tensors only", N: "more than tensors", D: "see below"}[worst] if kind != "ONNX" else "graph and weights"
    )
    return [Finding(member.path, 0, "weights", f"{kind}, {member.size} bytes", E, reason), *findings]


def _each_once(names: list[tuple[int, str]]) -> list[str]:
    return list(dict.fromkeys(name for _, name in names))


def _pickled(path: str, inner: str, name: str, torchscript: bool = False) -> Finding:
    where = f" in {inner}" if inner else ""
    grade, reason = grade_name(name, torchscript)
    return Finding(path, 0, "pickle", f"{shown(name.replace(' ', '.'))}{shown(where)}", grade, reason)


def _archive(member: Member, stream: IO[bytes]) -> list[Finding]:
    try:
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
        check_entries(entries)
        check_layout(entries, stream, archive.start_dir)
        return _entries(member, archive, entries)
    except RefusedError:
        raise
    except ZIP_ERRORS as error:
        raise RefusedError(f"not a sound PyTorch archive ({shown(error, 80) or type(error).__name__})") from error


def _entries(member: Member, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> list[Finding]:
    if len({entry.filename.split("/", 1)[0] for entry in entries}) > 1:
        raise RefusedError("a zip that is no PyTorch archive: archives in a bundle are not opened")
    # PyTorch finds them in any case.
    inner = {entry.filename.split("/", 1)[-1].lower(): entry for entry in entries if not entry.is_dir()}
    torchscript = any(name.startswith("code/") for name in inner)
    if "data.pkl" not in inner:
        raise RefusedError("a zip that is no PyTorch archive: archives in a bundle are not opened")
    findings: list[Finding] = []
    for name, entry in inner.items():
        raw = re.fullmatch(r"(?:data|constants|tensors)/\d+|\.data/\w+|\.?\w+", name) is not None
        if name.endswith(("pkl", ".pickle")):
            if entry.file_size > LARGEST_PICKLE:
                raise RefusedError(f"{shown(name)} is too large to look through")
            names, complete = pickled_names(io.BytesIO(archive.read(entry)))
            findings += [_pickled(member.path, name, one, torchscript) for one in _each_once(names)]
            if not complete:
                findings.append(Finding(member.path, 0, "pickle", shown(name), D, "not a whole pickle"))
        elif torchscript and name.startswith("code/"):
            if entry.file_size > LARGEST_CODE:
                raise RefusedError(f"{shown(name)} is too large to look through")
            findings += _torchscript(member.path, name, archive.read(entry).decode("utf-8", "replace"))
        elif name.startswith("extra/"):
            findings.append(Finding(member.path, 0, "torchscript", shown(name), E, "a file that goes with the model"))
        elif name == "model.json":
            reason = "TorchScript's oldest format, whose code may lie anywhere in it"
            findings.append(Finding(member.path, 0, "torchscript", shown(name), D, reason))
        elif not raw:
            findings.append(Finding(member.path, 0, "weights", shown(name), N, "not a part of PyTorch's format"))
    return _summary(member, "TorchScript" if torchscript else "PyTorch archive", findings)


def kept_configs(member: Member) -> list[Member]:
    """The configs that TorchScript holds: clients that are given it alone run them."""
    if member.head(4) != ZIP_MAGIC:
        return []
    found = []
    with member.open() as stream:
        try:
            archive = zipfile.ZipFile(stream)
            for entry in archive.infolist():
                name = entry.filename.split("/", 1)[-1]
                if name.lower().startswith("extra/") and PurePosixPath(name).suffix.lower() in CONFIGS:
                    if entry.file_size > LARGEST_CONFIG:
                        raise RefusedError(f"{shown(name)} is too large to look through")
                    content = archive.read(entry)
                    found.append(Member(f"{member.path}/{name}", len(content), partial(io.BytesIO, content)))
        except ZIP_ERRORS as error:
            raise RefusedError(f"not a sound PyTorch archive ({shown(error, 80) or type(error).__name__})") from error
    return found


def _torchscript(path: str, name: str, text: str) -> list[Finding]:
    def finding(found: re.Match[str], grade: Grade, reason: str) -> Finding:
        number = bisect(ends, found.start()) + 1
        where = f"{shown(name)}:{number}: {shown(' '.join(found.group().split()), 80)}"
        return Finding(path, number, "torchscript", where, grade, reason)

    ends = [found.start() for found in re.finditer("\n", text)]
    lines = f"{shown(name)}: {len(ends)} lines"
    findings = [Finding(path, 0, "torchscript", lines, E, "code without an operating system")]
    # Over the whole text, as a name may go on in the next line.
    findings += [finding(found, D, "reads or writes files") for found in _SCRIPT_FILES.finditer(text)]
    rest = _SCRIPT_TEXT.sub(lambda found: "0" * len(found.group()), text)
    odd = _SCRIPT_ODD.search(rest)  # the first is enough: there may be millions
    findings += [finding(odd, D, "not as PyTorch writes code")] if odd else []
    for found in _SCRIPT_OPS.finditer(text):
        library = found.group(1)
        if library in _SCRIPT_OUTSIDE:
            findings.append(finding(found, D, f"operators of {library} reach files or the network"))
        elif library not in _SCRIPT_KNOWN:
            findings.append(finding(found, N, f"needs the compiled operators of {library}"))
    return findings


def _safetensors(member: Member, stream: IO[bytes]) -> list[Finding]:
    try:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length)) if length <= min(member.size, 100 * 2**20) else None
    except (struct.error, ValueError, RecursionError) as error:
        raise RefusedError("not a sound safetensors file") from error
    if not isinstance(header, dict):
        raise RefusedError("not a sound safetensors file")
    return [Finding(member.path, 0, "weights", f"safetensors, {member.size} bytes", E, "tensors only")]
