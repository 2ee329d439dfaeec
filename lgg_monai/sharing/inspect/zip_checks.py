"""Refuses zips that could hurt whoever unpacks them, by their tables of contents and their layout."""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO

from lgg_monai.sharing.inspect.findings import RefusedError, shown

MOST_FILES = 10_000
MOST_BYTES = 16 * 2**30  # unpacked
MOST_RATIO = 200  # unpacked to packed, for members above the size below
RATIO_FROM = 2**20
LONGEST_PATH = 400
UNICODE_PATH = 0x7075  # the extra field of another name
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DATA_DESCRIPTOR = 0x8
_END = re.compile(rb"PK\x05\x06.{6}(..).{4}(.{4})", re.DOTALL)
_IN_ZIP64 = 0xFFFFFFFF  # says that the number is in a field of its own
# What reading a broken zip raises, all of it.
ZIP_ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
)
ZIP_ERRORS += (ValueError, OverflowError, IndexError)


def check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip by its table of contents.

    Raises:
        RefusedError: too much, too dense, encrypted, links, paths that lead out, or one name twice on some system.
    """
    if not entries:
        raise RefusedError("the zip is empty")
    if len(entries) > MOST_FILES:
        raise RefusedError(f"{len(entries)} entries are more than {MOST_FILES}")
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise RefusedError(f"unpacks to more than {MOST_BYTES} bytes")
    seen: dict[str, bool] = {}
    for entry in entries:
        name = shown(entry.orig_filename)
        _check_path(entry.orig_filename)
        if entry.flag_bits & _ENCRYPTED:
            raise RefusedError(f"entry {name} is encrypted")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise RefusedError(f"entry {name} is a {'link' if kind == stat.S_IFLNK else 'special file'}")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedError(f"entry {name} is packed by method {entry.compress_type}, not stored or deflated")
        if entry.file_size > RATIO_FROM and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
            raise RefusedError(f"entry {name} unpacks to more than {MOST_RATIO} times its size")
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise RefusedError(f"entry {name} has two sizes")
        if _names_itself_otherwise(entry.extra):
            raise RefusedError(f"entry {name} has a second name, which some programs unpack it under")
        key = _same_name(entry.filename.rstrip("/"))
        if key in seen:
            raise RefusedError(f"entry {name} is there twice, or differs from another only by case or accents")
        seen[key] = entry.is_dir()
    for key in seen:
        for parent in PurePosixPath(key).parents:
            if seen.get(str(parent)) is False:
                raise RefusedError(f"entry {shown(parent)} is both a file and a folder")


def _names_itself_otherwise(extra: bytes) -> bool:
    """Tell whether an entry's extra fields hold a second name, in Unicode."""
    while extra:
        if len(extra) < 4:
            return False  # padding, as some writers align data
        kind, length = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH:
            return True
        extra = extra[4 + length :]
    return False


def _check_path(name: str) -> None:
    parts = name.removesuffix("/").split("/")
    if not name or len(name) > LONGEST_PATH:
        raise RefusedError(f"a path of {len(name)} characters: {shown(name, 60)}")
    if name.startswith("/") or "\\" in name or ":" in name:
        raise RefusedError(f"path {shown(name)} is absolute, or is on some system")
    if any(part in ("", ".", "..") for part in parts):
        raise RefusedError(f"path {shown(name)} leads out of the bundle or is not plain")
    if any(part != part.rstrip(" .") for part in parts):
        raise RefusedError(f"path {shown(name)} ends in a dot or space, which Windows drops")
    if any(unicodedata.category(char)[0] == "C" for char in name):
        raise RefusedError(f"path {shown(name)} has control or invisible characters")


def _same_name(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check_layout(entries: list[zipfile.ZipInfo], stream: IO[bytes], directory: int) -> None:
    """Refuse a zip whose entries overlap, or whose contents depend on who unpacks it.

    Args:
        entries: its table of contents.
        stream: the zip itself.
        directory: where in ``stream`` the table of contents begins.

    Raises:
        RefusedError: entries overlap, hide bytes between them, or have other names in front of their data.
    """
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        name = shown(entry.orig_filename)
        stream.seek(entry.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise RefusedError(f"entry {name} lies outside the file")
        magic, _, flags, method, _, _, _, packed, _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        local = stream.read(name_length)
        if _names_itself_otherwise(stream.read(extra_length)):
            raise RefusedError(f"entry {name} has a second name, which some programs unpack it under")
        codec = "utf-8" if flags & 0x800 else "cp437"
        if (
            magic != b"PK\x03\x04"
            or local.decode(codec, "replace") != entry.orig_filename
            or method != entry.compress_type
            or packed not in (entry.compress_size, 0 if flags & _DATA_DESCRIPTOR else entry.compress_size, _IN_ZIP64)
        ):
            raise RefusedError(f"entry {name} is described differently in front of its data")
        if entry.header_offset < end:
            raise RefusedError(f"entry {name} overlaps another")
        # A data descriptor takes 12 to 24 bytes after the data.
        if entry.header_offset > end:
            raise RefusedError(f"{entry.header_offset - end} bytes in front of entry {name} belong to nothing")
        end = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length + entry.compress_size
        if flags & _DATA_DESCRIPTOR:
            end += _descriptor(stream, end)
    if end != directory:
        raise RefusedError("the entries do not fill the zip up to its table of contents")
    _check_end(len(entries), stream, directory)


def _check_end(count: int, stream: IO[bytes], directory: int) -> None:
    """Refuse a zip that has two tables of contents: programs differ in whether its end or that of zip64 counts."""
    stream.seek(directory)
    for total, offset in _END.findall(stream.read()):
        entries, start = int.from_bytes(total, "little"), int.from_bytes(offset, "little")
        if entries not in (count, 0xFFFF) or start not in (directory, _IN_ZIP64):
            raise RefusedError("it has two tables of contents")


def _descriptor(stream: IO[bytes], end: int) -> int:
    """Bytes of the data descriptor that begins at ``end``: with or without signature, 32 or 64 bit."""
    stream.seek(end)
    after = stream.read(28)
    for length in (16, 24, 12, 20):
        if after[length : length + 2] == b"PK" and (length in (12, 20)) == (after[:4] != b"PK\x07\x08"):
            return length
    raise RefusedError("an entry does not end where the next begins")
