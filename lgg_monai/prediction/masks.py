"""Reading masks that people outlined or corrected: NIfTI, 3D Slicer's ``.seg.nrrd``, DICOM SEG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.file_names import NIFTI_SUFFIXES
from lgg_monai.data.grids import coinciding, leads_to_places, same_grid
from lgg_monai.data.scan import Scan
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.prediction.nifti import NiftiSource
from lgg_monai.prediction.nifti_volume import Volume, is_placed, read_volume, three_d

SUFFIXES = (*NIFTI_SUFFIXES, ".seg.nrrd", ".nrrd", ".dcm")
MOST_LABELS = 8
"""That are told one by one."""
# NRRD's names for what its first three coordinates grow towards, against RAS.
_NRRD_SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
}


@dataclass(frozen=True)
class MaskFile:
    """What a file of masks holds.

    Args:
        array: true where any of its segments is [X, Y, Z], in whatever order the file has its axes.
        affine: voxel indices to RAS millimetres [4, 4].
        placed: the file says where it lies.
        partial: it may span less than its scan, as these formats are made for.
        parts: what it tells apart, in words, where that is more than one thing.
    """

    array: np.ndarray
    affine: np.ndarray
    placed: bool
    partial: bool = False
    parts: str = ""


def load_mask(path: Path, scan: Scan) -> np.ndarray:
    """Read a reference mask ``[X, Y, Z]`` onto a scan's grid: what is above 0.5 is tumour, so every label but 0.

    A mask may have its axes turned and, but for NIfTI, span less than the scan, as long as its voxels are the scan's.
    Several labels or segments are taken together, and the scan is warned of that.

    Raises:
        LggError: the file cannot be read, its voxels are not the scan's, or it marks some outside of the scan.
    """
    found = _read(path)
    shape = scan.image.shape[1:]
    if found.parts:
        scan.warnings.append(f"{path.name} has {found.parts}, all taken to be tumour")
    if same_grid(found.array.shape, found.affine, shape, scan.affine):
        return found.array
    mask = None
    # Where nobody recorded a position, nibabel makes one up, which may be that of the mirror image.
    # And a NIfTI file of another size is more likely one whose header is wrong than a part of the scan.
    if found.placed and _is_placed(scan) and (found.partial or sorted(found.array.shape) == sorted(shape)):
        mask = coinciding(found.array, found.affine, shape, scan.affine)
    if mask is None:
        raise LggError(f"the reference mask {path} lies on another grid than the scan: resample it")
    outside = int(found.array.sum()) - int(mask.sum())
    if outside:
        raise LggError(
            f"the reference mask {path} marks {outside} voxels outside of the scan: is it another patient's?"
        )
    return mask


def _read(path: Path) -> MaskFile:
    if path.name.lower().endswith(".nrrd"):
        return _read_nrrd(path)
    if path.name.lower().endswith(".dcm"):
        return _read_seg(path)
    volume: Volume = three_d(read_volume(path))
    marked = volume.array > 0.5
    labels = np.unique(volume.array[marked])
    parts = ""
    if len(labels) > 1 and np.array_equal(labels, np.rint(labels)):  # unlike those of a mask that was resampled
        named = ", ".join(f"{label:.0f}" for label in labels[:MOST_LABELS])
        parts = f"the labels {named}" + (f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else "")
    return MaskFile(marked, volume.affine, volume.placed, parts=parts)


def _read_nrrd(path: Path) -> MaskFile:
    """Read what 3D Slicer saves: one volume of numbers, or a list of them where segments overlap."""
    require_packages("predict", "nrrd", what=f"reading {path}")
    import nrrd

    if not os.path.getsize(path):
        raise LggError(f"{path} is empty: save it again")
    try:
        array, header = nrrd.read(str(path))
    except MemoryError:
        raise
    except Exception as error:  # pynrrd, zlib and bz2 raise many kinds on a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".replace(str(path), "the file").split())
        raise LggError(
            f"cannot read {path} as NRRD, it is damaged or cut short ({reason[:160]}): save it again"
        ) from error
    names = [str(header[f"Segment{number}_Name"]) for number in range(len(header)) if f"Segment{number}_Name" in header]
    signs = _NRRD_SPACES.get(str(header.get("space", "")).lower())
    directions = _rows(header.get("space directions"))
    spatial = [axis for axis, direction in enumerate(directions) if np.isfinite(direction).all()]
    if signs is None or len(spatial) != 3 or len(directions) != array.ndim or "space origin" not in header:
        raise LggError(f"{path} says nothing of its position: save it from 3D Slicer as a segmentation")
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs) @ np.array([directions[axis] for axis in spatial]).T
    affine[:3, 3] = np.array(signs) * np.asarray(header["space origin"], dtype=float)
    if not leads_to_places(affine):
        raise LggError(f"no usable orientation and spacing in {path}: save it again")
    marked = array > 0.5
    if marked.ndim > 3:
        marked = marked.any(axis=tuple(axis for axis in range(array.ndim) if axis not in spatial))
    if array.size == 1:  # how Slicer saves that nothing is segmented
        marked = np.zeros_like(marked)
    return MaskFile(marked, affine, True, True, _several(names))


def _rows(directions: Any) -> list[np.ndarray]:
    """Return a vector an axis; pynrrd has NaN or None for an axis that is not of space."""
    if directions is None:
        return []
    return [np.full(3, np.nan) if row is None else np.asarray(row, dtype=float) for row in directions]


def _read_seg(path: Path) -> MaskFile:
    require_packages("dicom", "pydicom", "highdicom", what=f"reading {path}")
    from lgg_monai.dicom.seg import read_seg

    array, affine, names = read_seg(path)
    return MaskFile(array, affine, True, True, _several(names))


def _several(segments: Sequence[str]) -> str:
    return f"{len(segments)} segments" if len(segments) > 1 else ""


def _is_placed(scan: Scan) -> bool:
    return not isinstance(scan.source, NiftiSource) or is_placed(scan.source.header)
