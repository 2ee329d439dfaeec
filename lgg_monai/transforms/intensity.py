"""Batched intensity augmentation, on volumes normalised to zero mean and unit variance."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from lgg_monai.data.sequences import FLAIR, OTHERS
from lgg_monai.transforms.batch import BatchRandom, require_probability, require_range


class RandomIntensity:
    """Change the images of some samples of a batch; labels stay as they are.

    Args:
        probability: share of the samples that change.

    Raises:
        ValueError: from this and its subclasses, for a probability that is none, or a range that is not from a smaller
            to a larger number above 0.
    """

    def __init__(self, probability: float) -> None:
        self.probability = require_probability(f"probability of {type(self).__name__}", probability)

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        if len(chosen) == 0:
            return image, label
        if len(chosen) == len(image):
            return self.change(image, random), label
        chosen = chosen.to(image.device, non_blocking=True)
        return image.index_copy(0, chosen, self.change(image.index_select(0, chosen), random)), label

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """Return the changed images of the chosen samples, ``[N, C, X, Y]`` with N from 1 up; leave ``part`` itself."""
        raise NotImplementedError


class RandomContrast(RandomIntensity):
    """Stretch and shift each sequence of some samples: ``x * contrast + brightness``.

    Args:
        probability: share of the samples that change.
        contrast: largest change of the factor 1.
        brightness: largest shift, in standard deviations of the volume.
    """

    def __init__(self, probability: float = 0.5, contrast: float = 0.25, brightness: float = 0.25) -> None:
        super().__init__(probability)
        self.contrast = contrast
        self.brightness = brightness

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        shape = (len(part), part.shape[1], 1, 1)
        factor = 1 + random.uniform(shape, -self.contrast, self.contrast).to(part, non_blocking=True)
        shift = random.uniform(shape, -self.brightness, self.brightness).to(part, non_blocking=True)
        return torch.addcmul(shift, part, factor)


class RandomGamma(RandomIntensity):
    """Bend the intensity curve of some samples: ``x ** gamma`` between a sample's own extremes.

    Args:
        probability: share of the samples that change.
        gamma: range of the exponent.
    """

    def __init__(self, probability: float = 0.2, gamma: tuple[float, float] = (0.7, 1.5)) -> None:
        super().__init__(probability)
        self.gamma = require_range("gamma", gamma)

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        gamma = random.uniform((len(part), part.shape[1], 1, 1), *self.gamma).to(part, non_blocking=True)
        low, high = part.amin((2, 3), keepdim=True), part.amax((2, 3), keepdim=True)
        width = (high - low).clamp_min(1e-6)
        return ((part - low) / width).pow(gamma) * width + low


class RandomBiasField(RandomIntensity):
    """Brighten and darken some samples smoothly over the slice, as a receiver coil does.

    Args:
        probability: share of the samples that change.
        strength: largest logarithm of the field at its nodes.
        nodes: nodes of the field along one side.
    """

    def __init__(self, probability: float = 0.2, strength: float = 0.3, nodes: int = 4) -> None:
        super().__init__(probability)
        self.strength = strength
        self.nodes = nodes

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        nodes = random.uniform((len(part), 1, self.nodes, self.nodes), -self.strength, self.strength).to(
            part, non_blocking=True
        )
        field = functional.interpolate(nodes, size=part.shape[2:], mode="bicubic", align_corners=True).exp()
        # A coil scales the signal, which is 0 in air; after normalisation air is the lowest value, not 0.
        floor = part.amin((2, 3), keepdim=True)
        return (part - floor) * field + floor


class RandomNoise(RandomIntensity):
    """Add Gaussian noise to some samples.

    Args:
        probability: share of the samples that change.
        deviation: largest standard deviation of the noise, in standard deviations of the volume.
    """

    def __init__(self, probability: float = 0.2, deviation: float = 0.2) -> None:
        super().__init__(probability)
        self.deviation = deviation

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        deviation = random.uniform((len(part), 1, 1, 1), 0, self.deviation).to(part, non_blocking=True)
        return part + random.normal(part.shape, part.device) * deviation


class RandomBlur(RandomIntensity):
    """Blur some samples within the slice by a Gaussian, as motion, thick slices and interpolation do.

    Args:
        probability: share of the samples that change.
        deviation: range of the standard deviation of the Gaussian, in pixels.
    """

    def __init__(self, probability: float = 0.15, deviation: tuple[float, float] = (0.5, 2.0)) -> None:
        super().__init__(probability)
        self.deviation = require_range("deviation of RandomBlur", deviation)
        self.radius = math.ceil(3 * self.deviation[1])

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        count, channels = part.shape[:2]
        deviation = random.uniform((count, 1), *self.deviation).to(part, non_blocking=True)
        place = torch.arange(-self.radius, self.radius + 1, device=part.device)
        kernel = torch.exp(-0.5 * (place / deviation) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None]
        # All samples in one depthwise convolution a direction; the border is repeated, as nothing is known beyond it.
        planes = part.reshape(1, count * channels, *part.shape[2:])
        margins = [self.radius] * 4
        planes = functional.pad(planes, margins, mode="replicate")
        planes = functional.conv2d(planes, kernel[..., None], groups=count * channels)
        return functional.conv2d(planes, kernel[..., None, :], groups=count * channels).reshape(part.shape)


class RandomLowResolution(RandomIntensity):
    """Blur some samples as a coarser matrix would: down by two and up again.

    Args:
        probability: share of the samples that change.
    """

    def __init__(self, probability: float = 0.1) -> None:
        super().__init__(probability)

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        small = functional.avg_pool2d(part, 2, ceil_mode=True)
        # By two exactly and cut: stretched to an odd size, the picture would slide off its label by up to a pixel.
        large = functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
        return large[..., : part.shape[2], : part.shape[3]]


class RandomMissingSequence(RandomIntensity):
    """Replace the other sequences of some samples by FLAIR, which is how the data set marks them as missing.

    Args:
        probability: share of the samples that lose sequences: one of them, or with equal chance all but FLAIR.
    """

    def __init__(self, probability: float = 0.15) -> None:
        super().__init__(probability)

    def change(self, part: torch.Tensor, random: BatchRandom) -> torch.Tensor:
        """See :class:`RandomIntensity`."""
        # Channels beyond the sequences, such as neighbouring slices, are not acquired by themselves.
        others = [channel for channel in OTHERS if channel < part.shape[1]]
        if not others or part.shape[1] <= FLAIR:
            return part
        # The draw names one sequence to lose, or (one past the last) all of them.
        draws = random.uniform((len(part),), 0, len(others) + 1).long()
        sources = torch.arange(part.shape[1]).repeat(len(part), 1)
        for place, channel in enumerate(others):
            sources[(draws == place) | (draws == len(others)), channel] = FLAIR
        planes = (sources + torch.arange(len(part))[:, None] * part.shape[1]).flatten()
        return part.flatten(0, 1).index_select(0, planes.to(part.device, non_blocking=True)).reshape(part.shape)
