"""A scan to be segmented, whatever files it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lgg_monai.data.file_names import safe_name
from lgg_monai.errors import LggError


@dataclass
class Scan:
    """One patient's sequences on one grid, that of FLAIR, in the order in which its files hold it.

    Args:
        name: of the patient, safe as a file name; of DICOM input a pseudonym, never the patient's name.
        image: pre-contrast, FLAIR, post-contrast [3, X, Y, Z], float32; a missing sequence is a copy of FLAIR.
        affine: voxel indices to RAS millimetres [4, 4], as in nibabel.
        spacing_known: False where the files record none (TIFF); volumes are then counted in voxels.
        missing: the sequences that are copies.
        warnings: what a reader of the results should know, one line each.
        source: what a writer in the input's own format needs, such as the FLAIR series' DICOM headers.
    """

    name: str
    image: np.ndarray
    affine: np.ndarray
    spacing_known: bool = True
    missing: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    source: Any = None


@dataclass(frozen=True)
class ScanSource:
    """A scan that was found but not read yet.

    Args:
        name: of the scan, see `Scan`.
        kind: ``tiff``, ``nifti`` or ``dicom``; ``unknown`` of what cannot be used.
        path: file or folder to name in messages.
        load: reads it; raises LggError where it is unusable.
        label: a reference mask on the same grid, where one lies beside the scan: a NIfTI file, or a kaggle_3m folder.
        phantom: the scan is of a synthetic patient.
        files: that ``load`` reads; a scan is segmented again when they changed.
        roles: which of them, or which channel, is which sequence; a scan is segmented again when that changed.
        seg: a DICOM SEG of its mask can be written.
        person: a digest that tells DICOM scans of one person, empty where none is known; neither shown nor written.
    """

    name: str
    kind: str
    path: Path
    load: Callable[[], Scan]
    label: Path | None = None
    phantom: bool = False
    files: tuple[Path, ...] = field(default=(), repr=False)  # of DICOM they may name the patient
    roles: str = field(default="", repr=False)
    seg: bool = False
    person: str = field(default="", repr=False)


def refused(path: Path, reason: str, name: str | None = None, kind: str = "unknown") -> ScanSource:
    """List what cannot be used, so that the reason is told with those of other scans, and does not stop them."""
    return ScanSource(name or safe_name(path.absolute().name), kind, path, partial(_refuse, reason))


def _refuse(reason: str) -> NoReturn:
    raise LggError(reason)
