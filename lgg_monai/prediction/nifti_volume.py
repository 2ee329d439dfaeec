"""One NIfTI file as an array with its geometry, or a clear word on what is wrong with it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lgg_monai.data.grids import leads_to_places
from lgg_monai.data.tiff_stack import UNKNOWN_GEOMETRY
from lgg_monai.errors import LggError
from lgg_monai.files import require_whole_gzip

MOST_VOXELS = 2**31


@dataclass(frozen=True)
class Volume:
    """A file's real values and where they lie.

    Args:
        array: float32, [X, Y, Z] or [X, Y, Z, N].
        affine: voxel indices to RAS [4, 4], in the header's unit of length.
        header: of NIfTI-1 or NIfTI-2.
        path: of the file, for messages.
        warnings: what was changed of its values.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Any
    path: Path
    warnings: tuple[str, ...] = ()

    @property
    def placed(self) -> bool:
        """The header says how the volume lies in space."""
        return is_placed(self.header)


def is_placed(header: Any) -> bool:
    """Tell whether a NIfTI header says how its volume lies in space; where it does not, nibabel makes that up."""
    return bool(header["sform_code"] or header["qform_code"])


def read_volume(path: Path) -> Volume:
    """Read a file.

    Raises:
        LggError: it is missing, damaged, or no volume of grey values.
    """
    return volume_of(_open(path), path)


def volume_of(picture: Any, path: Path) -> Volume:
    """Read the values of a nibabel image.

    Raises:
        LggError: they are damaged, or no volume of grey values.
    """
    dtype, shape = picture.get_data_dtype(), picture.shape
    if dtype.names is not None or dtype.kind not in "biuf":
        what = "a colour picture" if dtype.names is not None else f"of {dtype} numbers"
        raise LggError(f"{path} is {what}, not a scan: give grey values")
    # Axes of length 1 beyond the third say nothing.
    shape = shape[:3] + tuple(length for length in shape[3:] if length != 1)
    if len(shape) not in (3, 4) or 0 in shape:
        found = " x ".join(map(str, picture.shape))
        raise LggError(f"{path} has {found} voxels: give a 3D volume, or a 4D one of pre, FLAIR and post")
    if math.prod(shape) > MOST_VOXELS:
        raise LggError(f"{path} has {math.prod(shape):.1e} voxels by its header: is it a scan?")
    try:
        array = np.asarray(picture.dataobj, dtype=np.float32).reshape(shape)
    except MemoryError:
        raise
    except Exception as error:  # gzip, zlib and nibabel raise many kinds on a damaged file
        raise _unreadable(path, error) from error
    affine = picture.header.get_best_affine() if picture.affine is None else picture.affine
    array, warnings = _with_air(array, path)
    return Volume(array, np.asarray(affine, dtype=float), picture.header, path, warnings)


def three_d(volume: Volume) -> Volume:
    """Return a volume that has three axes.

    Raises:
        LggError: it has a fourth.
    """
    if volume.array.ndim != 3:
        found = " x ".join(map(str, volume.array.shape))
        raise LggError(f"{volume.path} has {found} voxels: expected one 3D volume a sequence")
    return volume


def require_affine(volume: Volume) -> None:
    """Prove that the affine leads from voxels to places and back.

    Raises:
        LggError: it does not.
    """
    if not leads_to_places(volume.affine):
        raise LggError(f"no usable orientation and spacing in {volume.path}: export it again")


def spacing(volume: Volume) -> tuple[bool, str]:
    """Tell whether the affine's lengths are measured, and what to warn of."""
    unit = volume.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        return False, f"lengths are in {unit} by the header, not mm: spacing is taken to be unknown"
    if np.array_equal(volume.affine, UNKNOWN_GEOMETRY):
        return False, ""  # what `lgg-monai convert` writes where nothing was recorded
    if np.array_equal(volume.affine, np.eye(4)):
        return False, "the affine is a placeholder: spacing is unknown, and orientation is taken to be RAS"
    if not volume.placed:
        zooms = volume.header.get_zooms()[:3]
        axes = "".join(nibabel.aff2axcodes(volume.affine))
        return not np.allclose(zooms, 1), f"the header records no orientation: taken to be {axes}"
    return True, ""


def two_orientations(volume: Volume) -> str:
    """Warn of a header whose qform and sform point the axes elsewhere: programs then differ on which side is left."""
    header = volume.header
    if not (header["sform_code"] and header["qform_code"]):
        return ""
    try:
        other = "".join(map(str, nibabel.aff2axcodes(header.get_qform())))
    except nibabel.spatialimages.HeaderDataError:  # a quaternion that is none; the sform is taken anyway
        return ""
    axes = "".join(map(str, nibabel.aff2axcodes(volume.affine)))
    return "" if axes == other else f"axes are {axes} by the header's sform, which is taken, but {other} by its qform"


def _open(path: Path) -> Any:
    if not path.is_file():
        what = "a broken link" if path.is_symlink() else "missing"
        raise LggError(f"{path} is {what}: give a file that exists")
    if not os.path.getsize(path):
        raise LggError(f"{path} is empty: copy it again")
    try:
        misnamed = _misnamed(path)
        if not misnamed:
            require_whole_gzip(path)
            picture: Any = nibabel.load(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    if misnamed:
        raise LggError(misnamed)
    if not isinstance(picture, nibabel.Nifti1Image | nibabel.Nifti2Image):
        raise LggError(f"{path} is not NIfTI: convert it")
    return picture


def _with_air(array: np.ndarray, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Take voxels that are NaN for air, as SPM and others leave them where nothing was scanned, and say so."""
    nothing = np.isnan(array)
    if not nothing.any():
        return array, ()
    air = min(0.0, float(np.fmin.reduce(array, axis=None)))  # 0, but below that where the scan was normalised before
    warning = f"{nothing.mean():.1%} of the voxels of {path.name} are not numbers (NaN): taken for air"
    return np.where(nothing, np.float32(air), array), (warning,)


def _misnamed(path: Path) -> str:
    """Say of a whole file that it is under the other form's name, as where a browser unpacked what it loaded."""
    with path.open("rb") as file:
        start = file.read(348)
    if path.suffix.lower() == ".gz" and start[344:347] == b"n+1":
        return f"{path} is not compressed, as .gz says: name it {path.name[:-3]}"
    if path.suffix.lower() == ".nii" and start[:2] == b"\x1f\x8b":
        return f"{path} is compressed, as .nii does not say: name it {path.name}.gz"
    return ""


def _unreadable(path: Path, error: Exception) -> LggError:
    reason = " ".join(f"{type(error).__name__}: {error}".replace(str(path), "the file").split())
    return LggError(f"cannot read {path} as NIfTI, it is damaged, cut short or no image ({reason[:160]}): replace it")
