"""Augmentation of a whole batch as one tensor, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from lgg_monai.seeds import epoch_seed


class BatchTransform(Protocol):
    """What a step of :class:`BatchAugmentation` looks like.

    ``image`` is ``[B, C, X, Y]`` (normalised), ``label`` ``[B, 1, X, Y]`` (0 or 1), both float32. Every sample of the
    batch draws its own parameters from ``random``.
    """

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the changed image and label."""
        ...


def require_probability(name: str, value: float) -> float:
    """Give a probability, or raise a ValueError that names it, such as for 50 in place of 0.5."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}: use a number from 0 to 1")
    return float(value)


def require_range(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Give a range as (smallest, largest), both above 0, or raise a ValueError that names it."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{name} is {value!r}: use two numbers, (smallest, largest)")
    if not all(isinstance(limit, int | float) for limit in value) or not 0 < value[0] <= value[1]:
        raise ValueError(f"{name} is {tuple(value)}: use (smallest, largest), both above 0")
    return float(value[0]), float(value[1])


class BatchRandom:
    """Random numbers for a batch: small parameters are drawn on the CPU, noise on the batch's device.

    Drawing parameters on the CPU gives the same ones on every device, and never makes the device wait.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._parameters = torch.Generator().manual_seed(seed)
        self._noise: dict[torch.device, torch.Generator] = {}

    def uniform(self, shape: Sequence[int], low: float, high: float) -> torch.Tensor:
        """Draw from [low, high) on the CPU."""
        return torch.rand(tuple(shape), generator=self._parameters) * (high - low) + low

    def chosen(self, batch: int, probability: float) -> torch.Tensor:
        """Draw the indices of the samples that a transform with this probability changes."""
        return torch.nonzero(torch.rand(batch, generator=self._parameters) < probability).flatten()

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Draw standard normal noise on the device."""
        if device not in self._noise:
            self._noise[device] = torch.Generator(device).manual_seed(self.seed)
        return torch.randn(tuple(shape), generator=self._noise[device], device=device)


class BatchAugmentation:
    """Run batch transforms one after the other, with random numbers that depend on seed and epoch alone.

    Args:
        transforms: the steps, in order.
        seed: of the random numbers.
    """

    def __init__(self, transforms: Sequence[BatchTransform], seed: int = 0) -> None:
        self.transforms = list(transforms)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Start the random numbers of an epoch, counted from 0; a resumed run so repeats what a whole one does."""
        self._random = BatchRandom(epoch_seed(self.seed, epoch))

    @torch.no_grad()
    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment a batch.

        Args:
            image: ``[B, C, X, Y]``.
            label: ``[B, 1, X, Y]`` with values 0 and 1.

        Returns:
            Image and label, with the spatial size that the transforms give them.
        """
        for transform in self.transforms:
            image, label = transform(image, label, self._random)
        return image, label
