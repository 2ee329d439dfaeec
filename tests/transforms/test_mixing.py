"""CarveMix: what is put where, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from lgg_monai.data.sequences import FLAIR
from lgg_monai.transforms import BatchRandom, RandomCarveMix

SIZE = 48
ROOT = Path(__file__).parents[2]


def batch(tumours: list[int], samples: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads of noise that fill the slice; those named have a square tumour of 8 pixels, each in its own corner."""
    image = torch.rand(samples, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) + 1
    image[:, :, 0, 0] = -1  # air
    label = torch.zeros(samples, 1, SIZE, SIZE)
    for number in tumours:
        start = 8 + 4 * number
        label[number, :, start : start + 8, start : start + 8] = 1
    return image, label


@pytest.mark.parametrize("tumours", [[], [0, 2, 3]])
def test_probability_0_is_identity(tumours: list[int]) -> None:
    image, label = batch(tumours)
    mixed = RandomCarveMix(probability=0)(image, label, BatchRandom(0))
    assert torch.equal(mixed[0], image)
    assert torch.equal(mixed[1], label)


def test_without_a_tumour_in_the_batch_nothing_changes() -> None:
    image, label = batch([])
    mixed = RandomCarveMix(probability=1)(image, label, BatchRandom(0))
    assert torch.equal(mixed[0], image)
    assert torch.equal(mixed[1], label)


@pytest.mark.parametrize("margin", [0, 5])
def test_the_donor_is_copied_within_its_margin_and_nothing_else_changes(margin: int) -> None:
    image, label = batch([4])
    before = image.clone(), label.clone()
    mixed_image, mixed_label = RandomCarveMix(probability=1, margin=margin)(image, label, BatchRandom(1))
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])
    for sample in range(len(image)):
        changed = (mixed_image[sample] != image[sample]).any(0)
        assert torch.equal(mixed_image[sample][:, changed], image[4][:, changed])
        assert torch.equal(mixed_label[sample], label[4])
        rows = torch.nonzero(changed.any(1)).flatten()
        if sample != 4:
            assert 8 <= len(rows) <= 8 + 2 * margin
            assert changed.sum() == len(rows) ** 2  # the tumour and its margin on every side


def test_a_tumour_that_was_there_stays_beside_the_new_one() -> None:
    image, label = batch([0, 5])
    _, mixed = RandomCarveMix(probability=1, margin=0)(image, label, BatchRandom(3))
    for number in (0, 5):
        assert torch.equal(mixed[number] * label[number], label[number])
    assert {int(mixed[number].sum()) for number in (0, 5)} <= {64, 128}


def test_every_tumour_of_the_batch_is_given_sooner_or_later() -> None:
    image, label = batch([1, 3, 5])
    given = set()
    for seed in range(20):
        _, mixed = RandomCarveMix(probability=1, margin=0)(image, label, BatchRandom(seed))
        given |= {number for number in (1, 3, 5) if torch.equal(mixed[0], label[number])}
    assert given == {1, 3, 5}


def test_nothing_is_put_into_air() -> None:
    image, label = batch([4])
    image[0, :, :, :26] = -1  # a quarter of the tumour would lie here
    mixed_image, mixed_label = RandomCarveMix(probability=1, margin=0)(image, label, BatchRandom(0))
    assert torch.equal(mixed_image[0], image[0])
    assert not mixed_label[0].any()
    assert mixed_label[1].any()


def test_a_donor_that_lacks_a_sequence_gives_nothing() -> None:
    image, label = batch([4])
    image[4, 2] = image[4, FLAIR]
    mixed_image, mixed_label = RandomCarveMix(probability=1)(image, label, BatchRandom(0))
    assert torch.equal(mixed_image, image)
    assert torch.equal(mixed_label, label)


def test_the_same_seed_gives_the_same_mixture() -> None:
    image, label = batch([1, 3, 5])
    first, again, other = (RandomCarveMix()(image, label, BatchRandom(seed))[0] for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("recipe", "added"), [("carvemix", "RandomCarveMix"), ("turns", "RandomTurn")])
def test_a_recipe_adds_one_step_to_the_shared_ones(recipe: str, added: str) -> None:
    shared, mixed = ConfigParser(), ConfigParser()
    shared.read_config(ROOT / "configs/train.yaml")
    mixed.read_config(ROOT / f"docs/results/ablations/{recipe}.yaml")
    steps = [str(step) for step in mixed["augmentation#transforms"]]
    assert [step for step in steps if added not in step] == [
        f"%configs/train.yaml::augmentation#transforms#{number}"
        for number in range(len(shared["augmentation#transforms"]))
    ]
    assert len(steps) == len(shared["augmentation#transforms"]) + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probability": 2}, "probability of RandomCarveMix is 2: use a number from 0 to 1"),
        ({"margin": -1}, "margin is -1: use a whole number of pixels from 0 up"),
        ({"margin": 2.5}, "margin is 2.5: use a whole number"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomCarveMix(**settings)
