"""Specks: connected components of a mask that are too small to be believed, by themselves or beside the largest."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RemoveSmallObjects
from skimage.measure import label as components

SMALLEST_COMPONENT = 200
"""Voxels, as `smallest_component` in configs/evaluate.yaml; chosen on validation patients, see docs/experiments.

Larger components stay. Those of this very size go, but with scikit-image before 0.26 they stay."""
SMALLEST_SHARE = 0.5
"""Of the largest component, as `smallest_share` in the same places: chosen on out-of-fold predictions."""
NEIGHBOURS = 3  # by face, edge or corner


def without_specks(mask: np.ndarray, smallest: int = SMALLEST_COMPONENT, share: float = SMALLEST_SHARE) -> np.ndarray:
    """Remove small components, by MONAI's transform, as the packaged bundles do.

    Args:
        mask: boolean ``[X, Y, Z]``.
        smallest: largest number of voxels of a component that is removed whatever the others are; 0 removes none.
        share: of the largest component's voxels, rounded down, up to which the others are removed; 0 removes none. A
            lower-grade glioma is one tumour as a rule, and what is found far from it a false alarm.

    Returns:
        A boolean mask of the same shape.
    """
    sizes = np.bincount(components(mask, connectivity=NEIGHBOURS).ravel())[1:]
    least = max(smallest, int(share * sizes.max(initial=0)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parameter `min_size`", FutureWarning)  # MONAI's way to call scikit-image
        kept = RemoveSmallObjects(min_size=least, connectivity=NEIGHBOURS)(mask[None])
    return np.asarray(kept)[0]


class RemoveSpecksd(MapTransform):
    """Remove small components from masks in a post-processing.

    Args:
        keys: binary masks ``[..., X, Y, Z]``, each volume of a batch by itself; usually "pred".
        smallest: see `without_specks`.
        share: see there.
        allow_missing_keys: pass over a missing key in place of raising KeyError.
    """

    def __init__(
        self,
        keys: KeysCollection,
        smallest: int = SMALLEST_COMPONENT,
        share: float = SMALLEST_SHARE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.smallest = smallest
        self.share = share

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with cleaned masks of the same type and device."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = result[key]
            volumes = (torch.as_tensor(mask) > 0).cpu().numpy().reshape(-1, *mask.shape[-3:])
            kept = np.stack([without_specks(volume, self.smallest, self.share) for volume in volumes])
            result[key] = mask * torch.from_numpy(kept.reshape(mask.shape)).to(mask)
        return result
