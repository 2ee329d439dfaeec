"""What is measured on a predicted mask: size, place, contrast and how sure the network was."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from lgg_monai.data.scan import Scan
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.scores import mask_dice
from lgg_monai.prediction.diameters import largest_diameters
from lgg_monai.prediction.geometry import Placement

DEFINITIONS = {
    "volume_ml": "volume of the mask in millilitres; empty where the files record no spacing",
    "volume_voxels": "volume of the mask in voxels",
    "largest_diameter": "largest diameter of a lesion in any axial slice",
    "perpendicular_diameter": "largest diameter perpendicular to it in the same slice",
    "bidimensional_product": "product of both, as in RANO",
    "length_unit": "of the diameters: mm, or px where the files record no spacing",
    "lesions": "connected components of the mask (voxels that touch by a face, an edge or a corner)",
    "tumour_slices": "axial slices with any voxel of the mask",
    "slices": "axial slices of the scan",
    "bounding_box": "first and last voxel of the mask along the axes of the input, from 0",
    "centre_r_mm": "centre of mass, millimetres to the right in scanner coordinates; empty without spacing",
    "centre_a_mm": "centre of mass, millimetres to the front",
    "centre_s_mm": "centre of mass, millimetres to the head",
    "hemisphere": "left or right where 90 % of the mask lie on that side of the head's middle, else both",
    "flair_contrast": "mean FLAIR intensity in the mask over that of the rest of the head",
    "uncertainty": "mean binary entropy of the probability over the mask and 3 voxels around it: 0 sure, 1 a coin toss",
    "dice": "volume Dice against the reference mask, where one lay beside the scan",
}
AROUND = 3
ONE_SIDED = 0.9
HEAD_THRESHOLD = 0.4
"""Of Otsu's threshold, which parts bright tissue from the rest; scalp and fluid are to be in the head too."""


def measure(
    scan: Scan,
    placement: Placement,
    head: np.ndarray,
    mask: np.ndarray,
    probability: np.ndarray,
    label: np.ndarray | None = None,
) -> dict[str, Any]:
    """Measure a mask.

    Args:
        scan: that it was drawn on.
        placement: of the scan, which tells its axial slices.
        head: see `head_mask`, turned as the network sees it.
        mask: boolean [X, Y, Z].
        probability: of tumour [X, Y, Z].
        label: the reference mask, where there is one.

    Returns:
        The values of `DEFINITIONS`, plain numbers and texts; None where a value is not defined (an empty mask, unknown
        spacing, no reference).
    """
    known = scan.spacing_known
    turned = placement.turned(mask)
    voxels = int(mask.sum())
    components, lesions = ndimage.label(turned, np.ones((3, 3, 3)))
    diameters = largest_diameters(components, placement.spacing[:2])
    places = np.argwhere(mask)
    centre = nibabel.affines.apply_affine(scan.affine, places.mean(0)) if voxels and known else [None] * 3
    box = [f"{low}-{high}" for low, high in zip(places.min(0), places.max(0), strict=True)] if voxels else None
    ml = voxels * float(abs(np.linalg.det(scan.affine[:3, :3]))) / 1000 if known else None
    return {
        "volume_ml": None if ml is None else round(ml, 3),
        "volume_voxels": voxels,
        "largest_diameter": None if diameters is None else round(diameters.largest, 2),
        "perpendicular_diameter": None if diameters is None else round(diameters.perpendicular, 2),
        "bidimensional_product": None if diameters is None else round(diameters.product, 1),
        "length_unit": "mm" if known else "px",
        "lesions": int(lesions),
        "tumour_slices": int(turned.any((0, 1)).sum()),
        "slices": int(turned.shape[2]),
        "bounding_box": None if box is None else " ".join(box),
        **{
            f"centre_{axis}_mm": None if value is None else round(float(value), 1)
            for axis, value in zip("ras", centre, strict=True)
        },
        "hemisphere": hemisphere(turned, head),
        "flair_contrast": contrast(placement.turned(scan.image[FLAIR]), turned, head),
        "uncertainty": uncertainty(turned, placement.turned(probability)),
        "dice": None if label is None else round(mask_dice(mask, label), 6),
    }


def head_mask(flair: np.ndarray) -> np.ndarray:
    """Tell head from air on FLAIR ``[X, Y, Z]``, axial slices along Z."""
    if flair.min() == flair.max():
        return np.zeros(flair.shape, bool)
    level = threshold_otsu(flair.ravel())  # flat, as it would take three slices for red, green and blue
    bright = flair > flair.min() + HEAD_THRESHOLD * (level - flair.min())
    head = np.empty(flair.shape, bool)
    for z in range(flair.shape[2]):
        head[..., z] = ndimage.binary_fill_holes(ndimage.binary_opening(bright[..., z], iterations=2))
    return head


def hemisphere(mask: np.ndarray, head: np.ndarray) -> str | None:
    """Name the side of a mask ``[X, Y, Z]`` with X to the patient's left; None where there is no mask or no head.

    The middle is that of the head in each slice, as the scanner's origin need not be the patient's.
    """
    left = right = 0
    for z in np.flatnonzero(mask.any((0, 1))):
        columns = np.flatnonzero(head[..., z].any(1))
        if len(columns):
            middle = (columns[0] + columns[-1]) / 2
            places = np.nonzero(mask[..., z])[0]
            left += int((places > middle).sum())
            right += int((places < middle).sum())
    if not left + right:
        return None
    one_sided = ONE_SIDED * (left + right)
    return "left" if left >= one_sided else "right" if right >= one_sided else "both"


def contrast(flair: np.ndarray, mask: np.ndarray, head: np.ndarray) -> float | None:
    """Return mean FLAIR within the mask over that of the rest of the head; None where one of them is empty."""
    rest = head & ~mask
    if not mask.any() or not rest.any():
        return None
    around = float(flair[rest].mean(dtype=float))
    return round(float(flair[mask].mean(dtype=float)) / around, 3) if around > 0 else None


def uncertainty(mask: np.ndarray, probability: np.ndarray) -> float | None:
    """Return the mean binary entropy (bits) of the mask and `AROUND` voxels about it in plane; None without a mask."""
    if not mask.any():
        return None
    disc = np.hypot(*np.ogrid[-AROUND : AROUND + 1, -AROUND : AROUND + 1]) <= AROUND
    slices = mask.any((0, 1))
    near = ndimage.binary_dilation(mask[..., slices], disc[..., None])
    p = np.clip(probability[..., slices][near].astype(float), 1e-12, 1 - 1e-12)
    return round(float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean()), 4)
