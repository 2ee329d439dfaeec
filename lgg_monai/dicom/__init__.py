"""DICOM in and out: finding and reading series, masks as DICOM SEG. Needs the extra ``dicom``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgg_monai.dicom.find import find_dicom
    from lgg_monai.dicom.seg import write_seg

__all__ = ["find_dicom", "write_seg"]

# Loaded on first use: a prediction from other files must not need pydicom and highdicom.
_HOMES = {"find_dicom": "find", "write_seg": "seg"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
