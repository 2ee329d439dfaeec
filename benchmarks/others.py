"""Other tools that a user might pick, where they are installed; otherwise the reason why they were not compared."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import monai
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.bundle import parser
from benchmarks.plain import slices_of
from benchmarks.variants import NotComparedError, Variant, synchronize

NNUNET = (
    "nnU-Net's 2D trainer plans its own patches, batches and network and offers no single step to time: "
    "run `nnUNetv2_train ... -tr nnUNetTrainerBenchmark_5epochs` on `lgg-monai convert DIR OUT --layout nnunet`"
)


class PictureDataset(Dataset):
    """Slices with albumentations' transforms of the bundle's kinds, or as they are where it is not installed."""

    def __init__(self, slices: list[dict[str, np.ndarray]], patch: int) -> None:
        self.slices = slices
        self.patch = patch
        self.augment = _albumentations(patch)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.slices[index]["image"], self.slices[index]["label"]
        if self.augment is None:
            return _cut(image, self.patch), _cut(label, self.patch)
        changed = self.augment(image=image.transpose(1, 2, 0), mask=label[0])
        return torch.from_numpy(changed["image"].transpose(2, 0, 1).copy()), torch.from_numpy(changed["mask"])[None]


class SegmentationModels:
    """The nearest network of segmentation_models.pytorch in a plain loop, float32.

    Args:
        net: ``unet`` or ``pspnet``; both with a ResNet-18 encoder, as the library has no smaller U-Net.
        variant: ``workers``.
        settings: overrides of the bundle that all variants share.

    Raises:
        NotComparedError: the library is not installed, or cannot be imported.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any]) -> None:
        if importlib.util.find_spec("segmentation_models_pytorch") is None:
            raise NotComparedError("segmentation_models.pytorch is not installed")
        try:
            import segmentation_models_pytorch as smp
        except ImportError as error:  # it needs torchvision
            raise NotComparedError(f"segmentation_models.pytorch cannot be imported: {error}") from error
        config = parser(net, settings)
        self.device = torch.device(config.get_parsed_content("device"))
        monai.utils.set_determinism(seed=0)
        self.batch = config.get_parsed_content("batch_size")
        patch = config.get_parsed_content("patch_size")
        kind = {"unet": smp.Unet, "pspnet": smp.PSPNet}[net]
        self.network = kind("resnet18", encoder_weights=None, in_channels=3, classes=1).to(self.device).train()
        self.loss = smp.losses.DiceLoss("binary")
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3)
        dataset = PictureDataset(slices_of(config), patch)
        self.loader = DataLoader(
            dataset, self.batch, shuffle=True, drop_last=True, num_workers=variant.options.get("workers", 0)
        )
        self._batches = iter(self.loader)

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            try:
                image, label = next(self._batches)
            except StopIteration:
                self._batches = iter(self.loader)
                image, label = next(self._batches)
            self.optimizer.zero_grad()
            loss = self.loss(self.network(image.to(self.device)), label.to(self.device))
            loss.backward()
            self.optimizer.step()
            synchronize(self.device)
            seconds.append(time.perf_counter() - start)
        return {"step_seconds": sum(seconds) / steps, "first_step_seconds": seconds[0]}


def not_compared() -> dict[str, str]:
    """Say what no variant here stands for."""
    return {"nnU-Net": NNUNET}


def _albumentations(patch: int) -> Any:
    if importlib.util.find_spec("albumentations") is None:
        return None
    import albumentations

    return albumentations.Compose(
        [
            albumentations.Affine(scale=(0.85, 1.2), rotate=(-20, 20), p=1.0),
            albumentations.RandomCrop(patch, patch),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.ElasticTransform(alpha=8, sigma=8, p=0.2),
            albumentations.GaussNoise(p=0.15),
        ]
    )


def _cut(picture: np.ndarray, patch: int) -> torch.Tensor:
    x, y = ((size - patch) // 2 if size > patch else 0 for size in picture.shape[1:])
    return torch.from_numpy(picture[:, x : x + patch, y : y + patch].copy())
