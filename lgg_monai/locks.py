"""Locks between processes; the system lets go of one when its process ends, however it ends."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file within a folder that locks it."""

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # the first byte, which an empty file need not have
        except PermissionError as error:  # what Windows says where another one has it
            raise BlockingIOError(*error.args) from error
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(path: Path, certain: bool = False) -> int | None:
    """Take the lock that a file stands for, and hold it until the returned descriptor is closed with ``os.close``.

    A file system without locks holds nobody up: a warning is logged, and the lock counts as taken.

    Args:
        path: made where it is missing; its folder has to be there.
        certain: where the file system has no locks, say that another process has it.

    Returns:
        The descriptor; None where another process has the lock, or another part of this one.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if certain:
            os.close(descriptor)
            return None
        logger.warning("cannot lock %s (%s): let no other process write there", path, error.strerror)
    if not is_lock_of(descriptor, path):  # whoever had it has moved or removed it meanwhile
        os.close(descriptor)
        return None
    return descriptor


def is_lock_of(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one of that name, which may have been moved away."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
