"""What went wrong, told in one line: of one scan, or of the disk, which stops all."""

from __future__ import annotations

import errno
import logging
from contextlib import AbstractContextManager
from pathlib import Path

from lgg_monai.data.scan import ScanSource
from lgg_monai.errors import LggError
from lgg_monai.files import told_in_one_line

logger = logging.getLogger(__name__)

# No other patient fares better then.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def reason_of(error: Exception, source: ScanSource, output: Path, keep_identity: bool) -> str:
    """Say in one line why a scan failed.

    Raises:
        LggError: no other scan could be written either.
    """
    if isinstance(error, OSError) and error.errno in _FATAL:
        with writing(output):
            raise error
    if isinstance(error, LggError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    elif isinstance(error, OSError) and source.kind == "dicom" and not keep_identity:
        text = f"{type(error).__name__}: {error.strerror}"  # the path in its own text may name the patient
    else:
        text = f"{type(error).__name__}: {error}"
        logger.debug("unexpected error on %s", source.name, exc_info=error)
    return in_one_line(text, source, keep_identity)


def in_one_line(text: str, source: ScanSource, keep_identity: bool) -> str:
    """Write a text in one line, without the path of DICOM files, which may name the patient."""
    path = str(source.path)
    if source.kind == "dicom" and not keep_identity and len(path) > 1:  # "." or "/" is no name, but in every sentence
        text = text.replace(path, "the series")
    return " ".join(text.encode("utf-8", "replace").decode().split())  # a file's name may be no text at all


def writing(output: Path) -> AbstractContextManager[None]:
    """Make one line of a disk that is full or cannot be written to, see `lgg_monai.files.told_in_one_line`."""
    return told_in_one_line(f"to {output}", "free space or choose another --output")
