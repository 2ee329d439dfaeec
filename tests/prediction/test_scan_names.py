"""Names that tell scans apart where file systems do not tell capitals."""

from __future__ import annotations

from pathlib import Path

from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.prediction.scan_names import with_own_names


def unread() -> Scan:
    raise AssertionError("names need no pixels")


def test_names_that_differ_in_capitals_alone_get_numbers() -> None:
    kinds = {"Anna": "dicom", "anna": "nifti", "ANNA_2": "dicom"}
    sources = [ScanSource(name, kind, Path(kind) / name, unread) for name, kind in kinds.items()]
    assert [source.name for source in with_own_names(sources)] == ["Anna", "anna_2", "ANNA_2_2"]
