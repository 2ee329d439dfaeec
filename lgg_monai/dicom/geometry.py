"""The grid that the slices of a series make, and why some make none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgg_monai.dicom.headers import Frame, Series
from lgg_monai.dicom.identity import are_several
from lgg_monai.errors import LggError

# DICOM's axes point to the patient's left, back and head; nibabel's to the right, front and head.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

SAME_PLACE = 0.01
"""Millimetres below which two slices lie at one place."""
UNEVEN_WARNED, UNEVEN_REFUSED = 0.01, 0.05
"""Deviation of a slice from its place on an even grid, as a part of the slice spacing."""
AGAIN = "export the series again, or choose another with --series"


@dataclass(frozen=True)
class Grid:
    """A series in order.

    Args:
        frames: along Z, which is the direction of (row direction) x (column direction).
        shape: X (columns), Y (rows), Z (slices).
        affine: voxel indices to RAS millimetres [4, 4].
        warnings: what is not quite regular.
    """

    frames: tuple[Frame, ...]
    shape: tuple[int, int, int]
    affine: np.ndarray
    warnings: tuple[str, ...] = ()


def series_grid(series: Series) -> Grid:
    """Put the slices of a series in order by their position.

    Raises:
        LggError: they make no regular volume of one patient.
    """
    frames = series.frames
    if are_several(series.people):
        raise LggError(f"images of more than one patient in {series.title}: separate the patients' files")
    if any(frame.position is None or frame.orientation is None or frame.spacing is None for frame in frames):
        raise LggError(f"no position, orientation or pixel spacing in images of {series.title}: {AGAIN}")
    sizes = sorted({frame.shape for frame in frames})
    if len(sizes) > 1 or 0 in sizes[0]:
        found = ", ".join(f"{columns} x {rows}" for rows, columns in sizes)
        raise LggError(f"images of different size ({found}) in {series.title}: {AGAIN}")
    spacings = np.array([frame.spacing for frame in frames])
    if np.any(spacings <= 0) or np.ptp(spacings, axis=0).max() > 1e-3 * spacings.max():
        raise LggError(f"missing or different pixel spacings in {series.title}: {AGAIN}")
    row, column = _directions(series)
    normal = np.cross(row, column)

    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [frames[i] for i in order], positions[order]
    step, warnings = _slice_step(series, frames, positions @ normal)
    _check_sheared(series, positions, normal, spacings[0].min())

    lps = np.eye(4)
    lps[:3, 0] = row * spacings[0, 1]  # from one column to the next
    lps[:3, 1] = column * spacings[0, 0]  # from one row to the next
    lps[:3, 2] = normal * step
    lps[:3, 3] = positions[0]
    rows, columns = sizes[0]
    return Grid(tuple(frames), (columns, rows, len(frames)), LPS_TO_RAS @ lps, tuple(warnings))


def plane(series: Series) -> str:
    """Name the anatomical plane that the slices are nearest to; empty where they have no orientation."""
    orientation = series.frames[0].orientation
    return "" if orientation is None else nearest_plane(orientation)


def nearest_plane(orientation: Sequence[float]) -> str:
    """Name the anatomical plane that is nearest to the directions of a slice's rows and columns (six numbers)."""
    normal = np.cross(orientation[:3], orientation[3:])
    return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


def _directions(series: Series) -> tuple[np.ndarray, np.ndarray]:
    orientations = np.array([frame.orientation for frame in series.frames])
    if np.abs(orientations - orientations[0]).max() > 5e-3:
        raise LggError(f"slices of different orientations in {series.title}: {AGAIN}")
    row, column = orientations[0, :3], orientations[0, 3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose([*lengths, row @ column], [1, 1, 0], atol=1e-2):
        raise LggError(f"directions of rows and columns that are not at right angles in {series.title}: {AGAIN}")
    # Written with few decimals they are nearly unit vectors at right angles; volumes should be exact.
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _slice_step(series: Series, frames: list[Frame], along: np.ndarray) -> tuple[float, list[str]]:
    """Return the slice spacing in millimetres, from sorted places along the normal."""
    if len(frames) == 1:
        return frames[0].thickness or 1.0, [f"{series.title} has a single slice"]
    steps = np.diff(along)
    if steps.min() < SAME_PLACE:
        places = 1 + int((steps >= SAME_PLACE).sum())
        found = f"{len(frames)} images at {places} places"
        raise LggError(f"{found} in {series.title} (echoes, time points or copies): {AGAIN}")
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * usual)
    if wide.size:
        missing = int(np.rint(steps[wide] / usual - 1).sum())
        first = frames[wide[0]].number, frames[wide[0] + 1].number
        what = f"{missing} slice{'s' if missing > 1 else ''} missing, first between images {first[0]} and {first[1]},"
        raise LggError(f"{what} in {series.title}: {AGAIN}")
    step = float((along[-1] - along[0]) / (len(frames) - 1))
    deviation = float(np.abs(along - along[0] - step * np.arange(len(frames))).max() / step)
    found = f"uneven slice spacing ({steps.min():.2f} to {steps.max():.2f} mm) in {series.title}"
    if deviation > UNEVEN_REFUSED:
        raise LggError(f"{found}: {AGAIN}")
    return step, [found] if deviation > UNEVEN_WARNED else []


def _check_sheared(series: Series, positions: np.ndarray, normal: np.ndarray, pixel: float) -> None:
    """Refuse slices that do not lie straight above each other, by more than half a pixel."""
    offsets = positions - positions[0]
    offsets -= np.outer(offsets @ normal, normal)
    if np.linalg.norm(offsets, axis=1).max() > pixel / 2:
        raise LggError(f"slices shifted against each other in {series.title}: {AGAIN}")
