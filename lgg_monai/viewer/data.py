"""The data beside the page: one patient's volumes as a script, which a page opened from disk may load, unlike files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy.ndimage import binary_erosion, generate_binary_structure

from lgg_monai.errors import LggError
from lgg_monai.files import replacing, write_text
from lgg_monai.viewer.patient import ReportPatient
from lgg_monai.viewer.pictures import draw_pictures
from lgg_monai.viewer.volumes import PLANES, Grid, Volumes, read_volumes

DATA = "viewer"
VOLUMES, SLICES, THUMBNAIL = "volumes.js", "slices.webp", "thumbnail.webp"
FORMAT = 2  # of these files; a new one makes old ones be written again


@dataclass(frozen=True)
class Embedded:
    """What lies beside the page for one patient.

    Args:
        identity: of the patient, the name of the folder within `DATA`.
        thumbnail: a small WebP picture.
        slice_number: of the thumbnail, from 1 in the file's order.
        slices: in the volume along that direction.
    """

    identity: str
    thumbnail: bytes
    slice_number: int
    slices: int


def identity_of(name: str) -> str:
    """Make a file name of any patient's name; the same name gives the same one."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def embed(folder: Path, patient: ReportPatient, phantom: bool) -> Embedded:
    """Write a patient's volumes and pictures into ``folder/viewer``, unless they are there and up to date.

    Intensities are cut to 8 bits between their 1st and 99.5th percentile: enough to look at, small enough to load.

    Raises:
        LggError: the volumes cannot be read or shown.
        OSError: the disk is full, or cannot be written to.
    """
    try:
        return _embed(folder, patient, phantom)
    except (LggError, OSError):
        raise
    except Exception as error:  # an odd volume must not cost the page of all the others
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise LggError(f"cannot draw {patient.name} for the page ({what}): open its files in another viewer") from error


def _embed(folder: Path, patient: ReportPatient, phantom: bool) -> Embedded:
    identity = identity_of(patient.name)
    place = Path(folder) / DATA / identity
    fingerprint = _fingerprint(patient, phantom)
    known = _read_known(place, fingerprint)
    if known is not None:
        return Embedded(identity, (place / THUMBNAIL).read_bytes(), known["slice"], known["slices"])

    volumes = read_volumes(patient)
    drawn = draw_pictures(volumes, "PHANTOM" if phantom else "")
    for name, content in ((THUMBNAIL, drawn.thumbnail), (SLICES, drawn.slices)):
        with replacing(place / name) as temporary:
            temporary.write_bytes(content)
    slices = volumes.grid.shape[volumes.grid.file_axis(volumes.grid.plane)]
    header = json.dumps({"fingerprint": fingerprint, "slice": drawn.slice_number, "slices": slices})
    # Last, as its first line says that all files are of these volumes.
    script = _script_safe(_content(identity, volumes, patient.spacing_known))
    write_text(place / VOLUMES, f"// {header}\nlggViewer.receive({script});\n")
    return Embedded(identity, drawn.thumbnail, drawn.slice_number, slices)


def _content(identity: str, volumes: Volumes, spacing_known: bool) -> dict[str, Any]:
    grid = volumes.grid
    affine = grid.affine if spacing_known else grid.head_affine()
    low, high = volumes.window
    flair = np.clip((volumes.flair - low) / max(high - low, 1e-6), 0, 1)
    layers = {"flair": _nifti(np.rint(flair * 255).astype(np.uint8), affine)}
    if volumes.probability is not None:
        probability = np.rint(np.clip(volumes.probability, 0, 1) * 255).astype(np.uint8)
        layers["probability"] = _nifti(probability, affine)
    if volumes.truth is not None:
        layers["truth"] = _nifti(_with_edge(volumes.truth, grid), affine)
    if volumes.mask is not None:
        layers["mask"] = _nifti(_with_edge(volumes.mask, grid), affine)
    return {
        "id": identity,
        "plane": grid.plane,
        # Slices are numbered as in the file, which may run against the viewer's axes.
        "axes": [
            {"plane": PLANES[axis], "size": grid.shape[grid.file_axis(axis)], "flipped": grid.flipped(axis)}
            for axis in range(3)
        ],
        "centre": grid.ras_voxel(volumes.centre),
        "tumour": bool(any(part is not None and part.any() for part in (volumes.mask, volumes.truth))),
        "layers": layers,
    }


def _with_edge(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Give 1 within a mask and 2 on its outermost voxels in each slice, so that the viewer can draw an outline."""
    cross = generate_binary_structure(2, 1)
    structure = np.expand_dims(cross, grid.file_axis(grid.plane))
    return np.asarray(mask.astype(np.uint8) + (mask & ~binary_erosion(mask, structure)))


def _nifti(volume: np.ndarray, affine: np.ndarray) -> str:
    """Compress a volume as NIfTI, in base64."""
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    # Level 6 takes three times the time for 3 % fewer bytes.
    return base64.b64encode(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)).decode("ascii")


def _script_safe(content: dict[str, Any]) -> str:
    """Write JSON that is safe within a script, whatever the texts are."""
    return json.dumps(content).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fingerprint(patient: ReportPatient, phantom: bool) -> str:
    """Tell by sizes and times of the files whether what is there is of them."""
    parts: list[Any] = [FORMAT, phantom, patient.spacing_known]
    for path in (patient.image, patient.mask, patient.truth, patient.probability):
        state = path.stat() if path is not None and path.is_file() else None
        parts.append(None if state is None else [state.st_size, state.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _read_known(place: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read the first line of a patient's volumes; None unless all files are there and of this fingerprint."""
    if not all((place / name).is_file() for name in (VOLUMES, SLICES, THUMBNAIL)):
        return None
    try:
        with (place / VOLUMES).open(encoding="utf-8") as stream:
            known = json.loads(stream.readline().removeprefix("// "))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and known.get("fingerprint") == fingerprint else None
