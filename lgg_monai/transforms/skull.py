"""Batched augmentation that takes scalp and skull away, as brain extraction does before many scans are shared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from lgg_monai.data.sequences import FLAIR
from lgg_monai.transforms.batch import BatchRandom, require_probability, require_range

HEAD = 0.15
"""Share of the way from a slice's darkest FLAIR to its brightest hundredth from which a pixel is head."""
BRIDGED = 15
"""Pixels of dark skull and cavities, to either side, that count as within the head."""


class RandomSkullStrip:
    """Take the rim of the head from some slices, ahead of :class:`RandomAffinePatch`, and stretch what is left.

    Brain extraction itself would take seconds a volume. Here the outline of the head moves inwards, in a batch by one
    width; what lies outside becomes air, also in the label. Without bright fat the statistics of the preprocessing are
    other ones where it does not tell such scans, so each sequence is shifted and stretched as well.

    Args:
        probability: share of the samples that lose the rim.
        rim: range of its width, in pixels.
        stretch: range of the factor.
        shift: largest shift before it, in standard deviations of the volume.

    Raises:
        ValueError: for a probability that is none, or a range that is not from a smaller to a larger number above 0.
    """

    def __init__(
        self,
        probability: float = 0.2,
        rim: Sequence[float] = (6, 18),
        stretch: Sequence[float] = (0.9, 1.9),
        shift: float = 0.25,
    ) -> None:
        self.probability = require_probability("probability of RandomSkullStrip", probability)
        self.rim = require_range("rim", rim)
        self.stretch = require_range("stretch", stretch)
        self.shift = shift

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability)
        if len(chosen) == 0:
            return image, label
        rim = round(float(random.uniform((1,), *self.rim)))
        shape = (len(chosen), image.shape[1], 1, 1)
        stretch = random.uniform(shape, *self.stretch).to(image, non_blocking=True)
        shift = random.uniform(shape, -self.shift, self.shift).to(image, non_blocking=True)
        chosen = chosen.to(image.device, non_blocking=True)
        part, mask = image.index_select(0, chosen), label.index_select(0, chosen)
        outside = rim_and_air(part[:, min(FLAIR, part.shape[1] - 1)][:, None], rim)
        part = (torch.where(outside, part.amin((2, 3), keepdim=True), part) + shift) * stretch
        return image.index_copy(0, chosen, part), label.index_copy(0, chosen, mask.masked_fill(outside, 0))


def rim_and_air(flair: torch.Tensor, rim: int) -> torch.Tensor:
    """Find what lies outside the head, or within it but near its outline, on every second pixel, as that is quicker.

    Args:
        flair: ``[B, 1, X, Y]``.
        rim: width in pixels, along X and Y.

    Returns:
        Boolean ``[B, 1, X, Y]``.
    """
    low = flair.amin((2, 3), keepdim=True)
    high = torch.quantile(flair.flatten(2)[..., ::7], 0.99, dim=2, keepdim=True)[..., None]
    head = (flair[..., ::2, ::2] > low + HEAD * (high - low)).float()
    bridged = BRIDGED // 2
    margin = bridged + rim // 2  # room to grow in, so that the border of the slice is air like any other
    air = _grown(1 - _grown(functional.pad(head, [margin] * 4), bridged), margin)[..., margin:-margin, margin:-margin]
    return air.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : flair.shape[2], : flair.shape[3]] > 0


def _grown(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Grow by a square, one direction after the other."""
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        mask = functional.max_pool2d(mask, kernel, 1, padding)
    return mask
