"""Reading scans from NIfTI files, and writing volumes back onto a scan's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lgg_monai.data.grids import covered, onto_grid, same_grid
from lgg_monai.data.scan import Scan
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.errors import LggError
from lgg_monai.files import replacing
from lgg_monai.prediction.nifti_volume import (
    Volume,
    read_volume,
    require_affine,
    spacing,
    three_d,
    two_orientations,
    volume_of,
)

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


def load_sequences(name: str, files: Mapping[str, Path], warnings: tuple[str, ...] = ()) -> Scan:
    """Read one file a sequence, and resample the others onto FLAIR's grid where theirs differs.

    Args:
        name: of the scan.
        files: by sequence; ``flair`` is needed.
        warnings: what is known already.

    Raises:
        LggError: a file is no 3D NIfTI volume, or nothing tells where one of another size lies.
    """
    flair = three_d(read_volume(files["flair"]))
    image = np.empty((len(SEQUENCES), *flair.array.shape), np.float32)
    notes = list(warnings)
    for channel, sequence in enumerate(SEQUENCES):
        if sequence == "flair" or sequence not in files:
            image[channel] = flair.array
            continue
        other = three_d(read_volume(files[sequence]))
        notes += other.warnings
        if other.array.shape == flair.array.shape and not (other.placed and flair.placed):
            image[channel] = other.array  # no header to place them by, so the same voxels are taken to coincide
            if not same_grid(other.array.shape, other.affine, flair.array.shape, flair.affine):
                notes.append(f"{other.path.name} says nothing of its position: taken to lie on FLAIR's grid")
            continue
        for volume in (other, flair):
            if not volume.placed:  # nibabel makes a position up, which may be that of the mirror image
                raise LggError(
                    f"{volume.path} says nothing of its position, and {sequence} is not of FLAIR's size: "
                    "resample it onto FLAIR's grid, or leave it out"
                )
        require_affine(other)
        image[channel] = onto_grid(other.array, other.affine, flair.array.shape, flair.affine)
        share = covered(other.array.shape, other.affine, flair.array.shape, flair.affine)
        if share < COVERED:
            notes.append(f"{sequence} covers {share:.0%} of FLAIR's volume")
    missing = tuple(sequence for sequence in SEQUENCES if sequence not in files)
    return _scan(name, image, flair, missing, notes)


def load_volume(
    name: str, path: Path, channels: Mapping[str, int] | None = None, warnings: tuple[str, ...] = ()
) -> Scan:
    """Read one file whose name does not tell its sequence: 4D with the sequences last, or FLAIR alone.

    Args:
        name: of the scan.
        path: the file.
        channels: the sequences' indices in a 4D file; pre, FLAIR, post by default.
        warnings: what is known already.

    Raises:
        LggError: the file is no NIfTI volume, or a 4D one whose sequences are not known.
    """
    volume = read_volume(path)
    scan = _scan_of(name, volume, channels)
    scan.warnings += warnings
    if volume.array.ndim == 3:
        scan.warnings.insert(0, f"{path.name} is taken to be FLAIR: its name does not say")
    elif channels is None:
        scan.warnings.insert(0, f"{path.name} is taken to hold pre, FLAIR, post in this order: nothing names them")
    return scan


def _scan_of(name: str, volume: Volume, channels: Mapping[str, int] | None) -> Scan:
    array, path = volume.array, volume.path
    if array.ndim == 3:
        return _scan(name, np.stack([array] * 3), volume, ("pre", "post"), [])
    if channels is None:
        if array.shape[3] != len(SEQUENCES):
            raise LggError(
                f"{array.shape[3]} volumes in {path}: expected 3 (pre, FLAIR, post) or one FLAIR; "
                "name them in a dataset.json beside its folder, or give a file each with --flair, --pre and --post"
            )
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
    return _scan_of(path.name, volume_of(picture, path), None)


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


def _scan(name: str, image: np.ndarray, flair: Volume, missing: tuple[str, ...], notes: list[str]) -> Scan:
    require_affine(flair)
    known, problem = spacing(flair)
    problems = (problem, two_orientations(flair))
    notes = [*notes, *flair.warnings, *(problem for problem in problems if problem)]
    return Scan(name, image, flair.affine, known, missing, notes, NiftiSource(flair.header))
