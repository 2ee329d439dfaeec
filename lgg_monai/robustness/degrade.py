"""One way of spoiling a scan: done before the preprocessing, and undone on the prediction where it moves voxels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, Randomizable, Transform

from lgg_monai.data.sequences import FLAIR, SEQUENCES

Build = Callable[[Sequence[int]], Transform]


@dataclass(frozen=True)
class Degradation:
    """One way in which a scan may differ from the training scans.

    Args:
        name: what is done, such as ``noise``.
        severity: how much of it, such as ``0.1``; empty where there is only one.
        definition: what the severity means, for reports.
        build: makes the transform of an image ``[3, X, Y, Z]`` for a volume of size ``(X, Y, Z)``.
        moves: the voxels change their places or their number, so a prediction has to be mapped back.
    """

    name: str
    severity: str
    definition: str
    build: Build
    moves: bool = False

    @property
    def label(self) -> str:
        """Name and severity, unique in a table."""
        return f"{self.name} {self.severity}".strip()


def degrade(
    degradation: Degradation, image: torch.Tensor, copied: Sequence[str], patient: str, seed: int = 0
) -> tuple[MetaTensor, Transform]:
    """Degrade one patient's scan as it was read, before any preprocessing.

    Args:
        degradation: what is done.
        image: ``[3, X, Y, Z]``; left as it is.
        copied: sequences of the patient that are copies of FLAIR, and stay so.
        patient: name; what is random follows from it, the degradation and the seed alone, not from the order.
        seed: of what is random.

    Returns:
        The degraded image ``[3, X', Y', Z]``, and the transform, for `restore`.
    """
    transform = degradation.build(tuple(image.shape[1:]))
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed=zlib.crc32(f"{seed}/{degradation.label}/{patient}".encode()))
    # A copy without history: some of MONAI's transforms write into their input, and only ours is to be undone.
    degraded = transform(MetaTensor(torch.as_tensor(image, dtype=torch.float32).clone()))
    for name in copied:
        degraded[SEQUENCES.index(name)] = degraded[FLAIR]
    return degraded, transform


def restore(
    degradation: Degradation, transform: Transform, probability: torch.Tensor, degraded: MetaTensor
) -> torch.Tensor:
    """Map a probability map back to the grid of the scan before `degrade`; what was cut away there is 0.

    Args:
        degradation: what was done.
        transform: that did it.
        probability: ``[1, X', Y', Z]`` on the degraded scan's grid.
        degraded: that scan, which remembers what was done to it.

    Returns:
        ``[1, X, Y, Z]`` with values from 0 to 1.
    """
    if not degradation.moves:
        return probability
    if not isinstance(transform, InvertibleTransform):
        raise TypeError(f"{degradation.label} moves voxels, but {type(transform).__name__} cannot be inverted")
    mapped = MetaTensor(probability, applied_operations=degraded.applied_operations)
    return torch.as_tensor(transform.inverse(mapped).as_tensor()).clamp(0, 1)
