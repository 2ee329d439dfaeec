"""A MONAI reader that takes a patient's folder of TIFF slices as one volume."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys
from PIL import Image, UnidentifiedImageError

from lgg_monai.errors import LggError

MASK_SUFFIX = "_mask"
_NUMBER = re.compile(r"_(\d+)$")

# Neither spacing nor orientation was recorded when the slices were published. One voxel is called 1 mm, and pictures
# are taken to be in radiological order (left of the patient on the right), which is what NIfTI writes as -x, -y.
UNKNOWN_GEOMETRY = np.diag([-1.0, -1.0, 1.0, 1.0])


class TiffStackReader(ImageReader):
    """Read ``<patient>/<patient>_<n>.tif`` in the order of n as a volume.

    To be used as ``LoadImage(reader=TiffStackReader, mask=...)``: the same folder gives the image
    ``[3, X, Y, Z]`` or, with ``mask=True``, the mask ``[1, X, Y, Z]`` with values 0 and 1. X runs along a slice's
    columns, Y along its rows, as MONAI's own readers have it, so ``volume[c, :, :, z].T`` is the picture.

    Args:
        mask: read the ``_mask.tif`` files rather than the images.
    """

    def __init__(self, mask: bool = False) -> None:
        super().__init__()
        self.mask = mask

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Accept folders; everything else is left to MONAI's other readers."""
        names = filename if isinstance(filename, list | tuple) else [filename]
        return all(Path(name).is_dir() for name in names)

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> list[tuple[Path, np.ndarray]]:
        """Read every slice of a folder (or of several).

        Returns:
            A list of (folder, array ``[C, X, Y, Z]``).

        Raises:
            LggError: the folder holds no slices, a file is unreadable, or slices differ in size or channels.
        """
        folders = data if isinstance(data, list | tuple) else [data]
        return [(Path(folder), self._read_folder(Path(folder))) for folder in folders]

    def get_data(self, img: list[tuple[Path, np.ndarray]]) -> tuple[np.ndarray, dict]:
        """Return the array ``[C, X, Y, Z]`` (several folders one after the other along C) and its metadata."""
        array = np.concatenate([volume for _, volume in img]) if len(img) > 1 else img[0][1]
        meta = {
            MetaKeys.AFFINE: UNKNOWN_GEOMETRY.copy(),
            MetaKeys.ORIGINAL_AFFINE: UNKNOWN_GEOMETRY.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            "filename_or_obj": str(img[0][0]),
        }
        return array, meta

    def _read_folder(self, folder: Path) -> np.ndarray:
        files = mask_files(folder) if self.mask else image_files(folder)
        if not files:
            what = "masks (<patient>_<n>_mask.tif)" if self.mask else "slices (<patient>_<n>.tif)"
            raise LggError(f"no {what} in {folder}")
        read = read_mask_slice if self.mask else read_slice
        slices = [read(path) for path in files.values()]
        shapes = {picture.shape for picture in slices}
        if len(shapes) > 1:
            raise LggError(f"slices of {folder} differ in size or channels: {sorted(shapes)}; export them alike")
        if self.mask:
            if slices[0].ndim != 2:
                raise LggError(f"masks of {folder} have {slices[0].shape[-1]} channels, expected one")
            return (np.stack(slices, axis=-1) > 0).astype(np.uint8).transpose(1, 0, 2)[None]
        if slices[0].ndim != 3 or slices[0].shape[-1] != 3:
            found = 1 if slices[0].ndim == 2 else slices[0].shape[-1]
            raise LggError(f"slices of {folder} have {found} channel(s), expected 3 (pre, FLAIR, post)")
        return np.ascontiguousarray(np.stack(slices, axis=-1).transpose(2, 1, 0, 3))  # [C, X, Y, Z] from rows, columns


def image_files(folder: Path) -> dict[int, Path]:
    """Map slice numbers to the image files of a patient folder, in numeric order (9 before 10)."""
    return _numbered(path for path in folder.glob("*.tif") if not path.stem.endswith(MASK_SUFFIX))


def mask_files(folder: Path) -> dict[int, Path]:
    """Map slice numbers to the mask files of a patient folder, in numeric order."""
    return _numbered(folder.glob(f"*{MASK_SUFFIX}.tif"))


def read_slice(path: Path) -> np.ndarray:
    """Read one TIFF as ``[rows, columns]`` or ``[rows, columns, channels]``.

    Raises:
        LggError: the file is no image, or is cut short.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise LggError(f"cannot read {path} (damaged, cut short, or no TIFF image): replace the file") from error


def read_mask_slice(path: Path) -> np.ndarray:
    """Read one mask TIFF, which may hold 0 and 255 or 0 and 1.

    Raises:
        LggError: the file is no image, or holds other values.
    """
    picture = read_slice(path)
    if not is_binary(picture):
        raise LggError(f"{path} holds values other than 0 and 255 (or 0 and 1): {distinct_values(picture)}")
    return picture


def is_binary(array: np.ndarray) -> bool:
    """Tell whether an array holds nothing but 0 and 1, or 0 and 255."""
    highest = array.max()
    return bool(highest in (0, 1, 255) and ((array == 0) | (array == highest)).all())


def distinct_values(array: np.ndarray, most: int = 5) -> str:
    """Write an array's first few distinct values for a message."""
    values = np.unique(array)
    return ", ".join(str(value) for value in values[:most]) + (", …" if len(values) > most else "")


def _numbered(paths: Any) -> dict[int, Path]:
    numbered: dict[int, Path] = {}
    for path in paths:
        match = _NUMBER.search(path.stem.removesuffix(MASK_SUFFIX))
        if match is None or path.name.startswith("."):
            raise LggError(f"no slice number at the end of {path}: expected <patient>_<n>.tif")
        number = int(match[1])
        if number in numbered:
            raise LggError(f"slice {number} lies twice in {path.parent}: {numbered[number].name} and {path.name}")
        numbered[number] = path
    return dict(sorted(numbered.items()))
