"""The augmentation of a batch: its random numbers, and what its steps must never do."""

from __future__ import annotations

import pytest
import torch

from lgg_monai.transforms import (
    BatchAugmentation,
    BatchRandom,
    RandomAffinePatch,
    RandomBiasField,
    RandomContrast,
    RandomGamma,
    RandomLowResolution,
    RandomMissingSequence,
    RandomNoise,
)

INTENSITY = (RandomMissingSequence, RandomContrast, RandomGamma, RandomBiasField, RandomLowResolution, RandomNoise)


def batch(samples: int = 6, size: tuple[int, int] = (40, 40)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(samples, 3, *size, generator=generator)
    return image, (torch.rand(samples, 1, *size, generator=generator) > 0.5).float()


def everything(seed: int = 0) -> BatchAugmentation:
    return BatchAugmentation([RandomAffinePatch(32), *(step(probability=0.5) for step in INTENSITY)], seed=seed)


def test_without_steps_a_batch_passes_unchanged() -> None:
    image, label = batch()
    result = BatchAugmentation([])(image, label)
    assert result[0] is image
    assert result[1] is label


def test_steps_run_in_order() -> None:
    def add(image: torch.Tensor, label: torch.Tensor, random: BatchRandom) -> tuple[torch.Tensor, torch.Tensor]:
        return image + 1, label

    def double(image: torch.Tensor, label: torch.Tensor, random: BatchRandom) -> tuple[torch.Tensor, torch.Tensor]:
        return image * 2, label

    ones = torch.ones(1, 3, 4, 4)
    assert BatchAugmentation([add, double])(ones, ones)[0].unique().tolist() == [4.0]
    assert BatchAugmentation([double, add])(ones, ones)[0].unique().tolist() == [3.0]


def test_same_seed_and_epoch_give_the_same_batches() -> None:
    one, other = everything(), everything()
    one.set_epoch(3)
    one(*batch())  # what ran before in an epoch must not matter once the epoch is set again
    one.set_epoch(7)
    other.set_epoch(7)
    for _ in range(2):
        for mine, its in zip(one(*batch()), other(*batch()), strict=True):
            assert torch.equal(mine, its)


def test_batches_epochs_and_seeds_all_differ() -> None:
    first = everything()
    results = [first(*batch())[0], first(*batch())[0]]
    first.set_epoch(1)
    results.append(first(*batch())[0])
    results.append(everything(seed=1)(*batch())[0])
    for i, one in enumerate(results):
        assert not any(torch.equal(one, other) for other in results[i + 1 :])


def test_samples_of_a_batch_get_parameters_of_their_own() -> None:
    image, label = (part[:1].expand(6, -1, -1, -1) for part in batch())
    changed = everything()(image, label)[0]
    assert len({tuple(sample.flatten().tolist()) for sample in changed}) == 6


@pytest.mark.parametrize("step", [RandomAffinePatch, *INTENSITY])
def test_a_step_leaves_what_it_was_given_alone(step: type) -> None:
    image, label = batch()
    before = image.clone(), label.clone()
    transform = step(patch_size=32) if step is RandomAffinePatch else step(probability=1)
    changed, _ = transform(image, label, BatchRandom(0))
    assert not torch.equal(changed, image)
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_noise_on_a_device_does_not_shift_the_parameters() -> None:
    one, other = BatchRandom(3), BatchRandom(3)
    one.normal((4, 5), torch.device("cpu"))
    assert torch.equal(one.uniform((4,), -1, 1), other.uniform((4,), -1, 1))
    assert torch.equal(one.chosen(50, 0.5), other.chosen(50, 0.5))


@pytest.mark.parametrize("step", [RandomAffinePatch(32), *(step(probability=0.5) for step in INTENSITY[:-1])])
def test_parameters_are_drawn_alike_on_every_device(step: object) -> None:
    # The meta device computes nothing, so whatever the parameters depend on is not the batch's device.
    random = {device: BatchRandom(4) for device in ("cpu", "meta")}
    sizes = set()
    for device, numbers in random.items():
        image, label = (part.to(device) for part in batch())
        changed, _ = step(image, label, numbers)  # type: ignore[operator]
        assert changed.device.type == device
        sizes.add(changed.shape)
    assert len(sizes) == 1
    assert torch.equal(*(numbers.uniform((8,), 0, 1) for numbers in random.values()))


def test_random_numbers_keep_their_range_and_share() -> None:
    random = BatchRandom(0)
    numbers = random.uniform((10_000,), -2, 3)
    assert numbers.min() >= -2
    assert numbers.max() < 3
    assert numbers.mean() == pytest.approx(0.5, abs=0.05)
    assert len(random.chosen(10_000, 0.3)) == pytest.approx(3000, abs=150)
    assert random.chosen(10, 0).tolist() == []
    assert random.chosen(10, 1).tolist() == list(range(10))
