"""Intensity steps: identity, known values, and what each of them must keep."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from skimage.filters import gaussian
from torch.nn import functional

from lgg_monai.data.sequences import FLAIR
from lgg_monai.transforms import (
    BatchRandom,
    MainOutputd,
    RandomBiasField,
    RandomBlur,
    RandomContrast,
    RandomGamma,
    RandomLowResolution,
    RandomMissingSequence,
    RandomNoise,
)

STEPS = [
    RandomContrast,
    RandomGamma,
    RandomBiasField,
    RandomNoise,
    RandomBlur,
    RandomLowResolution,
    RandomMissingSequence,
]


def noise(samples: int = 8, size: tuple[int, int] = (32, 24)) -> torch.Tensor:
    return torch.randn(samples, 3, *size, generator=torch.Generator().manual_seed(3))


def label_of(image: torch.Tensor) -> torch.Tensor:
    return (image[:, :1] > 0).float()


def apply(step: object, image: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return step(image, label_of(image), BatchRandom(seed))[0]  # type: ignore[operator]


@pytest.mark.parametrize("step", STEPS)
def test_probability_0_is_identity(step: type) -> None:
    image = noise()
    assert torch.equal(apply(step(probability=0), image), image)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("probability", [-0.1, 1.5, 50, "0.5", None, True])
def test_a_probability_that_is_none_is_refused(step: type, probability: Any) -> None:
    with pytest.raises(
        ValueError, match=f"probability of {step.__name__} is {probability!r}: use a number from 0 to 1"
    ):
        step(probability=probability)


@pytest.mark.parametrize(
    ("step", "name", "limits", "message"),
    [
        (RandomGamma, "gamma", (0, 1), r"gamma is \(0, 1\): use \(smallest, largest\), both above 0"),
        (RandomGamma, "gamma", 1.5, r"gamma is 1.5: use two numbers"),
        (RandomGamma, "gamma", "12", r"gamma is '12': use two numbers"),
        (RandomBlur, "deviation", [2, 0.5], r"deviation of RandomBlur is \(2, 0.5\): use \(smallest, largest\)"),
        (RandomBlur, "deviation", [1, 2, 3], r"deviation of RandomBlur is \[1, 2, 3\]: use two numbers"),
    ],
)
def test_a_range_that_is_none_is_refused(step: type, name: str, limits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step(**{name: limits})


@pytest.mark.parametrize("step", STEPS)
def test_untouched_samples_stay_bit_identical_and_the_share_is_the_probability(step: type) -> None:
    image = noise(200, (16, 16))
    changed = (apply(step(probability=0.3), image) != image).flatten(1).any(dim=1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.1)
    # The first draw of a step says which samples it changes.
    assert torch.nonzero(changed).flatten().tolist() == BatchRandom(0).chosen(200, 0.3).tolist()


@pytest.mark.parametrize("step", STEPS)
def test_label_shape_and_type_are_kept(step: type) -> None:
    image = noise()
    label = label_of(image)
    changed, same = step(probability=1)(image, label, BatchRandom(0))
    assert same is label
    assert changed.shape == image.shape
    assert changed.dtype == torch.float32
    assert torch.isfinite(changed).all()


@pytest.mark.parametrize("step", STEPS)
def test_a_uniform_slice_stays_finite_and_uniform_but_for_noise(step: type) -> None:
    changed = apply(step(probability=1), torch.full((4, 3, 16, 16), -0.5))
    assert torch.isfinite(changed).all()
    if step is not RandomNoise:
        spread = changed.amax((2, 3)) - changed.amin((2, 3))
        assert spread.max() < 1e-5


def test_contrast_is_one_line_for_each_sequence_of_each_sample() -> None:
    image = noise(64)
    changed = apply(RandomContrast(probability=1, contrast=0.25, brightness=0.4), image)
    x, y = image.flatten(2), changed.flatten(2)
    factor = (y[..., 1] - y[..., 0]) / (x[..., 1] - x[..., 0])
    shift = y[..., 0] - x[..., 0] * factor
    close = (x[..., 1] - x[..., 0]).abs() > 0.1  # where two pixels tell the slope well
    torch.testing.assert_close(y[close], x[close] * factor[close][:, None] + shift[close][:, None], atol=1e-3, rtol=0)
    assert 0.2 < (factor[close] - 1).abs().max() <= 0.2501
    assert 0.3 < shift[close].abs().max() <= 0.4001
    assert factor[close].unique().numel() == int(close.sum())


def test_contrast_without_width_only_shifts() -> None:
    image = noise()
    changed = apply(RandomContrast(probability=1, contrast=0, brightness=1), image)
    way = (changed - image).flatten(2)
    torch.testing.assert_close(way, way.mean(dim=2, keepdim=True).expand_as(way), atol=1e-5, rtol=0)


def test_gamma_1_is_identity() -> None:
    image = noise()
    torch.testing.assert_close(apply(RandomGamma(1, gamma=(1, 1)), image), image, atol=1e-5, rtol=0)


def test_gamma_2_squares_between_the_extremes() -> None:
    image = torch.linspace(-1, 3, 256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    changed = apply(RandomGamma(1, gamma=(2, 2)), image)
    torch.testing.assert_close(changed, ((image + 1) / 4) ** 2 * 4 - 1)


def test_gamma_keeps_extremes_and_order() -> None:
    image = noise(16)
    changed = apply(RandomGamma(1), image)
    torch.testing.assert_close(changed.amin((2, 3)), image.amin((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.amax((2, 3)), image.amax((2, 3)), atol=1e-5, rtol=0)
    in_order = torch.gather(changed.flatten(2), 2, image.flatten(2).argsort(dim=2))
    assert (in_order.diff(dim=2) >= -1e-6).all()
    assert (changed - image).abs().amax((2, 3)).min() > 1e-4  # every sequence is bent


def test_bias_field_keeps_air_and_scales_all_sequences_alike() -> None:
    image = noise(16, (48, 40))
    changed = apply(RandomBiasField(1, strength=0.3), image)
    floor = image.amin((2, 3), keepdim=True)
    air = image == floor
    assert torch.equal(changed[air], image[air])
    field = (changed - floor) / (image - floor)
    tissue = (image - floor > 0.5).all(dim=1)  # where the quotient is exact enough in every sequence
    assert (field[:, 0][tissue] > 0).all()
    torch.testing.assert_close(field[:, 0][tissue], field[:, 1][tissue], atol=1e-4, rtol=0)
    torch.testing.assert_close(field[:, 0][tissue], field[:, 2][tissue], atol=1e-4, rtol=0)
    # Bicubic interpolation overshoots its nodes by at most 1.375 along each axis.
    assert 0.15 < field[:, 0][tissue].log().abs().max() <= 0.3 * 1.375**2


def test_bias_field_is_smooth() -> None:
    image = torch.ones(4, 3, 64, 64)
    image[..., 0, 0] = 0
    field = apply(RandomBiasField(1, strength=0.3), image)
    assert field[..., 1:, 1:].diff(dim=2).abs().max() < 0.06
    assert field[..., 1:, 1:].diff(dim=3).abs().max() < 0.06
    assert field.std(dim=(2, 3)).min() > 0.02


def test_noise_has_the_drawn_deviation_and_no_mean() -> None:
    image = noise(64, (48, 48))
    random = BatchRandom(0)
    random.chosen(64, 1)
    drawn = random.uniform((64, 1, 1, 1), 0, 0.2).flatten()
    added = apply(RandomNoise(1, deviation=0.2), image) - image
    pixels = 3 * 48 * 48
    torch.testing.assert_close(added.std(dim=(1, 2, 3)), drawn, atol=1e-5, rtol=5 / math.sqrt(2 * pixels))
    assert (added.mean(dim=(1, 2, 3)).abs() < 5 * drawn / math.sqrt(pixels) + 1e-6).all()
    assert drawn.max() > 0.19
    first, second = (sample / sample.std() for sample in added[:2])
    assert float((first * second).mean()) == pytest.approx(0, abs=5 / math.sqrt(pixels))  # not the same noise twice


@pytest.mark.parametrize("size", [(32, 32), (33, 31)])
def test_low_resolution_lowers_the_variance_of_noise(size: tuple[int, int]) -> None:
    image = noise(8, size)
    blurred = apply(RandomLowResolution(1), image)
    assert (blurred.var(dim=(2, 3)) < 0.5 * image.var(dim=(2, 3))).all()
    # A ramp has nothing to lose but its rim, and shows that nothing moves.
    ramp = torch.arange(float(size[0]))[:, None].expand(size)[None, None].expand(1, 3, *size)
    inner = (apply(RandomLowResolution(1), ramp) - ramp)[..., 2:-2, 2:-2]
    assert inner.abs().max() < 1e-4


def test_low_resolution_gives_what_a_coarser_matrix_would() -> None:
    image = noise(2)
    expected = functional.interpolate(functional.avg_pool2d(image, 2), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(apply(RandomLowResolution(1), image), expected)


def test_missing_sequences_become_exact_copies_of_flair_which_never_changes() -> None:
    image = noise(300, (4, 4))
    changed = apply(RandomMissingSequence(1), image)
    assert torch.equal(changed[:, FLAIR], image[:, FLAIR])
    copied = {channel: (changed[:, channel] == image[:, FLAIR]).flatten(1).all(dim=1) for channel in (0, 2)}
    for channel, lost in copied.items():
        kept = (changed[:, channel] == image[:, channel]).flatten(1).all(dim=1)
        assert (lost ^ kept).all()
    assert (copied[0] | copied[2]).all()
    share = [(copied[0] & ~copied[2]), (copied[2] & ~copied[0]), (copied[0] & copied[2])]
    assert [float(part.float().mean()) for part in share] == pytest.approx([1 / 3] * 3, abs=0.09)


def test_channels_beyond_the_sequences_are_never_lost() -> None:
    image = torch.cat([noise(64), noise(64)[:, :2] + 1], dim=1)
    changed = apply(RandomMissingSequence(1), image)
    assert torch.equal(changed[:, 3:], image[:, 3:])
    assert not torch.equal(changed[:, :3], image[:, :3])


def test_nothing_is_lost_where_a_preprocessing_keeps_one_sequence() -> None:
    image = noise(64)[:, :1]
    assert torch.equal(apply(RandomMissingSequence(1), image), image)


def test_main_output_is_the_first_of_several() -> None:
    main, auxiliary = torch.zeros(1), torch.ones(1)
    data = {"pred": [main, auxiliary], "label": main}
    result = MainOutputd("pred")(data)
    assert result["pred"] is main
    assert result["label"] is main
    assert data["pred"] == [main, auxiliary]  # the engine's own output is left as it was
    assert MainOutputd("pred")({"pred": (main, auxiliary)})["pred"] is main


def test_main_output_lets_a_tensor_pass() -> None:
    output = torch.zeros(2, 1, 4, 4)
    assert MainOutputd("pred")({"pred": output})["pred"] is output


def test_main_output_misses_an_absent_key() -> None:
    with pytest.raises(KeyError, match="pred"):
        MainOutputd("pred")({"label": 0})
    assert MainOutputd("pred", allow_missing_keys=True)({"label": 0}) == {"label": 0}


def test_blur_keeps_constants_and_does_as_skimage() -> None:
    flat = torch.full((4, 3, 40, 40), 2.5)
    assert torch.allclose(apply(RandomBlur(probability=1), flat), flat, atol=1e-5)
    image = noise(1, (48, 40))
    # The draw of the deviation is known, so the picture can be compared with another implementation's.
    random = BatchRandom(5)
    random.chosen(1, 1)
    sigma = float(random.uniform((1, 1), 0.5, 2.0))
    expected = gaussian(image[0].numpy(), sigma=sigma, mode="nearest", truncate=6 / sigma, channel_axis=0)
    assert torch.allclose(apply(RandomBlur(1.0, (0.5, 2.0)), image, seed=5)[0], torch.from_numpy(expected), atol=1e-4)
