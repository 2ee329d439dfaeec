"""Segmenting one scan from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor

from lgg_monai.data.grids import leads_to_places
from lgg_monai.data.identity import files_state
from lgg_monai.data.scan import Scan
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.data.tiff_stack import UNKNOWN_GEOMETRY
from lgg_monai.errors import LggError
from lgg_monai.prediction import outputs
from lgg_monai.prediction.checks import require_sound
from lgg_monai.prediction.inputs import find_scans
from lgg_monai.prediction.models import files_behind, load_segmenter
from lgg_monai.prediction.nifti import scan_of_picture
from lgg_monai.prediction.segmenter import Segmenter
from lgg_monai.prediction.steps import assess, draw


@dataclass(frozen=True)
class Segmentation:
    """A mask and what is known of it, on the grid of the input. For research use only, not a medical device.

    Args:
        mask: boolean [X, Y, Z].
        probability: of tumour [X, Y, Z], float32.
        affine: voxel indices to RAS millimetres [4, 4].
        measurements: see `lgg_monai.prediction.measurements.DEFINITIONS`.
        warnings: what a reader should know, one line each.
    """

    mask: np.ndarray
    probability: np.ndarray
    affine: np.ndarray
    measurements: dict[str, Any]
    warnings: list[str]

    def to_nifti(self) -> nibabel.Nifti1Image:
        """Return the mask as a NIfTI image."""
        picture = nibabel.Nifti1Image(self.mask.astype(np.uint8), self.affine)
        picture.header.set_xyzt_units("mm")
        return picture


def segment(
    scan: Any,
    affine: np.ndarray | None = None,
    *,
    bundle: str | Path | Sequence[str | Path] = "unet",
    checkpoint: str | Path | Sequence[str | Path] = (),
    device: str | None = None,
    precision: str = "auto",
    tta: bool = False,
    segmenter: Segmenter | None = None,
) -> Segmentation:
    """Segment one scan; the networks stay loaded for the next call with the same options and unchanged files.

    Args:
        scan: an array, FLAIR ``[X, Y, Z]`` or pre, FLAIR, post ``[3, X, Y, Z]``; a nibabel image, 3D or 4D with the
            sequences last; or the path of anything that ``lgg-monai predict`` takes, holding one scan.
        affine: of an array: voxel indices to RAS millimetres; by default the one that a MONAI MetaTensor carries.
            Without one, and for a MetaTensor with the identity, which stands for none, X is taken to grow to the
            patient's left, Y to the back, Z is the slice, and spacing is unknown.
        bundle: one, or several that make an ensemble; see `lgg_monai.prediction.models.load_segmenter`.
        checkpoint: weights to use rather than the bundle's own; several make an ensemble.
        device: such as ``cpu`` or ``cuda:0``; the first GPU by default, where there is one.
        precision: ``auto``, ``fp32``, ``bf16``, or ``int8``, see `lgg_monai.prediction.models.load_segmenter`.
        tta: average with the predictions of the mirrored slices.
        segmenter: use this one rather than load one.

    Raises:
        LggError: the scan or its affine cannot be used, or there is no such bundle or weights.
    """
    label = None
    if isinstance(scan, str | os.PathLike):
        sources = find_scans([Path(scan)])
        if len(sources) > 1:
            raise LggError(f"{len(sources)} scans in {scan}: segment takes one; use lgg-monai predict for many")
        volume = sources[0].load()
        label = outputs.read_label(sources[0], volume)
    elif isinstance(scan, nibabel.spatialimages.SpatialImage):
        volume = scan_of_picture(scan)
    else:
        volume = _scan_of_array(scan, affine)
    require_sound(volume)
    if segmenter is None:
        bundles, checkpoints = _names(bundle), _names(checkpoint)
        files = files_behind(bundles, checkpoints)
        state = (files_state(files), *map(str, files))
        segmenter = _loaded(bundles, checkpoints, device, precision, tta, state)
    found = assess(draw(segmenter, segmenter.prepare(volume)), label, segmenter.seen)
    return Segmentation(
        found.mask, found.probability.astype(np.float32), volume.affine, found.measurements, found.warnings
    )  # fmt: skip


@lru_cache(maxsize=2)
def _loaded(
    bundles: tuple[str, ...],
    checkpoints: tuple[str, ...],
    device: str | None,
    precision: str,
    tta: bool,
    state: tuple[str | None, ...],
) -> Segmenter:
    """Load networks, once for each ``state`` of their files: names alone say nothing of what has replaced what."""
    return load_segmenter(bundles, checkpoints, device=device, precision=precision, tta=tta)


def _names(given: str | os.PathLike[str] | Sequence[str | Path]) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, str | os.PathLike) else tuple(map(str, given))


def _scan_of_array(array: Any, affine: np.ndarray | None) -> Scan:
    carried = array.affine.numpy(force=True) if isinstance(array, MetaTensor) else np.eye(4)
    if affine is None and not np.array_equal(carried, np.eye(4)):
        affine = carried
    try:
        image = np.array(array.numpy(force=True) if isinstance(array, torch.Tensor) else array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise LggError(f"cannot take a {type(array).__name__} as a scan: give an array, an image or a path") from error
    if image.ndim == 3:
        image = image[None]
    if image.ndim != 4 or image.shape[0] not in (1, len(SEQUENCES)) or 0 in image.shape:
        found = " x ".join(map(str, image.shape))
        raise LggError(f"an array of {found} is no scan: give [X, Y, Z] (FLAIR) or [3, X, Y, Z] (pre, FLAIR, post)")
    missing = ("pre", "post") if image.shape[0] == 1 else ()
    if missing:
        image = np.repeat(image, len(SEQUENCES), axis=0)
    if affine is None:
        return Scan("array", image, UNKNOWN_GEOMETRY.copy(), False, missing)
    try:
        grid = np.asarray(affine, dtype=float)
    except (TypeError, ValueError):
        grid = np.zeros(0)
    if not leads_to_places(grid):
        raise LggError(f"the affine {affine!r} leads to no places: give a matrix [4, 4] from voxels to RAS millimetres")
    return Scan("array", image, grid, True, missing)
