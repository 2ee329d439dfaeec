"""Networks and files that the tests of prediction share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import nn

from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.data.scan import Scan
from lgg_monai.prediction.models import array_preprocessing
from lgg_monai.prediction.segmenter import Segmenter

MM = 0.9375  # the pixels that the network was trained on, so nothing is resampled


class Bright(nn.Module):
    """Calls tumour what is bright on FLAIR, voxel by voxel: its masks are known, wherever the voxels lie."""

    def __init__(self, level: float = 1.5) -> None:
        super().__init__()
        self.level = level

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, 1:2] - self.level


def segmenter(networks: Sequence[nn.Module] = (), **options: Any) -> Segmenter:
    return Segmenter(
        networks=list(networks) or [Bright()],
        preprocessing=array_preprocessing(),
        device=torch.device("cpu"),
        precision="fp32",
        name="bright",
        digests=("0",),
        **options,
    )


def blob(shape: tuple[int, int, int] = (48, 40, 12), seed: int = 0) -> np.ndarray:
    """A head with a bright spot off its middle [3, X, Y, Z], no two directions alike."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    head = (x / 0.9) ** 2 + (y / 0.8) ** 2 < 1
    spot = ((x - 0.3) / 0.25) ** 2 + ((y + 0.2) / 0.2) ** 2 + ((z - 0.1) / 0.5) ** 2 < 1
    image = np.stack([60.0 * head, 50.0 * head + 120 * spot, 70.0 * head - 10 * spot])
    return (image + rng.uniform(0, 4, image.shape)).astype(np.float32)


def affine(*columns: Sequence[float], origin: Sequence[float] = (3.0, -20.0, 7.5)) -> np.ndarray:
    """An affine from where one step along X, Y and Z leads, in millimetres to the right, front and head."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(columns).T
    matrix[:3, 3] = origin
    return matrix


LPS = affine((-MM, 0, 0), (0, -MM, 0), (0, 0, 5))


def scan(image: np.ndarray | None = None, grid: np.ndarray = LPS, **options: Any) -> Scan:
    return Scan("scan", blob() if image is None else image, grid, **options)


def save(path: Path, array: np.ndarray, grid: np.ndarray = LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, grid), path)
    return path


def image_of(dataset: Path, number: int = 0) -> np.ndarray:
    image, _ = read_patient(find_patients(dataset)[number])
    return image
