"""Volumes and changes of files that the tests of DICOM share; the series are made by `benchmarks.dicom_series`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread

AXIAL = np.diag([-0.5, -0.75, 5.0, 1.0])


def edit(path: Path, **tags: Any) -> None:
    """Change tags of a file; None removes one."""
    dataset = dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def some_volume(shape: tuple[int, int, int] = (12, 10, 6), seed: int = 0) -> np.ndarray:
    """Every voxel a value of its own, nearly, so that no swapped axis goes unseen."""
    return np.random.default_rng(seed).integers(0, 60000, shape, dtype=np.uint16)
