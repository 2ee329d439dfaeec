"""Which mistakes are of one scan, and which stop all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.errors import LggError
from lgg_monai.prediction.failures import reason_of


def unread() -> Scan:
    raise AssertionError("what went wrong is given")


SOURCE = ScanSource("p1", "nifti", Path("p1.nii"), unread)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_where_nothing_can_be_written_no_other_scan_is_tried(code: int) -> None:
    with pytest.raises(LggError, match=r"^cannot write to out \(.*\): free space or choose another --output"):
        reason_of(OSError(code, os.strerror(code)), SOURCE, Path("out"), keep_identity=False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LggError("p1.nii is empty:\ncopy it again"), "p1.nii is empty: copy it again"),
        (MemoryError(), "not enough memory"),
        (OSError(errno.EIO, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_any_other_mistake_is_one_line_of_its_scan(error: Exception, reason: str) -> None:
    assert reason_of(error, SOURCE, Path("out"), keep_identity=False) == reason
