"""Predicted masks on the disk, one bit a voxel, so that runs can be compared slice by slice later."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from lgg_monai.errors import LggError

PREDICTIONS = "predictions"  # folder in a run's `evaluation/`


def write_prediction(path: Path, mask: np.ndarray) -> None:
    """Write a boolean mask of any shape; a patient of the data set takes some kilobytes.

    Args:
        path: file to write, ending in ``.npz``; its folder is made where it is missing.
        mask: predicted mask, such as ``[X, Y, Z]``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, bits=np.packbits(mask.astype(bool), axis=None), shape=np.array(mask.shape))


def read_prediction(path: Path) -> np.ndarray:
    """Read what :func:`write_prediction` wrote, as a boolean array.

    Raises:
        LggError: the file is missing or is none of these.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            shape = tuple(int(length) for length in stored["shape"])
            bits = np.unpackbits(stored["bits"], count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        message = f"cannot read the prediction {path} ({type(error).__name__}): evaluate the run again"
        raise LggError(message) from error
