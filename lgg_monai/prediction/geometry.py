"""Laying a scan out as the training slices lie, and the network's output back on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from nibabel import orientations
from nibabel.affines import obliquity, voxel_sizes

from lgg_monai.data.grids import leads_to_places
from lgg_monai.data.patients import NETWORK_AXES
from lgg_monai.data.spacing import PIXEL_MM, THICK_MM, Spacing, is_as_trained, may_be_longest, thick_plane
from lgg_monai.errors import LggError

LARGEST_UNSCALED, UNKNOWN_COLUMNS = 320, 256
OBLIQUE_DEGREES = 25.0
_LPS = orientations.axcodes2ornt(NETWORK_AXES)


@dataclass(frozen=True)
class Placement:
    """How a volume was turned and resampled for the network.

    Args:
        turn: nibabel's orientation transform from the input's axes to the network's.
        turn_back: its inverse.
        shape: of the turned volume, before it was resampled.
        size: columns and rows of the slices that the network sees.
        spacing: of the turned volume, in mm, or 1 where it is unknown.
        notes: what is unlike the training data, one line each.
    """

    turn: np.ndarray
    turn_back: np.ndarray
    shape: tuple[int, int, int]
    size: tuple[int, int]
    spacing: Spacing
    notes: list[str] = field(default_factory=list)

    def turned(self, volume: np.ndarray) -> np.ndarray:
        """Turn a volume ``[..., X, Y, Z]`` from the input's axes to the network's; voxels stay what they are."""
        return _reoriented(volume, self.turn)

    def lay_out(self, image: np.ndarray) -> np.ndarray:
        """Turn and resample an image ``[C, X, Y, Z]`` for the network."""
        turned = self.turned(image)
        return np.ascontiguousarray(turned if self.size == self.shape[:2] else _resized(turned, self.size))

    def affine(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return where the voxels of `lay_out` lie, for an input of ``shape`` [X, Y, Z] with ``affine``."""
        turned = affine @ orientations.inv_ornt_aff(self.turn, shape)
        scale = [before / after for before, after in zip(self.shape[:2], self.size, strict=True)]
        resized = np.diag([*scale, 1.0, 1.0])
        resized[:2, 3] = [(factor - 1) / 2 for factor in scale]  # the field of view stays, so the first centre moves
        return turned @ resized

    def restore(self, volume: np.ndarray) -> np.ndarray:
        """Bring the network's output ``[X, Y, Z]`` back to the input's grid."""
        if self.size != self.shape[:2]:
            volume = _resized(volume[None], self.shape[:2])[0]
        return np.ascontiguousarray(_reoriented(volume, self.turn_back))


def place(shape: tuple[int, ...], affine: np.ndarray, spacing_known: bool = True) -> Placement:
    """Decide how a volume is laid out for the network: nothing is resampled but in plane, and only where needed.

    The nearest of the 48 ways to turn and mirror the axes is taken. Pixels are resampled to `PIXEL_MM` where they
    differ from it noticeably; without spacing, only slices of more than `LARGEST_UNSCALED` pixels.

    Args:
        shape: X, Y, Z.
        affine: voxel indices to RAS millimetres [4, 4].
        spacing_known: the affine's lengths are measured.

    Raises:
        LggError: the affine is not usable, or the slices are thick and not axial.
    """
    if not leads_to_places(affine):
        raise LggError("no usable orientation and spacing in the affine: export the scan again")
    axes = orientations.io_orientation(affine)
    if np.isnan(axes).any():
        raise LggError("two axes point the same way in the affine: export the scan again")
    turn = orientations.ornt_transform(axes, _LPS)
    order = [int(np.flatnonzero(turn[:, 0] == axis)[0]) for axis in range(3)]
    columns, rows, slices = (int(shape[axis]) for axis in order)
    x, y, z = (float(size) for size in voxel_sizes(affine)[order]) if spacing_known else (1.0, 1.0, 1.0)
    notes = []
    if spacing_known:
        _refuse_thick((x, y, z))
        if not may_be_longest(max(columns * x, rows * y)):
            raise LggError(f"slices of {columns * x:.6g} x {rows * y:.6g} mm by the affine: correct the file's spacing")
        tilt = float(np.degrees(obliquity(affine)).max())
        if tilt > OBLIQUE_DEGREES:
            notes.append(f"slices are oblique to axial by up to {tilt:.0f} degrees")
    size = _network_size((columns, rows), (x, y), spacing_known)
    if size != (columns, rows):
        pixel = f"{x:.2f} x {y:.2f} mm pixels" if spacing_known else f"{columns} x {rows} pixels of unknown size"
        notes.append(f"resampled in plane from {pixel} for the network (training: about {PIXEL_MM:.2f} mm)")
    return Placement(
        turn, orientations.ornt_transform(_LPS, axes), (columns, rows, slices), size, (x, y, z), notes
    )  # fmt: skip


def _refuse_thick(spacing: Spacing) -> None:
    plane = thick_plane(spacing)
    if plane:
        raise LggError(
            f"{plane} slices of {max(spacing):.1f} mm: the network was trained on axial slices; "
            f"give an axial or a thin (up to {THICK_MM:.0f} mm) 3D acquisition"
        )


def _network_size(size: tuple[int, int], pixel: tuple[float, float], spacing_known: bool) -> tuple[int, int]:
    if spacing_known:
        columns, rows = (
            n if is_as_trained(mm) else max(1, round(n * mm / PIXEL_MM)) for n, mm in zip(size, pixel, strict=True)
        )
        return columns, rows
    longest = max(size)
    if longest <= LARGEST_UNSCALED:
        return size
    return max(1, round(size[0] * UNKNOWN_COLUMNS / longest)), max(1, round(size[1] * UNKNOWN_COLUMNS / longest))


def _reoriented(volume: np.ndarray, turn: np.ndarray) -> np.ndarray:
    spatial_first = np.moveaxis(volume, 0, -1) if volume.ndim == 4 else volume
    turned = orientations.apply_orientation(spatial_first, turn)
    return np.moveaxis(turned, -1, 0) if volume.ndim == 4 else turned


def _resized(volume: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample the slices of ``[C, X, Y, Z]``; the field of view stays, and nothing shifts."""
    slices = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, -1, 0)))
    resized = torch.nn.functional.interpolate(slices, size=size, mode="bilinear", align_corners=False, antialias=True)
    return np.moveaxis(resized.numpy(), 0, -1)
