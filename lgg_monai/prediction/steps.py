"""What is done to one scan: read and prepare it, draw its mask, assess the mask."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from lgg_monai.data.people import person_of
from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.data.sequences import FLAIR
from lgg_monai.errors import LggError
from lgg_monai.prediction import outputs
from lgg_monai.prediction.checks import flags, require_sound
from lgg_monai.prediction.geometry import Placement
from lgg_monai.prediction.measurements import head_mask, measure
from lgg_monai.prediction.outputs import Prediction
from lgg_monai.prediction.segmenter import THRESHOLD, Prepared, Segmenter
from lgg_monai.transforms.components import without_specks

REMOVED = 0.1
"""Share of a mask's voxels; more than that removed from it is worth a word."""


@dataclass(frozen=True)
class Drawn:
    """A scan with its mask, not assessed yet.

    Args:
        scan: that was segmented.
        placement: of the scan.
        probability: of tumour [X, Y, Z].
        mask: boolean, alike.
        specks: voxels that were removed from the mask, as too small by themselves or beside the largest part.
    """

    scan: Scan
    placement: Placement
    probability: np.ndarray
    mask: np.ndarray
    specks: int


def load(source: ScanSource) -> Scan:
    """Read a scan.

    Raises:
        LggError: it cannot be used.
    """
    try:
        scan = source.load()
    except OSError as error:  # of this scan alone, unlike what goes wrong in writing
        reason = error.strerror or type(error).__name__
        message = f"cannot read {error.filename or source.path} ({reason}): give files that you may read"
        raise LggError(message) from error
    scan.name = source.name
    require_sound(scan)
    return scan


def read(source: ScanSource, segmenter: Segmenter) -> tuple[Prepared, np.ndarray | None]:
    """Read a scan and the reference mask beside it, and prepare it for the network.

    Raises:
        LggError: the scan cannot be used.
    """
    scan = load(source)
    label = outputs.read_label(source, scan)
    return segmenter.prepare(scan), label


def draw(segmenter: Segmenter, prepared: Prepared) -> Drawn:
    """Let the networks draw the mask of a scan."""
    probability = segmenter(prepared)
    found = probability >= THRESHOLD
    mask = without_specks(found)
    return Drawn(prepared.scan, prepared.placement, probability, mask, int(found.sum()) - int(mask.sum()))


def assess(drawn: Drawn, label: np.ndarray | None = None, seen: Container[str] = ()) -> Prediction:
    """Measure a mask, and note what is odd about it.

    Args:
        drawn: the scan with its mask.
        label: the reference mask, where there is one.
        seen: people who took part in the training, as `lgg_monai.data.people.person_of` names them.
    """
    scan, placement, mask = drawn.scan, drawn.placement, drawn.mask
    head = head_mask(placement.turned(scan.image[FLAIR]))
    measurements = measure(scan, placement, head, mask, drawn.probability, label)
    warnings = flags(scan, placement, head, mask)
    if drawn.specks and not mask.any():
        warnings.append(f"all that was found are {drawn.specks} voxels in specks, which were removed")
    elif drawn.specks > REMOVED * int(mask.sum()):
        # Mostly a false alarm, but a second tumour would go the same way.
        warnings.append(f"parts of {drawn.specks} voxels in all were removed beside the largest: look for a second one")
    if person_of(scan.name) in seen:
        warnings.append("took part in the training of these weights: the result flatters them")
    return Prediction(scan, mask, drawn.probability, measurements, warnings, label)
