"""What MONAI's 2D tutorials do: per-sample dictionary transforms, CacheDataset, DataLoader, a plain loop."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import monai
import monai.transforms as theirs
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset
from monai.data.utils import worker_init_fn
from torch.utils.data import DataLoader

import lgg_monai.transforms as ours
from benchmarks.bundle import overrides_of, parser
from benchmarks.variants import NotComparedError, Variant, time_steps
from lgg_monai.data.sequences import FLAIR

KEYS = ["image", "label"]
SAMPLING: dict[str, Any] = {"mode": ("bilinear", "nearest"), "padding_mode": "border"}
# Slices kept for the loader where only time counts: an epoch's worth of steps repeats them, which changes no time.
SLICES = 512
# What the bundle does to be fast, and a tutorial does not.
PLAIN = {"precision": "fp32", "channels_last": False, "compile": False, "optimizer#fused": False}


def augmentation(config: ConfigParser, size: Sequence[int]) -> theirs.Compose:
    """Translate the bundle's augmentation into MONAI's per-sample transforms: same kinds, order, shares and ranges.

    What MONAI's do in another way stays so: gamma is one for all sequences, the coil's field scales about the mean, a
    blur has a width an axis and takes what is beyond the border for 0, the elastic grid resamples the finished patch.

    Args:
        config: of the bundle; all numbers are those of the steps that it builds.
        size: of the slices.

    Raises:
        NotComparedError: a step of the bundle has no counterpart here.
    """
    steps = config.get_parsed_content("augmentation").transforms
    return theirs.Compose([theirs.EnsureTyped(KEYS), *(part for step in steps for part in counterpart(step, size))])


def counterpart(step: Any, size: Sequence[int]) -> list[Callable]:
    """Translate one step of the bundle's augmentation; see `augmentation`."""
    p = getattr(step, "probability", 0.0)
    match step:
        case ours.RandomAffinePatch():
            return _patch(step, size)
        case ours.RandomMissingSequence():
            lost = [theirs.Lambdad("image", functools.partial(_lose, channels=which)) for which in ([0], [2], [0, 2])]
            return [theirs.OneOf([theirs.Identityd("image"), *lost], [1 - p, p / 3, p / 3, p / 3])]
        case ours.RandomContrast():
            scale = theirs.RandScaleIntensityd("image", factors=step.contrast, prob=1.0, channel_wise=True)
            shift = theirs.RandShiftIntensityd("image", offsets=step.brightness, prob=1.0, channel_wise=True)
            return [theirs.OneOf([theirs.Identityd("image"), theirs.Compose([scale, shift])], [1 - p, p])]
        case ours.RandomGamma():
            return [theirs.RandAdjustContrastd("image", prob=p, gamma=step.gamma)]
        case ours.RandomBiasField():
            # Ten polynomials add up in the corners: with a third of the strength each, to the spread of our nodes.
            return [theirs.RandBiasFieldd("image", prob=p, coeff_range=(-step.strength / 3, step.strength / 3))]
        case ours.RandomBlur():
            return [theirs.RandGaussianSmoothd("image", prob=p, sigma_x=step.deviation, sigma_y=step.deviation)]
        case ours.RandomLowResolution():
            modes = {"downsample_mode": "area", "upsample_mode": "bilinear"}
            return [theirs.RandSimulateLowResolutiond("image", prob=p, zoom_range=(0.5, 0.5), **modes)]
        case ours.RandomNoise():
            return [theirs.RandGaussianNoised("image", prob=p, std=step.deviation)]
    raise NotComparedError(f"{type(step).__name__} has no counterpart: give it one in benchmarks/plain.py")


def _patch(step: ours.RandomAffinePatch, size: Sequence[int]) -> list[Callable]:
    patch = [min(step.patch_size, side) for side in size]
    free = [(side - cut) / 2 * step.placement for side, cut in zip(size, patch, strict=True)]
    affine = theirs.RandAffined(KEYS, prob=1.0, spatial_size=patch, cache_grid=True, **SAMPLING)
    affine.rand_affine.rand_affine_grid = OneMagnification(
        step, rotate_range=math.radians(step.degrees), translate_range=free
    )
    found: list[Callable] = [affine, theirs.RandFlipd(KEYS, prob=step.flip, spatial_axis=0)]
    if step.elastic > 0:
        # Nodes move by a normal number times a magnitude from this range: together the spread of our nodes.
        nodes = {"spacing": [cut / (step.elastic_nodes - 1) for cut in patch], "magnitude_range": (0, step.elastic)}
        found.append(theirs.Rand2DElasticd(KEYS, prob=step.elastic_probability, **nodes, **SAMPLING))
    return found


class OneMagnification(theirs.RandAffineGrid):
    """Draws one magnification for both axes, in the logarithm, as the bundle does; MONAI's draws one an axis."""

    def __init__(self, step: ours.RandomAffinePatch, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bounds = [-math.log(factor) for factor in step.scale]  # MONAI's factor shrinks the picture

    def randomize(self, data: Any = None) -> None:
        """Draw all parameters."""
        super().randomize(data)
        self.scale_params = [math.exp(self.R.uniform(*self.bounds))] * 2


def _lose(image: torch.Tensor, channels: list[int]) -> torch.Tensor:
    return image[[FLAIR if channel in channels else channel for channel in range(len(image))]]


class PlainMonai:
    """A plain PyTorch loop over MONAI's dictionary pipeline, in float32, with the bundle's network and batch.

    Args:
        net: name of the bundle.
        variant: ``workers``, ``batch``, ``patch``, ``threads``.
        settings: overrides of the bundle that all variants share.
        slices: that are kept, as the bundle's first epoch has them, and shuffled; None: all of the training patients,
            drawn by the bundle's own sampler.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any], slices: int | None = SLICES) -> None:
        self.config = parser(net, settings | overrides_of(variant) | PLAIN)
        self.device = torch.device(self.config.get_parsed_content("device"))
        seed = self.config.get_parsed_content("seed")
        monai.utils.set_determinism(seed=seed)
        self.batch = self.config.get_parsed_content("batch_size")
        self.network = self.config.get_parsed_content("network").train()
        self.loss = self.config.get_parsed_content("loss")
        self.optimizer = self.config.get_parsed_content("optimizer")
        kept = slices_of(self.config, slices)
        sampler = self.config.get_parsed_content("train#sampler") if slices is None else None
        transforms = augmentation(self.config, kept[0]["image"].shape[1:]).set_random_state(seed)
        workers = variant.options.get("workers", 0)
        self.loader = DataLoader(
            CacheDataset(kept, transforms, progress=False),
            batch_size=self.batch,
            sampler=sampler,
            shuffle=sampler is None,
            drop_last=len(kept if sampler is None else sampler) >= self.batch,
            num_workers=workers,
            worker_init_fn=worker_init_fn,  # else all workers would draw the same random numbers
            persistent_workers=workers > 0,
        )
        self._batches = endless(self.loader)

    def step(self, batch: dict[str, torch.Tensor], max_norm: float | None = None) -> None:
        """Take one step of the optimizer, with gradients clipped to ``max_norm`` where it is given."""
        image, label = (batch[key].to(self.device).float() for key in KEYS)
        self.optimizer.zero_grad()
        loss = self.loss(self.network(image), label)  # of PSPNet a list, which its loss takes
        loss.backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), max_norm)
        self.optimizer.step()

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        return time_steps(lambda: self.step(next(self._batches)), steps, self.device)


def endless(loader: DataLoader) -> Iterator[Any]:
    """Give a loader's batches epoch after epoch."""
    for _ in itertools.count():
        yield from loader


def slices_of(config: ConfigParser, count: int | None = SLICES) -> list[dict[str, np.ndarray]]:
    """Take normalised slices of the training patients, as a cache holds them: ``[3, X, Y]``, masks ``[1, X, Y]``.

    ``count`` of them are drawn as for an epoch; None gives every slice, in the order of the bundle's dataset.
    """
    dataset = config.get_parsed_content("train#dataset")
    chosen: Sequence[int] = range(len(dataset))
    if count is not None:
        sampler = config.get_parsed_content("train#sampler")
        chosen = (list(sampler) * math.ceil(count / len(sampler)))[:count]
    items = (dataset[number] for number in chosen)
    return [{key: item[key].cpu().numpy() for key in KEYS} for item in items]
