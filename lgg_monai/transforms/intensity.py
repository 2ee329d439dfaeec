"""Batched intensity augmentation, on volumes normalised to zero mean and unit variance."""

from __future__ import annotations

import torch
from torch.nn import functional

from lgg_monai.data.patients import FLAIR
from lgg_monai.transforms.batch import BatchRandom


class RandomContrast:
    """Stretch and shift each sequence of some samples: ``x * contrast + brightness``.

    Args:
        probability: share of the samples that change.
        contrast: largest change of the factor 1.
        brightness: largest shift, in standard deviations of the volume.
    """

    def __init__(self, probability: float = 0.5, contrast: float = 0.25, brightness: float = 0.25) -> None:
        self.probability = probability
        self.contrast = contrast
        self.brightness = brightness

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        shape = (len(chosen), image.shape[1], 1, 1)
        factor = 1 + random.uniform(shape, -self.contrast, self.contrast).to(image)
        shift = random.uniform(shape, -self.brightness, self.brightness).to(image)
        return _changed(image, chosen, lambda part: torch.addcmul(shift, part, factor)), label


class RandomGamma:
    """Bend the intensity curve of some samples: ``x ** gamma`` between a sample's own extremes.

    Args:
        probability: share of the samples that change.
        gamma: range of the exponent.
    """

    def __init__(self, probability: float = 0.2, gamma: tuple[float, float] = (0.7, 1.5)) -> None:
        self.probability = probability
        self.gamma = (float(gamma[0]), float(gamma[1]))

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        gamma = random.uniform((len(chosen), image.shape[1], 1, 1), *self.gamma).to(image)

        def bend(part: torch.Tensor) -> torch.Tensor:
            low, high = part.amin((2, 3), keepdim=True), part.amax((2, 3), keepdim=True)
            width = (high - low).clamp_min(1e-6)
            return ((part - low) / width).pow(gamma) * width + low

        return _changed(image, chosen, bend), label


class RandomBiasField:
    """Brighten and darken some samples smoothly over the slice, as a receiver coil does.

    Args:
        probability: share of the samples that change.
        strength: largest logarithm of the field at its nodes.
        nodes: nodes of the field along one side.
    """

    def __init__(self, probability: float = 0.2, strength: float = 0.3, nodes: int = 4) -> None:
        self.probability = probability
        self.strength = strength
        self.nodes = nodes

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        nodes = random.uniform((len(chosen), 1, self.nodes, self.nodes), -self.strength, self.strength).to(image)

        def shade(part: torch.Tensor) -> torch.Tensor:
            field = functional.interpolate(nodes, size=part.shape[2:], mode="bicubic", align_corners=True).exp()
            # A coil scales the signal, which is 0 in air; after normalisation air is the lowest value, not 0.
            floor = part.amin((2, 3), keepdim=True)
            return (part - floor) * field + floor

        return _changed(image, chosen, shade), label


class RandomNoise:
    """Add Gaussian noise to some samples.

    Args:
        probability: share of the samples that change.
        deviation: largest standard deviation of the noise, in standard deviations of the volume.
    """

    def __init__(self, probability: float = 0.2, deviation: float = 0.2) -> None:
        self.probability = probability
        self.deviation = deviation

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        deviation = random.uniform((len(chosen), 1, 1, 1), 0, self.deviation).to(image)
        return _changed(image, chosen, lambda part: part + random.normal(part.shape, part.device) * deviation), label


class RandomLowResolution:
    """Blur some samples as a coarser matrix would: down by two and up again.

    Args:
        probability: share of the samples that change.
    """

    def __init__(self, probability: float = 0.1) -> None:
        self.probability = probability

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)

        def blur(part: torch.Tensor) -> torch.Tensor:
            small = functional.avg_pool2d(part, 2, ceil_mode=True)
            # By two exactly and cut: stretched to an odd size, the picture would slide off its label by up to a pixel.
            large = functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
            return large[..., : part.shape[2], : part.shape[3]]

        return _changed(image, chosen, blur), label


class RandomMissingSequence:
    """Replace the other sequences of some samples by FLAIR, which is how the data set marks them as missing.

    Args:
        probability: share of the samples that lose sequences: one of them, or with equal chance all but FLAIR.
    """

    def __init__(self, probability: float = 0.15) -> None:
        self.probability = probability

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        others = [channel for channel in range(image.shape[1]) if channel != FLAIR]
        if len(chosen) == 0 or not others:
            return image, label
        # The draw names one sequence to lose, or (one past the last) all of them.
        draws = random.uniform((len(chosen),), 0, len(others) + 1).long().tolist()
        image = image.clone()
        for sample, draw in zip(chosen.tolist(), draws, strict=True):
            for channel in others if draw == len(others) else [others[draw]]:
                image[sample, channel] = image[sample, FLAIR]
        return image, label


def _changed(image: torch.Tensor, chosen: torch.Tensor, change) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Apply ``change`` to the chosen samples only; most transforms touch a fifth of a batch."""
    if len(chosen) == 0:
        return image
    if len(chosen) == len(image):
        return change(image)
    chosen = chosen.to(image.device)
    return image.index_copy(0, chosen, change(image.index_select(0, chosen)))
