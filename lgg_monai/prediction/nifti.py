"""Reading scans from NIfTI files, and writing volumes back onto a scan's own grid."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lgg_monai.data.tiff_stack import UNKNOWN_GEOMETRY
from lgg_monai.errors import LggError
from lgg_monai.files import replacing
from lgg_monai.prediction.geometry import covered, onto_grid, same_grid
from lgg_monai.prediction.scan import SEQUENCES, Scan

MOST_VOXELS = 2**31
COVERED = 0.9
"""Part of FLAIR's volume that another sequence should cover."""
_GEOMETRY_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)


@dataclass(frozen=True)
class NiftiSource:
    """The FLAIR file's header, whose geometry every output repeats; its texts, which may name a patient, are not used.

    Args:
        header: of NIfTI-1 or NIfTI-2.
    """

    header: Any


@dataclass(frozen=True)
class _Volume:
    array: np.ndarray
    affine: np.ndarray
    header: Any
    path: Path

    @property
    def placed(self) -> bool:
        """The header says how the volume lies in space."""
        return bool(self.header["sform_code"] or self.header["qform_code"])


def load_sequences(name: str, files: Mapping[str, Path], warnings: tuple[str, ...] = ()) -> Scan:
    """Read one file a sequence, and resample the others onto FLAIR's grid where theirs differs.

    Args:
        name: of the scan.
        files: by sequence; ``flair`` is needed.
        warnings: what is known already.

    Raises:
        LggError: a file is no 3D NIfTI volume.
    """
    flair = _three_d(_read(files["flair"]))
    image = np.empty((len(SEQUENCES), *flair.array.shape), np.float32)
    notes = list(warnings)
    for channel, sequence in enumerate(SEQUENCES):
        if sequence == "flair" or sequence not in files:
            image[channel] = flair.array
            continue
        other = _three_d(_read(files[sequence]))
        if other.array.shape == flair.array.shape and not (other.placed and flair.placed):
            image[channel] = other.array  # no header to place them by, so the same voxels are taken to coincide
            if not same_grid(other.array.shape, other.affine, flair.array.shape, flair.affine):
                notes.append(f"{other.path.name} says nothing of its position: taken to lie on FLAIR's grid")
            continue
        _require_affine(other)
        image[channel] = onto_grid(other.array, other.affine, flair.array.shape, flair.affine)
        share = covered(other.array.shape, other.affine, flair.array.shape, flair.affine)
        if share < COVERED:
            notes.append(f"{sequence} covers {share:.0%} of FLAIR's volume")
    missing = tuple(sequence for sequence in SEQUENCES if sequence not in files)
    return _scan(name, image, flair, missing, notes)


def load_volume(name: str, path: Path, channels: Mapping[str, int] | None = None) -> Scan:
    """Read one file whose name does not tell its sequence: 4D with the sequences last, or FLAIR alone.

    Args:
        name: of the scan.
        path: the file.
        channels: the sequences' indices in a 4D file; pre, FLAIR, post by default.

    Raises:
        LggError: the file is no NIfTI volume, or a 4D one whose sequences are not known.
    """
    return _scan_of(name, _read(path), channels)


def _scan_of(name: str, volume: _Volume, channels: Mapping[str, int] | None) -> Scan:
    array, path = volume.array, volume.path
    if array.ndim == 3:
        note = f"{path.name} is taken to be FLAIR: its name does not say"
        return _scan(name, np.stack([array] * 3), volume, ("pre", "post"), [note])
    if channels is None:
        if array.shape[3] != len(SEQUENCES):
            message = (
                f"{array.shape[3]} volumes in {path}: expected 3 (pre, FLAIR, post) or one FLAIR; "
                "give one file a sequence with --flair, --pre and --post"
            )
            raise LggError(message)
        channels = dict(zip(SEQUENCES, range(3), strict=True))
    if "flair" not in channels or max(channels.values()) >= array.shape[3]:
        raise LggError(
            f"{array.shape[3]} volumes in {path}, and no FLAIR among them by dataset.json: correct one of them"
        )
    image = np.stack([array[..., channels.get(sequence, channels["flair"])] for sequence in SEQUENCES])
    missing = tuple(sequence for sequence in SEQUENCES if sequence not in channels)
    return _scan(name, image, volume, missing, [])


def scan_of_picture(picture: Any) -> Scan:
    """Take a nibabel image, 3D (FLAIR) or 4D (pre, FLAIR, post), as a scan.

    Raises:
        LggError: it is neither.
    """
    if not isinstance(picture, nibabel.Nifti1Image | nibabel.Nifti2Image):
        picture = nibabel.Nifti1Image.from_image(picture)
    path = Path(picture.get_filename() or "the image")
    scan = _scan_of(path.name, _volume(picture, path), None)
    scan.warnings = [note for note in scan.warnings if "its name does not say" not in note]
    return scan


def load_mask(path: Path, scan: Scan) -> np.ndarray:
    """Read a reference mask ``[X, Y, Z]`` on a scan's grid: everything that is not 0 is tumour.

    Raises:
        LggError: the file cannot be read, or lies on another grid.
    """
    mask = _three_d(_read(path))
    shape = scan.image.shape[1:]
    if not same_grid(mask.array.shape, mask.affine, shape, scan.affine):
        raise LggError(f"the reference mask {path} lies on another grid than the scan: resample it")
    return mask.array > 0.5


def write_volume(path: Path, array: np.ndarray, scan: Scan) -> None:
    """Write a volume ``[X, Y, Z]`` on a scan's grid, with the geometry fields of its FLAIR header bit for bit."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    if isinstance(scan.source, NiftiSource):
        for name in _GEOMETRY_FIELDS:
            header[name] = scan.source.header[name]
        header["pixdim"][:4] = scan.source.header["pixdim"][:4]
        # The spatial unit alone: there is no fourth axis to have one.
        header["xyzt_units"] = int(header["xyzt_units"]) & 7
        picture = nibabel.Nifti1Image(array, header.get_best_affine(), header)
    else:
        header.set_xyzt_units("mm")
        picture = nibabel.Nifti1Image(array, scan.affine, header)
        # What DICOM tells is the scanner's space; what nobody recorded is at most "aligned" (nibabel's default).
        code = "scanner" if scan.spacing_known else "aligned"
        picture.set_qform(scan.affine, code)
        picture.set_sform(scan.affine, code)
    with replacing(path) as temporary:
        nibabel.save(picture, temporary)


def _scan(name: str, image: np.ndarray, flair: _Volume, missing: tuple[str, ...], notes: list[str]) -> Scan:
    _require_affine(flair)
    known, problem = _spacing(flair)
    if problem:
        notes = [*notes, problem]
    return Scan(name, image, flair.affine, known, missing, notes, NiftiSource(flair.header))


def _spacing(volume: _Volume) -> tuple[bool, str]:
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


def _read(path: Path) -> _Volume:
    """Read a file's real values as float32, [X, Y, Z] or [X, Y, Z, N]."""
    return _volume(_open(path), path)


def _volume(picture: Any, path: Path) -> _Volume:
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
    return _Volume(array, np.asarray(affine, dtype=float), picture.header, path)


def _open(path: Path) -> Any:
    if not path.is_file():
        what = "a broken link" if path.is_symlink() else "missing"
        raise LggError(f"{path} is {what}: give a file that exists")
    if not os.path.getsize(path):
        raise LggError(f"{path} is empty: copy it again")
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as file:
                file.read(1)  # nibabel would say of a file that is not gzip that it is not NIfTI
        picture: Any = nibabel.load(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    if not isinstance(picture, nibabel.Nifti1Image | nibabel.Nifti2Image):
        raise LggError(f"{path} is not NIfTI: convert it")
    return picture


def _three_d(volume: _Volume) -> _Volume:
    if volume.array.ndim != 3:
        found = " x ".join(map(str, volume.array.shape))
        raise LggError(f"{volume.path} has {found} voxels: expected one 3D volume a sequence")
    return volume


def _require_affine(volume: _Volume) -> None:
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(volume.affine[:3, :3])) < 1e-9:
        raise LggError(f"no usable orientation and spacing in {volume.path}: export it again")


def _unreadable(path: Path, error: Exception) -> LggError:
    reason = " ".join(f"{type(error).__name__}: {error}".replace(str(path), "the file").split())
    return LggError(f"cannot read {path} as NIfTI, it is damaged, cut short or no image ({reason[:160]}): replace it")
