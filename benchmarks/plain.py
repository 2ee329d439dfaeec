"""What MONAI's 2D tutorials do: per-sample dictionary transforms, CacheDataset, DataLoader, a plain loop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import monai
import numpy as np
import torch
from monai.data import CacheDataset
from monai.transforms import (
    Compose,
    EnsureTyped,
    Rand2DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandLambdad,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)
from torch.utils.data import DataLoader

from benchmarks.bundle import parser
from benchmarks.variants import Variant, synchronize
from lgg_monai.data.patients import FLAIR

KEYS = ["image", "label"]
# Slices kept for the loader: an epoch's worth of steps repeats them, which changes no time.
SLICES = 512


def augmentation(patch: int) -> Compose:
    """The bundle's kinds of augmentation with its probabilities, by MONAI's own per-sample transforms."""
    modes = ("bilinear", "nearest")
    return Compose(
        [
            EnsureTyped(KEYS),
            RandAffined(
                KEYS,
                prob=1.0,
                rotate_range=math.radians(20),
                scale_range=((-0.15, 0.2), (-0.15, 0.2)),
                translate_range=38,
                spatial_size=(patch, patch),
                mode=modes,
                padding_mode="border",
            ),
            RandFlipd(KEYS, prob=0.5, spatial_axis=0),
            Rand2DElasticd(KEYS, spacing=(32, 32), magnitude_range=(0, 8), prob=0.2, mode=modes, padding_mode="border"),
            RandLambdad("image", func=_only_flair, prob=0.15),
            RandScaleIntensityd("image", factors=0.25, prob=0.5, channel_wise=True),
            RandShiftIntensityd("image", offsets=0.25, prob=0.5, channel_wise=True),
            RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.5)),
            RandBiasFieldd("image", prob=0.15, coeff_range=(0.0, 0.1)),
            RandSimulateLowResolutiond("image", prob=0.1, upsample_mode="bilinear", zoom_range=(0.5, 0.5)),
            RandGaussianNoised("image", prob=0.15, std=0.2),
        ]
    )


def _only_flair(image: Any) -> Any:
    return image[FLAIR : FLAIR + 1].repeat(len(image), 1, 1)


class PlainMonai:
    """A plain PyTorch loop over MONAI's dictionary pipeline, in float32, with the bundle's network and batch.

    Args:
        net: name of the bundle.
        variant: ``workers``, ``batch``, ``patch``, ``threads``.
        settings: overrides of the bundle that all variants share.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any]) -> None:
        config = parser(net, settings)
        self.device = torch.device(config.get_parsed_content("device"))
        monai.utils.set_determinism(seed=0)
        self.batch = variant.options.get("batch", config.get_parsed_content("batch_size"))
        patch = variant.options.get("patch", config.get_parsed_content("patch_size"))
        self.network = config.get_parsed_content("network").train()
        self.loss = config.get_parsed_content("loss")
        self.optimizer = config.get_parsed_content("optimizer")
        workers = variant.options.get("workers", 0)
        self.loader = DataLoader(
            CacheDataset(slices_of(config), augmentation(patch), progress=False),
            batch_size=self.batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        self._batches = self._endless()

    def _endless(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in itertools.count():
            yield from self.loader

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            batch = next(self._batches)
            image, label = batch["image"].to(self.device), batch["label"].to(self.device)
            self.optimizer.zero_grad()
            loss = self.loss(self.network(image), label)
            loss.backward()
            self.optimizer.step()
            synchronize(self.device)
            seconds.append(time.perf_counter() - start)
        return {"step_seconds": sum(seconds) / steps, "first_step_seconds": seconds[0]}


def slices_of(config: Any) -> list[dict[str, np.ndarray]]:
    """Take normalised slices of the training patients, as a cache holds them: ``[3, X, Y]``, masks ``[1, X, Y]``."""
    dataset = config.get_parsed_content("train#dataset")
    sampler = config.get_parsed_content("train#sampler")
    chosen = (list(sampler) * math.ceil(SLICES / len(sampler)))[:SLICES]
    items = [dataset[number] for number in chosen]
    return [{key: item[key].float().cpu().numpy() for key in KEYS} for item in items]
