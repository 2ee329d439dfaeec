"""Sizes of voxels: what networks are shown, and what is unlike that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nibabel.affines import voxel_sizes

Spacing = tuple[float, float, float]
"""Of a voxel in mm, to the patient's left, back and head."""
PIXEL_MM = 240 / 256
"""A typical field of view over the training slices' columns; the training set itself records no spacing."""
PIXEL_TOLERANCE = 0.2
"""The training set's own pixels, and the scales of its augmentation, differ by about as much."""
THICK_MM, THICK_RATIO = 2.0, 1.5
_SIDE_MM = (5.0, 1000.0)


def spacing_of(picture: Any) -> Spacing | None:
    """Return the spacing of a NIfTI image whose axes are turned to LPS; None where its lengths are not in mm."""
    if picture.header.get_xyzt_units()[0] not in ("mm", "unknown"):
        return None
    x, y, z = (float(size) for size in voxel_sizes(picture.affine))
    return x, y, z


def longest_side(picture: Any) -> float:
    """Return the longest side of a NIfTI image in mm by its affine."""
    return max(side * float(mm) for side, mm in zip(picture.shape[:3], voxel_sizes(picture.affine), strict=False))


def may_be_longest(side: float) -> bool:
    """Tell whether a scan's longest side in mm may be so, be it a crop or a phantom; metres by mistake may not."""
    return _SIDE_MM[0] <= side <= _SIDE_MM[1]


def is_as_trained(pixel: float) -> bool:
    """Tell whether the side of a pixel in mm is about what the weights in the box were trained with."""
    return abs(pixel / PIXEL_MM - 1) <= PIXEL_TOLERANCE


def thick_plane(spacing: Spacing) -> str:
    """Name the plane of thick slices that are not axial: ``sagittal`` or ``coronal``, else nothing."""
    thick = spacing.index(max(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != thick]
    if thick == 2 or spacing[thick] <= THICK_MM or spacing[thick] <= THICK_RATIO * min(others):
        return ""
    return ("sagittal", "coronal")[thick]


def spacing_warnings(folder: Path, spacings: Mapping[str, Spacing | None]) -> list[str]:
    """Say of a data set what its networks are shown as it is, and `lgg-monai predict` shows them otherwise.

    Args:
        folder: of the set.
        spacings: of its patients, by name.
    """
    known = {name: spacing for name, spacing in spacings.items() if spacing is not None}
    thick = [name for name in known if thick_plane(known[name])]
    other = [name for name in known if name not in thick and not all(map(is_as_trained, known[name][:2]))]
    found = []
    if thick:
        first = known[thick[0]]
        found.append(
            f"{len(thick)} of {len(spacings)} patients have thick {thick_plane(first)} slices ({thick[0]}: voxels of "
            f"{_written(first)} mm); networks are shown axial ones, and predict refuses such scans: give others"
        )
    if other:
        found.append(
            f"{len(other)} of {len(spacings)} patients have pixels unlike those that weights in the box were trained "
            f"with ({other[0]}: {_written(known[other[0]][:2])} mm, not {PIXEL_MM:.2f}); predict resamples to these "
            f"for other weights too: `lgg-monai collect {folder} --output OUT` writes a set of such"
        )
    return found


def _written(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{mm:.2f}" for mm in sizes)
