"""Small volumes on disk, for the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from lgg_monai.viewer import ReportPatient

# In the order of RAS axes (1, 0, 2) and flipped twice, with oblique columns: nothing fits by accident.
OBLIQUE = np.array([[0.2, -0.9, 0.0, 40.0], [0.95, 0.15, 0.0, -30.0], [0.0, 0.0, -5.0, 60.0], [0.0, 0.0, 0.0, 1.0]])

MakePatient = Callable[..., ReportPatient]


def save(path: Path, volume: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)
    return path
