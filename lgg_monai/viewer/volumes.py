"""Reading a patient's volumes for the page, and how they are laid out on a screen."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError

from lgg_monai.data.sequences import FLAIR
from lgg_monai.drawing.overlays import intensity_window
from lgg_monai.errors import LggError
from lgg_monai.viewer.patient import ReportPatient

PLANES = ("sagittal", "coronal", "axial")  # perpendicular to the axes right, anterior, superior
THICK = 1.5  # slices this many times thicker than both sides of pixels say how a volume was acquired
MOST_REPEATED = 4  # times that a voxel is drawn; more than that is an error of the file's, and would fill the memory


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie, and the plane to look at it in.

    Args:
        affine: voxel indices to RAS millimetres [4, 4].
        shape: voxels along X, Y, Z of the file.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]

    @cached_property
    def directions(self) -> np.ndarray:
        """For each axis of the file: the RAS axis nearest to it, and 1 or -1 where it runs the other way [3, 2]."""
        return orientations.io_orientation(self.affine)

    @cached_property
    def plane(self) -> int:
        """The RAS axis to scroll along: through the one thick side of the voxels, or from inferior to superior."""
        sizes = nibabel.affines.voxel_sizes(self.affine)
        *_, wide, thick = sizes.argsort()
        return int(self.directions[thick, 0]) if sizes[thick] > THICK * sizes[wide] else 2

    def head_affine(self) -> np.ndarray:
        """Guess how thick slices of unknown spacing are, so that planes across them do not look squashed.

        All slices together are drawn 0.6 times as high as they are wide, within 1 to 6 pixels a slice: about a head.
        """
        sizes = nibabel.affines.voxel_sizes(self.affine)
        along = self.file_axis(self.plane)
        width = max(size for axis, size in enumerate(self.shape) if axis != along)
        thickness = min(max(0.6 * width / self.shape[along], 1.0), 6.0)
        affine = self.affine.copy()
        affine[:3, along] *= thickness * min(sizes) / sizes[along]
        return affine

    def file_axis(self, axis: int) -> int:
        """Give the file's axis that runs along a RAS axis."""
        return int(np.flatnonzero(self.directions[:, 0] == axis)[0])

    def flipped(self, axis: int) -> bool:
        """Tell whether the file runs against a RAS axis."""
        return bool(self.directions[self.file_axis(axis), 1] < 0)

    def ras_voxel(self, voxel: tuple[int, int, int]) -> list[int]:
        """Give indices along right, anterior, superior of a voxel of the file."""
        indices = []
        for axis in range(3):
            file_axis = self.file_axis(axis)
            index = voxel[file_axis]
            indices.append(self.shape[file_axis] - 1 - index if self.flipped(axis) else index)
        return indices

    def shown(self, volume: np.ndarray) -> np.ndarray:
        """Turn a volume ``[X, Y, Z]`` into pictures ``[columns, rows, slices]``, slices in the file's order.

        The patient's right is on the left, as radiologists look at it; anterior or superior is up; in sagittal
        pictures anterior is on the left. Long voxels are drawn several times.
        """
        turn = orientations.ornt_transform(self.directions, orientations.axcodes2ornt("LPI"))
        turned = orientations.apply_orientation(volume, turn)
        columns, rows = {2: (0, 1), 1: (0, 2), 0: (1, 2)}[self.plane]
        pictures = turned.transpose(columns, rows, self.plane)
        sizes = nibabel.affines.voxel_sizes(self.affine)[[self.file_axis(columns), self.file_axis(rows)]]
        for axis, size in enumerate(sizes):
            pictures = pictures.repeat(min(round(size / sizes.min()), MOST_REPEATED), axis)
        file_runs_with = self.flipped(self.plane)  # left, posterior and inferior are RAS backwards
        return pictures if file_runs_with else pictures[..., ::-1]


@dataclass(frozen=True)
class Volumes:
    """One patient's volumes ``[X, Y, Z]`` on one grid: FLAIR float32, masks boolean, probability float32."""

    grid: Grid
    flair: np.ndarray
    mask: np.ndarray | None
    truth: np.ndarray | None
    probability: np.ndarray | None

    @cached_property
    def window(self) -> tuple[float, float]:
        """The values of FLAIR that are shown as black and white."""
        return intensity_window(self.flair)

    @property
    def centre(self) -> tuple[int, int, int]:
        """The voxel to look at first: the middle of the largest slice of the mask, or of the volume without one."""
        mask = self.mask if self.mask is not None and self.mask.any() else self.truth
        if mask is None or not mask.any():
            x, y, z = (size // 2 for size in self.flair.shape)
            return x, y, z
        axis = self.grid.file_axis(self.grid.plane)
        largest = mask.sum(axis=tuple({0, 1, 2} - {axis})).argmax()
        slab = np.zeros_like(mask)
        selected = [slice(None)] * 3
        selected[axis] = slice(int(largest), int(largest) + 1)
        slab[tuple(selected)] = mask[tuple(selected)]
        x, y, z = (round(float(index.mean())) for index in np.nonzero(slab))
        return x, y, z


def read_volumes(patient: ReportPatient) -> Volumes:
    """Read what there is of a patient.

    Raises:
        LggError: there is no image, a file is unreadable, or the volumes are not on one grid.
    """
    if patient.image is None:
        raise LggError(f"there is no image of {patient.name}: nothing can be shown")
    flair, affine = _read(patient.image)
    shape: tuple[int, int, int] = flair.shape

    def beside(path: Path | None) -> np.ndarray | None:
        if path is None:
            return None
        volume, other = _read(path)
        if volume.shape != shape or not np.allclose(other, affine, atol=1e-2):
            raise LggError(f"{path} is not on the grid of {patient.image}: write both on one grid")
        return volume

    mask, truth, probability = (beside(path) for path in (patient.mask, patient.truth, patient.probability))
    return Volumes(
        Grid(affine, shape),
        flair,
        None if mask is None else mask > 0,
        None if truth is None else truth > 0,
        probability,
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a volume ``[X, Y, Z]``, or FLAIR of ``[X, Y, Z, 3]``, and its affine."""
    try:
        image: Any = nibabel.load(path)
        # A slice of the proxy, so that only FLAIR is read of several sequences.
        proxy = image.dataobj[..., FLAIR if image.shape[3] == 3 else 0] if image.ndim == 4 else image.dataobj
        volume = np.nan_to_num(np.asarray(proxy, dtype=np.float32), posinf=0, neginf=0)
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LggError(f"cannot read the volume {path} ({reason}): write it again") from error
    if volume.ndim != 3:
        raise LggError(f"{path} has the shape {image.shape}: a volume of three dimensions is needed")
    return volume, np.asarray(image.affine, dtype=float)
