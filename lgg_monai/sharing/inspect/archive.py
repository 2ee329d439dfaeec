"""The files of a bundle, from a folder or a zip, without unpacking it: what could hurt while being read is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from lgg_monai.errors import LggError
from lgg_monai.sharing.inspect.findings import RefusedError, shown
from lgg_monai.sharing.inspect.zip_checks import MOST_BYTES, MOST_FILES, ZIP_ERRORS, check_entries, check_layout


@dataclass(frozen=True)
class Member:
    """One file of a bundle.

    Attributes:
        path: with slashes, relative to the bundle's root.
        size: bytes, unpacked.
        open: opens it for reading, seekable.
    """

    path: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, with its dot; `.json` has one as well, as MONAI reads a file of this name."""
        name = PurePosixPath(self.path).name.lower()
        return PurePosixPath(name).suffix or (name if name.startswith(".") else "")

    def head(self, count: int) -> bytes:
        """The first ``count`` bytes."""
        with self.open() as stream:
            return stream.read(count)

    def read(self, limit: int) -> bytes:
        """The whole content.

        Raises:
            RefusedError: it is larger than ``limit`` bytes.
        """
        if self.size > limit:
            raise RefusedError(f"{self.size} bytes are more than the {limit} that are looked through in such a file")
        with self.open() as stream:
            return stream.read(limit)

    def sha256(self) -> str:
        """The hash of the content, as the manifest writes it."""
        with self.open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle; ``problems`` are what was found out about the container: (file, text)."""

    name: str
    members: list[Member]
    problems: list[tuple[str, str]]


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Open a bundle's folder or zip for inspection.

    Raises:
        LggError: there is no such file or folder, or it cannot be read.
        RefusedError: it is not a sound zip, or one that is unsafe to unpack.
    """
    path = Path(path)
    try:
        if path.is_dir():
            yield _folder(path)
            return
        with path.open("rb") as stream:
            yield _zip(path.name, stream)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LggError(f"cannot read the bundle {shown(path)} ({reason}): give a bundle's folder or its zip") from error


def _folder(root: Path) -> Bundle:
    inner = [path for path in root.iterdir() if not path.is_symlink() and path.is_dir()]
    if len(inner) == 1 and len(list(root.iterdir())) == 1 and inner[0].name != "configs":
        root = inner[0]  # as in a zip, the bundle may be the one folder in it
    members: list[Member] = []
    problems: list[tuple[str, str]] = []
    total = 0

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail, followlinks=False):
        for name in sorted(folders + files):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                problems.append((relative, "a link, which is not followed: it leads to something outside the manifest"))
                if name in folders:
                    folders.remove(name)
            elif stat.S_ISREG(mode):
                total += path.stat().st_size
                members.append(Member(relative, path.stat().st_size, lambda path=path: path.open("rb")))  # type: ignore[misc]
            elif not stat.S_ISDIR(mode):
                problems.append((relative, "neither a file nor a folder"))
        if len(members) > MOST_FILES or total > MOST_BYTES:
            raise RefusedError(f"more than {MOST_FILES} files or {MOST_BYTES} bytes: give the bundle's own folder")
    return Bundle(root.resolve().name, sorted(members, key=lambda member: member.path), problems)


def _zip(name: str, stream: IO[bytes]) -> Bundle:
    try:
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
        check_entries(entries)
        check_layout(entries, stream, archive.start_dir)
    except RefusedError:
        raise
    except ZIP_ERRORS as error:
        raise RefusedError(f"not a sound zip file ({shown(error) or type(error).__name__})") from error

    def reader(entry: zipfile.ZipInfo) -> Callable[[], AbstractContextManager[IO[bytes]]]:
        @contextmanager
        def read() -> Iterator[IO[bytes]]:
            # Weights are zips themselves and need seeking, which a compressed member does badly.
            with tempfile.SpooledTemporaryFile(max_size=2**24) as copy:
                try:
                    with archive.open(entry) as member:
                        shutil.copyfileobj(member, copy, 2**20)
                    if copy.tell() != entry.file_size:
                        raise RefusedError("is not as long as the zip says")
                except ZIP_ERRORS as error:
                    raise RefusedError(f"cannot be unpacked ({shown(error) or type(error).__name__})") from error
                copy.seek(0)
                yield copy

        return read

    files = [entry for entry in entries if not entry.is_dir()]
    root = _root([entry.filename for entry in files])
    members = [Member(entry.filename.removeprefix(root), entry.file_size, reader(entry)) for entry in files]
    return Bundle(name, sorted(members, key=lambda member: member.path), [])


def _root(names: list[str]) -> str:
    """The one folder that everything in a zip lies in, with its slash, or nothing."""
    first = {name.split("/", 1)[0] for name in names}
    if len(first) == 1 and all("/" in name for name in names) and first != {"configs"}:
        return first.pop() + "/"
    return ""
