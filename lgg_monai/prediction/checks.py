"""What cannot be segmented, and what is unlike the training data."""

from __future__ import annotations

import numpy as np

from lgg_monai.data.lost_slices import lost_slices
from lgg_monai.data.scan import Scan
from lgg_monai.data.sequences import FLAIR, SEQUENCES
from lgg_monai.data.spacing import PIXEL_MM
from lgg_monai.errors import LggError
from lgg_monai.prediction.geometry import Placement
from lgg_monai.words import counted

LOWEST_MR = -900.0
FEW_SLICES, SHORT_STACK_MM, THICK_SLICE_MM = 10, 70.0, 8.0
# Ranges within which the 80 patients at hand lie, somewhat widened: share of the volume that is head; share of the
# slices' border that is head; share of voxels that are exactly 0; length of the head, nose to back (pixels of
# PIXEL_MM); 99th percentile of FLAIR in standard deviations; tumour as a share of the head.
HEAD_SHARE = (0.15, 0.75)
BORDER_SHARE, ZERO_SHARE, TUMOUR_SHARE = 0.3, 0.65, 0.15
HEAD_LENGTH = (185.0, 275.0)
BRIGHT = (2.2, 5.0)


def require_sound(scan: Scan) -> None:
    """Refuse what no network can say anything about, and take sequences without content for missing ones.

    Raises:
        LggError: a voxel is not a number, FLAIR is of one value, or the values are those of CT.
    """
    for channel, sequence in enumerate(SEQUENCES):
        if sequence in scan.missing:
            continue  # a copy of FLAIR
        volume = scan.image[channel]
        wrong = int(np.count_nonzero(~np.isfinite(volume)))
        if wrong:
            raise LggError(f"{wrong} voxels of {sequence} are not numbers (NaN or infinite): export the scan again")
    flair = scan.image[FLAIR]
    if flair.min() == flair.max():
        raise LggError(f"FLAIR is of one value ({flair.flat[0]:g}) throughout: export the scan again")
    if flair.min() <= LOWEST_MR and flair.max() > 0:
        raise LggError(f"FLAIR has values down to {flair.min():g}, like CT: give MR images")
    missing = set(scan.missing)
    for channel, sequence in enumerate(SEQUENCES):
        volume = scan.image[channel]
        if channel == FLAIR or sequence in missing:
            continue
        if volume.min() == volume.max():
            scan.warnings.append(f"{sequence} is of one value throughout: a copy of FLAIR stands in for it")
            scan.image[channel] = flair
            missing.add(sequence)
        elif np.array_equal(volume, flair):
            missing.add(sequence)  # the training set marks missing sequences so
    scan.missing = tuple(sequence for sequence in SEQUENCES if sequence in missing)


def flags(scan: Scan, placement: Placement, head: np.ndarray, mask: np.ndarray) -> list[str]:
    """List in one line each how a scan differs from the training data, and what is odd about its mask [X, Y, Z].

    Args:
        scan: after `require_sound`.
        placement: of the scan.
        head: see `lgg_monai.prediction.measurements.head_mask`, turned as the network sees it.
        mask: boolean, on the scan's grid.
    """
    found = [*scan.warnings, *placement.notes]
    if scan.missing:
        found.append(f"missing sequences, replaced by FLAIR: {', '.join(scan.missing)}")
    lost = lost_slices(placement.turned(scan.image))
    found += [f"{phrase} (slices counted from 1, from below)" for phrase in lost]
    flair = placement.turned(scan.image[FLAIR])
    found += _spacing(scan, placement) + _head(flair, head, placement) + _intensity(flair)
    if not mask.any():
        found.append("nothing outlined, which does not prove that there is no tumour")
    elif mask.sum() > TUMOUR_SHARE * max(int(head.sum()), 1):
        found.append(f"the mask covers {mask.sum() / max(int(head.sum()), 1):.0%} of the head")
    return found


def _spacing(scan: Scan, placement: Placement) -> list[str]:
    slices, thickness = placement.shape[2], placement.spacing[2]
    if not scan.spacing_known:
        return [f"only {counted(slices, 'slice')}"] if slices < FEW_SLICES else []
    found = []
    if thickness > THICK_SLICE_MM:
        found.append(f"slices are {thickness:.1f} mm apart")
    if slices * thickness < SHORT_STACK_MM:
        stack = f"the {slices} slices cover" if slices > 1 else "the one slice covers"
        found.append(f"{stack} {slices * thickness:.0f} mm only: not a whole head, or wrong spacing")
    return found


def _head(flair: np.ndarray, head: np.ndarray, placement: Placement) -> list[str]:
    share = float(head.mean())
    border = np.concatenate([head[0].ravel(), head[-1].ravel(), head[:, 0].ravel(), head[:, -1].ravel()]).mean()
    if not HEAD_SHARE[0] <= share <= HEAD_SHARE[1] or border > BORDER_SHARE:
        return [f"no head in air as in training (bright area {share:.0%} of the volume, {border:.0%} of its border)"]
    rows = np.flatnonzero(head.any((0, 2)))
    # In the pixels that the network sees.
    length = (rows[-1] - rows[0] + 1) * placement.size[1] / placement.shape[1]
    zero = float((flair == 0).mean())
    if zero > ZERO_SHARE:
        return [f"{zero:.0%} of the voxels are exactly 0: skull-stripped or masked, unlike training"]
    if not HEAD_LENGTH[0] <= length <= HEAD_LENGTH[1]:
        return [
            f"the head is {length:.0f} pixels of about {PIXEL_MM:.2f} mm long, in training {HEAD_LENGTH[0]:.0f} to "
            f"{HEAD_LENGTH[1]:.0f}: another magnification, or not a whole head"
        ]
    return []


def _intensity(flair: np.ndarray) -> list[str]:
    low, high = np.percentile(flair, [1, 99])
    if high <= low:
        return ["nearly all of FLAIR is of one value"]
    cut = np.clip(flair, low, high)
    bright = float((high - cut.mean(dtype=float)) / max(float(cut.std(dtype=float)), 1e-12))
    if not BRIGHT[0] <= bright <= BRIGHT[1]:
        return [
            f"brightness unlike training: is this FLAIR of a head? Its brightest voxels lie {bright:.1f} standard "
            f"deviations above the mean, in training {BRIGHT[0]} to {BRIGHT[1]}"
        ]
    return []
