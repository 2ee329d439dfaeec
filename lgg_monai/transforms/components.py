"""Specks: connected components of a mask that are too small to be believed."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RemoveSmallObjects

SMALLEST_COMPONENT = 200
"""Voxels, as `smallest_component` in configs/evaluate.yaml: chosen on validation patients, see docs/experiments.md.

Larger components stay. Those of this very size go, but with scikit-image before 0.26 they stay."""
NEIGHBOURS = 3  # by face, edge or corner


def without_specks(mask: np.ndarray, smallest: int = SMALLEST_COMPONENT) -> np.ndarray:
    """Remove small components, by MONAI's transform, as the packaged bundles do.

    Args:
        mask: boolean ``[X, Y, Z]``.
        smallest: largest number of voxels of a component that is removed; 0 keeps all.

    Returns:
        A boolean mask of the same shape.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parameter `min_size`", FutureWarning)  # MONAI's way to call scikit-image
        kept = RemoveSmallObjects(min_size=smallest, connectivity=NEIGHBOURS)(mask[None])
    return np.asarray(kept)[0]


class RemoveSpecksd(MapTransform):
    """Remove small components from masks in a post-processing.

    Args:
        keys: binary masks ``[..., X, Y, Z]``, each volume of a batch by itself; usually "pred".
        smallest: see `without_specks`.
        allow_missing_keys: pass over a missing key in place of raising KeyError.
    """

    def __init__(
        self, keys: KeysCollection, smallest: int = SMALLEST_COMPONENT, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.smallest = smallest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with cleaned masks of the same type and device."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = result[key]
            volumes = (torch.as_tensor(mask) > 0).cpu().numpy().reshape(-1, *mask.shape[-3:])
            kept = np.stack([without_specks(volume, self.smallest) for volume in volumes]).reshape(mask.shape)
            result[key] = mask * torch.from_numpy(kept).to(mask)
        return result
