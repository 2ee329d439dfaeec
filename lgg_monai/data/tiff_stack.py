"""A MONAI reader that takes a patient's folder of TIFF slices as one volume."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader, NibabelReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from PIL import Image

from lgg_monai.errors import LggError
from lgg_monai.files import is_broken_link

MASK_SUFFIX = "_mask"
TIFF_SUFFIXES = (".tif", ".tiff")  # in any case: a patient whose files end otherwise would be left out in silence
BITS_PER_SAMPLE = 258  # TIFF's tag
_NUMBER = re.compile(r"_(\d+)$")

# Neither spacing nor orientation was recorded when the slices were published. One voxel is called 1 mm, and pictures
# are taken to be in radiological order (left of the patient on the right), which is what NIfTI writes as -x, -y.
UNKNOWN_GEOMETRY = np.diag([-1.0, -1.0, 1.0, 1.0])


class TiffStackReader(ImageReader):
    """Read ``<patient>/<patient>_<n>.tif`` in the order of n as a volume.

    To be used as ``LoadImage(reader=TiffStackReader, mask=...)``: the same folder gives the image
    ``[3, X, Y, Z]`` or, with ``mask=True``, the mask ``[1, X, Y, Z]`` with values 0 and 1. X runs along a slice's
    columns, Y along its rows, as MONAI's own readers have it, so ``volume[c, :, :, z].T`` is the picture.
    Files are handed to MONAI's NIfTI reader: ``LoadImage`` itself would do so with ``mask``, which that one refuses.

    Args:
        mask: read the ``_mask.tif`` files rather than the images.
    """

    def __init__(self, mask: bool = False) -> None:
        super().__init__()
        self.mask = mask
        self._nifti = NibabelReader()

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Accept folders; everything else is left to MONAI's other readers."""
        return all(Path(name).is_dir() for name in ensure_tuple(filename))

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> Any:
        """Read every slice of a folder (or of several).

        Returns:
            A list of (folder, array ``[C, X, Y, Z]``); of a file, what MONAI's NIfTI reader gives.

        Raises:
            LggError: the folder holds no slices, a file is unreadable, or slices differ in size or channels.
        """
        paths = [Path(path) for path in ensure_tuple(data)]
        if all(path.is_file() for path in paths):
            return self._nifti.read(data, **kwargs)
        return [(path, self._read_folder(path)) for path in paths]

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Return the array ``[C, X, Y, Z]`` (several folders one after the other along C) and its metadata."""
        if not (isinstance(img, list) and isinstance(img[0], tuple)):
            return self._nifti.get_data(img)
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
            raise LggError(f"no {what} in {folder}: give the folder of one patient's slices")
        read = read_mask_slice if self.mask else read_slice
        slices = {path: read(path) for path in files.values()}
        problem = shape_problem(folder, {path: picture.shape for path, picture in slices.items()}, self.mask)
        if problem is not None:
            raise LggError(problem)
        volume = np.stack(list(slices.values()), axis=-1)
        if self.mask:
            return (volume > 0).astype(np.uint8).transpose(1, 0, 2)[None]
        return np.ascontiguousarray(volume.transpose(2, 1, 0, 3))  # [C, X, Y, Z] from rows, columns


def image_files(folder: Path) -> dict[int, Path]:
    """Map slice numbers to the image files of a patient folder, in numeric order (9 before 10)."""
    return _numbered(path for path in tiff_files(folder) if not path.stem.endswith(MASK_SUFFIX))


def mask_files(folder: Path) -> dict[int, Path]:
    """Map slice numbers to the mask files of a patient folder, in numeric order."""
    return _numbered(path for path in tiff_files(folder) if path.stem.endswith(MASK_SUFFIX))


def missing_numbers(folder: Path) -> list[str]:
    """Warn of a gap in the numbers of a folder's slices: those on its two sides are taken for neighbours.

    Numbers may begin anywhere and go in steps, as long as all steps are alike.
    """
    numbers = list(image_files(folder))
    steps = np.diff(numbers)
    gaps = np.flatnonzero(steps > min(steps, default=0))
    if not len(gaps):
        return []
    also = f" (and in {len(gaps) - 1} more places)" if len(gaps) > 1 else ""
    between = f"between {numbers[gaps[0]]} and {numbers[gaps[0] + 1]}{also}"
    return [f"slices are missing {between}: volumes and extents are too small"]


def tiff_files(folder: Path) -> list[Path]:
    """List a folder's TIFF files by name; hidden ones (as macOS leaves beside the real ones) are none of ours."""
    return sorted(
        path for path in folder.glob("*") if path.suffix.lower() in TIFF_SUFFIXES and not path.name.startswith(".")
    )


def read_slice(path: Path) -> np.ndarray:
    """Read one TIFF as ``[rows, columns]`` or ``[rows, columns, channels]``.

    Raises:
        LggError: the file is no image, is cut short, has several pages, other channels than RGB, or more than 8 bits a
            channel of several.
    """
    try:
        with warnings.catch_warnings():
            # What it warns of makes the file unreadable, and one line says so.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path) as picture:
                pages, bits = getattr(picture, "n_frames", 1), getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
                if pages > 1:
                    raise LggError(f"{path} holds {pages} pages, expected one slice a file: export each by itself")
                if len(bits) > 1 and max(bits) > 8:
                    # Pillow drops the lower half of each value of such pictures without a word.
                    raise LggError(
                        f"{path} has {max(bits)} bits a channel, expected 8 in RGB: export it so, or as NIfTI"
                    )
                if len(picture.getbands()) == 3 and picture.mode != "RGB":
                    # Lightness and colours, of which no channel is a sequence.
                    raise LggError(f"{path} holds colours as {picture.mode}, expected RGB: export it so")
                return np.asarray(picture)
    except LggError:
        raise
    except Exception as error:  # Pillow raises many kinds on a damaged file
        if is_broken_link(path):
            raise LggError(f"{path} is a broken link: fetch what it leads to, or replace it") from error
        raise LggError(f"cannot read {path} (damaged, cut short, or no TIFF image): replace the file") from error


def read_mask_slice(path: Path) -> np.ndarray:
    """Read one mask TIFF, which may hold 0 and 255 or 0 and 1.

    Raises:
        LggError: the file is no image, or holds other values.
    """
    picture = read_slice(path)
    if not is_binary(picture):
        found = distinct_values(picture)
        raise LggError(f"{path} holds values other than 0 and 255 (or 0 and 1), namely {found}: export a binary mask")
    return picture


def shape_problem(folder: Path, shapes: Mapping[Path, tuple[int, ...]], mask: bool) -> str | None:
    """Say why slices do not make one volume, or None where they do.

    Args:
        folder: the patient's folder, for the message.
        shapes: rows, columns and (but for one channel) channels of every file.
        mask: the files are masks, so have one channel rather than three.
    """
    what = "masks" if mask else "slices"
    files: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for path, shape in shapes.items():
        files[shape].append(path.name)
    if len(files) > 1:
        found = ", ".join(
            f"{' x '.join(map(str, shape))} in {names[0] if len(names) == 1 else f'{len(names)} files'}"
            for shape, names in sorted(files.items())
        )
        return f"{what} of {folder} differ in size or channels ({found}): export them alike"
    channels = {1 if len(shape) == 2 else shape[2] for shape in files}
    if mask and channels - {1}:
        return f"{what} of {folder} have {channels.pop()} channels, expected one: export them as grey-scale"
    if not mask and channels - {3}:
        return f"{what} of {folder} have {channels.pop()} channel(s), expected 3: export pre, FLAIR and post as RGB"
    return None


def is_binary(array: np.ndarray) -> bool:
    """Tell whether an array holds nothing but 0 and 1, or 0 and 255."""
    highest = array.max()
    return bool(highest in (0, 1, 255) and ((array == 0) | (array == highest)).all())


def distinct_values(array: np.ndarray) -> str:
    """Write an array's first few distinct values for a message."""
    values = np.unique(array)
    return ", ".join(str(value) for value in values[:5]) + (", …" if len(values) > 5 else "")


def slices_name(path: Path) -> str:
    """Give the patient that a slice or mask is named after: all of its name but ``_<n>`` or ``_<n>_mask``."""
    return _NUMBER.sub("", path.stem.removesuffix(MASK_SUFFIX))


def _numbered(paths: Iterable[Path]) -> dict[int, Path]:
    by_stem = {path: path.stem.removesuffix(MASK_SUFFIX) for path in paths}
    for path, stem in by_stem.items():
        if _NUMBER.search(stem) is None:
            raise LggError(f"no slice number at the end of {path}: rename it to <patient>_<n>.tif, or remove it")
    _require_one_name(list(by_stem))
    numbered: dict[int, Path] = {}
    for path, stem in by_stem.items():
        number = int(stem.rpartition("_")[2])
        if number in numbered:
            both = f"{numbered[number].name} and {path.name}"
            raise LggError(f"slice {number} lies twice in {path.parent} ({both}): remove one of them")
        numbered[number] = path
    return dict(sorted(numbered.items()))


def _require_one_name(paths: list[Path]) -> None:
    """Refuse files that are named after somebody else: by their numbers they would become part of the volume."""
    names = Counter(slices_name(path) for path in paths)
    if len(names) < 2:
        return
    folder = paths[0].parent.absolute()
    own = folder.name if folder.name in names else names.most_common(1)[0][0]
    strange = [path for path in paths if slices_name(path) != own]
    end = f"_<n>{MASK_SUFFIX if strange[0].stem.endswith(MASK_SUFFIX) else ''}.tif"
    more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
    raise LggError(
        f"{strange[0]}{more} is not named {own}{end} as the others there are, so may be another patient's: "
        "move it to that one's folder, rename it, or remove it"
    )
