"""A patient as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = "report.html"  # in the folder of the results


@dataclass(frozen=True)
class ReportPatient:
    """One row of the page. Volumes lie on one grid and are read when their data beside the page are older.

    Args:
        name: any text; the page escapes it.
        image: NIfTI of FLAIR ``[X, Y, Z]``, or of the sequences pre, FLAIR, post ``[X, Y, Z, 3]``; None if unread.
        mask: NIfTI of the predicted mask on the same grid; None where there is none.
        truth: NIfTI of a reference mask on the same grid, where one is known.
        probability: NIfTI of the tumour's probability, 0 to 1, on the same grid, where it was asked for.
        seg: DICOM SEG of the predicted mask, to be offered as a file.
        measurements: name to value, in the order of their columns: a number, a text, a bool or None.
        warnings: what a reader of the results should know, one line each.
        spacing_known: False where the volumes' voxels have no known size; proportions on the page are then a guess.
        error: why the patient failed, one line; the volumes may then be missing.
    """

    name: str
    image: Path | None = None
    mask: Path | None = None
    truth: Path | None = None
    probability: Path | None = None
    seg: Path | None = None
    measurements: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    spacing_known: bool = True
    error: str | None = None
