"""Batched augmentation that mixes samples, on volumes normalised to zero mean and unit variance within the head."""

from __future__ import annotations

import torch
from torch.nn import functional

from lgg_monai.data.sequences import FLAIR, OTHERS
from lgg_monai.transforms.batch import BatchRandom, require_probability

AIR = 0.1  # of the way from the darkest to the brightest pixel of a sample's FLAIR, below which a pixel is air
LARGEST_SHARE_OF_AIR = 0.2


class RandomCarveMix:
    """Put the tumours of some samples, with what surrounds them, into others (Zhang et al., MICCAI 2021, CarveMix).

    The network sees tumours where the training patients happen to have none, and in other brains. Nothing is put where
    more than a fifth of it would lie in air, and nothing from a sample that lacks a sequence (where it is FLAIR again).

    Args:
        probability: share of the samples that are to receive a tumour; those that it does not suit stay as they are.
        margin: most pixels around the tumour that come with it; each sample draws its own number, from 0.

    Raises:
        ValueError: for a probability that is none, or a negative margin.
    """

    def __init__(self, probability: float = 0.5, margin: int = 8) -> None:
        if isinstance(margin, bool) or not isinstance(margin, int) or margin < 0:
            raise ValueError(f"margin is {margin!r}: use a whole number of pixels from 0 up")
        self.probability = require_probability("probability of RandomCarveMix", probability)
        self.margin = margin

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        chosen = random.chosen(len(image), self.probability).tolist()
        if not chosen:
            return image, label
        # Donors are drawn among the samples that show tumour, on the device, which so never waits for their number.
        shows = label.flatten(1).any(1)
        place = random.uniform((len(chosen),), 0, 1).to(image.device) * shows.sum()
        donors = shows.int().argsort(descending=True, stable=True)[place.long()]
        margins = random.uniform((len(chosen),), 0, self.margin + 1).long().tolist()
        mixed_image, mixed_label = image.clone(), label.clone()
        given_images, given_labels = image.index_select(0, donors), label.index_select(0, donors)
        for sample, donor, mask, margin in zip(chosen, given_images, given_labels, margins, strict=True):
            carved = functional.max_pool2d(mask[None], 2 * margin + 1, stride=1, padding=margin)[0] > 0
            carved = carved & self.fits(image[sample], donor, carved)
            mixed_image[sample] = torch.where(carved, donor, image[sample])
            mixed_label[sample] = torch.where(carved, mask, label[sample])
        return mixed_image, mixed_label

    @staticmethod
    def fits(image: torch.Tensor, donor: torch.Tensor, carved: torch.Tensor) -> torch.Tensor:
        """Tell, as one boolean on the device, which so never waits, whether what is carved suits an image [C, X, Y]."""
        flair = image[FLAIR]
        low, high = flair.amin(), flair.amax()
        in_air = ((flair < low + AIR * (high - low)) & carved[0]).sum()
        others = [channel for channel in OTHERS if channel < len(donor)]
        complete = (donor[others] != donor[FLAIR]).flatten(1).any(1).all()
        return complete & (in_air <= LARGEST_SHARE_OF_AIR * carved.sum())
