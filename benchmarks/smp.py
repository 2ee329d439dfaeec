"""segmentation_models.pytorch in a plain loop, where it is installed; otherwise the reason why it is not compared."""

from __future__ import annotations

import importlib.util
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle import ConfigParser
from torch.utils.data import DataLoader, Dataset

from benchmarks.bundle import parser
from benchmarks.plain import KEYS, endless, slices_of
from benchmarks.variants import NotComparedError, Variant, time_steps
from lgg_monai.transforms import RandomAffinePatch, RandomBlur, RandomContrast, RandomLowResolution, RandomNoise


class PictureDataset(Dataset):
    """Slices with albumentations' transforms of the bundle's kinds, or as they are where it is not installed."""

    def __init__(self, slices: list[dict[str, np.ndarray]], config: ConfigParser) -> None:
        self.slices = [item | {"image": _unit(item["image"])} for item in slices]
        self.patch = config.get_parsed_content("patch_size")
        self.augment = _albumentations(config)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = (self.slices[index][key].astype(np.float32) for key in KEYS)
        if self.augment is None:
            return _cut(image, self.patch), _cut(label, self.patch)
        changed = self.augment(image=image.transpose(1, 2, 0), mask=label[0])
        return torch.from_numpy(changed["image"].transpose(2, 0, 1).copy()), torch.from_numpy(changed["mask"])[None]


class SegmentationModels:
    """The nearest network of segmentation_models.pytorch in a plain loop, float32.

    Args:
        net: ``unet``, ``plain_unet`` or ``pspnet``; each with a ResNet-18 encoder. Its PSPNet ends the encoder
            where the resolution is an eighth, and dilates nothing.
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
        kind = smp.PSPNet if net == "pspnet" else smp.Unet
        # timm's ResNet ("tu-"), which needs no code of torchvision's.
        self.network = kind("tu-resnet18", encoder_weights=None, in_channels=3, classes=1).to(self.device).train()
        self.loss = smp.losses.DiceLoss("binary")
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3)
        dataset = PictureDataset(slices_of(config), config)
        self.loader = DataLoader(
            dataset, self.batch, shuffle=True, drop_last=True, num_workers=variant.options.get("workers", 0)
        )
        self._batches = endless(self.loader)

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        return time_steps(self._step, steps, self.device)

    def _step(self) -> None:
        image, label = next(self._batches)
        self.optimizer.zero_grad()
        loss = self.loss(self.network(image.to(self.device)), label.to(self.device))
        loss.backward()
        self.optimizer.step()


def _albumentations(config: ConfigParser) -> Any:
    if importlib.util.find_spec("albumentations") is None:
        return None
    import albumentations as their

    # By kind. Left out: gamma, fields of a coil and missing sequences, which albumentations lacks or has otherwise.
    steps = {type(step): step for step in config.get_parsed_content("augmentation").transforms}
    affine, contrast, blur = (steps[kind] for kind in (RandomAffinePatch, RandomContrast, RandomBlur))
    low, noise = steps[RandomLowResolution], steps[RandomNoise]
    bend = {"alpha": 30 * affine.elastic, "sigma": 16}  # moves pixels by some of those of the bundle's grid
    return their.Compose(
        [
            their.Affine(scale=affine.scale, keep_ratio=True, rotate=(-affine.degrees, affine.degrees), p=1.0),
            their.RandomCrop(affine.patch_size, affine.patch_size, pad_if_needed=True),
            their.VerticalFlip(p=affine.flip),  # of the first axis, which is left-right here
            their.ElasticTransform(**bend, p=affine.elastic_probability),
            their.RandomBrightnessContrast(contrast.brightness, contrast.contrast, p=contrast.probability),
            their.GaussianBlur(blur_limit=0, sigma_limit=blur.deviation, p=blur.probability),
            their.Downscale(scale_range=(0.5, 0.5), p=low.probability),
            their.GaussNoise(std_range=(0, noise.deviation), p=noise.probability),
        ]
    )


def _unit(image: np.ndarray) -> np.ndarray:
    # From 0 to 1, beyond which albumentations cuts.
    return (image - image.min()) / max(image.max() - image.min(), 1e-3)


def _cut(picture: np.ndarray, patch: int) -> torch.Tensor:
    x, y = ((size - patch) // 2 if size > patch else 0 for size in picture.shape[1:])
    return torch.from_numpy(picture[:, x : x + patch, y : y + patch].copy())
