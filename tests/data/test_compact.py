"""Compact volumes hold exactly the values that they were made of, in half the memory where one byte is enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, ScaleIntensityRangePercentilesd

from lgg_monai.data.compact import CODES, CompactVolume, decode, encode


def normalised(levels: int, dtype: torch.dtype = torch.float16, seed: int = 0) -> torch.Tensor:
    """A volume ``[3, X, Y, Z]`` of some grey values as the bundles' preprocessing leaves it."""
    grey = np.random.default_rng(seed).integers(0, levels, (3, 24, 20, 6)).astype(np.float32)
    grey[1] = grey[1] ** 2 / levels  # every sequence has values of its own
    preprocessing = Compose(
        [
            ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True, channel_wise=True),
            NormalizeIntensityd("image", channel_wise=True),
            EnsureTyped("image", dtype=dtype, track_meta=False),
        ]
    )
    return preprocessing({"image": grey})["image"]


def label(slices: int = 6) -> torch.Tensor:
    mask = torch.zeros(1, 24, 20, slices, dtype=torch.uint8)
    mask[0, 3:5, 7, 2] = 1
    return mask


def slices_first(image: torch.Tensor) -> torch.Tensor:
    return image.movedim(-1, 0)


def assert_exact(volume: CompactVolume, image: torch.Tensor) -> None:
    torch.testing.assert_close(volume.values(), slices_first(image), rtol=0, atol=0, equal_nan=True)
    for z in range(image.shape[-1]):
        torch.testing.assert_close(volume.values(z), image[..., z], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_eight_bit_sources_take_a_byte_a_voxel_and_lose_nothing(dtype: torch.dtype) -> None:
    image = normalised(256, dtype)
    volume = encode(image, label())
    assert volume.is_coded
    assert volume.image.dtype == torch.uint8
    assert volume.image.nbytes * 2 == image.nbytes
    assert volume.values().dtype == dtype
    assert_exact(volume, image)


def test_normalising_in_float32_and_rounding_is_what_comes_back() -> None:
    exact = normalised(256, torch.float32)
    volume = encode(exact.half(), label())
    error = (volume.values().float() - slices_first(exact)).abs()
    # Nothing but the rounding to float16 (11 significant bits) lies between them.
    assert (error <= slices_first(exact).abs() * 2**-11).all()


@pytest.mark.parametrize(
    "image",
    [normalised(2000), normalised(256, torch.float32), torch.stack([normalised(9)[0], normalised(900)[0]])],
    ids=["more values", "wider type", "one channel with more"],
)
def test_other_sources_are_held_as_they_are(image: torch.Tensor) -> None:
    volume = encode(image, label())
    assert not volume.is_coded
    assert volume.image.dtype == image.dtype
    assert_exact(volume, image)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257])
def test_values_are_counted_to_the_last(count: int) -> None:
    values = torch.linspace(-3, 5, 400).half().unique()[:count]
    image = values.repeat(3, 1, 1, 1).movedim(1, -1).movedim(-1, 2)  # [3, 1, count, 1]
    volume = encode(image, torch.zeros_like(image[:1], dtype=torch.uint8))
    assert volume.is_coded == (count <= CODES)
    assert_exact(volume, image)


def test_values_that_compare_oddly_come_back() -> None:
    odd = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 6e-8, 65504.0]).half()
    image = odd.repeat(3, 2, 1, 1).movedim(2, 3)[..., :]
    volume = encode(image, torch.zeros_like(image[:1], dtype=torch.uint8))
    back = volume.values().contiguous().view(torch.int16)
    torch.testing.assert_close(back, slices_first(image).contiguous().view(torch.int16), rtol=0, atol=0)


@pytest.mark.parametrize("levels", [256, 2000])
def test_background_is_each_channels_smallest_value(levels: int) -> None:
    image = normalised(levels)
    volume = encode(image, label())
    background = volume.background
    if volume.is_coded:
        offsets = torch.arange(3) * CODES
        background = decode(background, volume.tables, offsets)
    torch.testing.assert_close(background.flatten(), image.amin(dim=(1, 2, 3)), rtol=0, atol=0)


def test_masks_and_their_slices_are_kept() -> None:
    volume = encode(normalised(256), label())
    torch.testing.assert_close(volume.label, slices_first(label()), rtol=0, atol=0)
    assert volume.has_tumour.dtype == torch.bool
    assert volume.has_tumour.tolist() == [False, False, True, False, False, False]
    assert volume.image.is_contiguous()
    assert volume.label.is_contiguous()
