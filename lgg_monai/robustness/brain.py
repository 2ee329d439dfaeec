"""Brain extraction, roughly: to see what becomes of scans that were shared without scalp and skull."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import Transform
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import isotropic_closing, isotropic_opening
from skimage.segmentation import watershed

from lgg_monai.data.sequences import FLAIR

DEFINITION = (
    "scalp, skull and most of the face are 0, by a watershed on FLAIR along the dark skull; "
    "tumour that is cut away counts as missed"
)
HEAD = 0.6  # of Otsu's threshold
SMOOTHED = 1.2  # pixels
SKULL = 8  # pixels: half of what is dark between brain and scalp is less
DEEP, LEAST_DEEP = 26.0, 0.6  # pixels from air, and share of the largest distance, from which all is brain
SMALLEST_HEAD = 20.0  # pixels from the air to the middle of a slice below which it shows no brain
THICK, SMOOTH = 7, 5  # pixels: what hangs on by less is cut off; notches of less are filled


class StripSkull(Transform):
    """Set all but the brain to 0, slice by slice: one basin of two, as dark skull parts brain from bright scalp."""

    def __call__(self, data: torch.Tensor) -> torch.Tensor:
        """Return the changed image ``[3, X, Y, Z]``."""
        return data * torch.from_numpy(brain_mask(np.asarray(data[FLAIR])))


def brain_mask(flair: np.ndarray) -> np.ndarray:
    """Find the brain.

    Args:
        flair: ``[X, Y, Z]`` with axial slices of about 0.9 mm a pixel.

    Returns:
        Boolean, alike. Orbits and the base of the skull remain in low slices.
    """
    flair = flair.astype(np.float32)
    low, high = np.percentile(flair[flair > 0], (1, 99)) if (flair > 0).any() else (0.0, 1.0)
    flair = np.clip((flair - low) / max(high - low, 1e-6), 0, 1)
    smooth = ndimage.gaussian_filter(flair, (1, 1, 0))
    bright = smooth > HEAD * threshold_otsu(smooth.ravel())
    slices = [_brain(flair[..., z], bright[..., z]) for z in range(flair.shape[2])]
    return np.stack(slices, axis=-1)


def _brain(flair: np.ndarray, bright: np.ndarray) -> np.ndarray:
    head = ndimage.binary_fill_holes(_largest(isotropic_closing(isotropic_opening(bright, 2), SKULL)))
    depth = ndimage.distance_transform_edt(head)
    if depth.max() < SMALLEST_HEAD:
        return np.zeros_like(bright)
    seeds = np.where(depth < 3, 1, np.where(depth > min(DEEP, LEAST_DEEP * depth.max()), 2, 0))
    brain = watershed(-ndimage.gaussian_filter(flair, SMOOTHED), seeds) == 2
    brain = _largest(isotropic_opening(brain, THICK))
    return np.asarray(ndimage.binary_fill_holes(isotropic_closing(brain, SMOOTH)))


def _largest(mask: np.ndarray) -> np.ndarray:
    parts = label(mask)
    return parts == np.bincount(parts.ravel(), weights=mask.ravel()).argmax() if mask.any() else mask
