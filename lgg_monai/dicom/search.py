"""Which files of a folder are DICOM, told by their first bytes rather than by their names."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lgg_monai.words import counted

LOGGER = logging.getLogger(__name__)

# Files written without the preamble that the standard asks for are known by their suffix alone.
BARE_SUFFIXES = (".dcm", ".dicom", ".ima")


def dicom_files(paths: Iterable[Path], leave_out: Iterable[Path] = ()) -> list[Path]:
    """List the DICOM files among files and folders (searched to any depth), each once, in the order of their paths.

    Links are followed. A DICOMDIR, which only lists the files beside it, is left out.

    Args:
        paths: files and folders.
        leave_out: folders that are not searched but where a path is one of them or lies in it.
    """
    found: dict[str, Path] = {}
    unreadable = 0
    for path in _files(paths, set(map(os.path.realpath, leave_out))):
        try:
            if path.name.upper() != "DICOMDIR" and path.is_file() and _is_dicom(path):
                found.setdefault(os.path.realpath(path), path)
        except OSError:
            unreadable += 1
    if unreadable:
        # Without the names of the files, which may hold a patient's.
        LOGGER.warning("left out: %s that could not be opened", counted(unreadable, "file"))
    return sorted(found.values())


def _files(paths: Iterable[Path], leave_out: Collection[str]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path, followlinks=True):
            real = os.path.realpath(folder)
            # A link may lead back to where the search has been.
            if real in seen or (real in leave_out and folder != os.fspath(path)):
                folders.clear()
                continue
            seen.add(real)
            yield from (Path(folder) / name for name in names)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return True
    return path.suffix.lower() in BARE_SUFFIXES and not path.name.startswith(".")
