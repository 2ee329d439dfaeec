"""Scalp and skull taken from slices of a batch."""

from __future__ import annotations

import pytest
import torch

from lgg_monai.transforms import BatchRandom, RandomSkullStrip
from lgg_monai.transforms.skull import rim_and_air

SIDE, RADIUS, CENTRE = 160, 50, 79.5
AIR = -2.0


def distance() -> torch.Tensor:
    """Distance of each pixel from the middle of the slice, ``[X, Y]``."""
    place = torch.arange(SIDE) - CENTRE
    return torch.hypot(place[:, None], place[None, :])


def heads(count: int = 1) -> torch.Tensor:
    """Discs of brain in a dark skull and a bright scalp, in air of the lowest value, ``[count, 3, X, Y]``."""
    from_middle = distance()
    brain = 0.3 * torch.randn((count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    head = torch.where(from_middle < RADIUS - 6, brain, torch.where(from_middle < RADIUS - 3, -1.9, 2.0))
    return torch.where(from_middle < RADIUS, head, AIR)


def test_the_outline_moves_inwards_by_the_rim() -> None:
    outside = rim_and_air(heads()[:, 1:2], 10)[0, 0]
    assert not outside[distance() < RADIUS - 10 * 2**0.5 - 2].any()  # the rim is measured along X and Y
    assert outside[distance() > RADIUS - 10 + 2].all()
    assert 2 * (RADIUS - 10) - 4 <= int((~outside[:, SIDE // 2]).sum()) <= 2 * (RADIUS - 10) + 2


def test_cavities_within_the_head_stay() -> None:
    flair = heads()[:, 1:2]
    flair[..., 70:90, 70:85] = AIR
    assert not rim_and_air(flair, 10)[..., 60:100, 60:95].any()


def test_a_head_that_reaches_the_border_ends_there() -> None:
    outside = rim_and_air(heads()[:, 1:2, : SIDE // 2], 10)[0, 0]
    assert outside[-10:].all()
    assert not outside[-12, SIDE // 2]


def test_slices_of_odd_size_keep_it() -> None:
    assert rim_and_air(heads()[:, 1:2, :-1, :-3], 7).shape == (1, 1, SIDE - 1, SIDE - 3)


def test_what_lies_outside_is_air_and_no_tumour_and_the_rest_is_stretched() -> None:
    image, label = heads(4), torch.ones(4, 1, SIDE, SIDE)
    strip = RandomSkullStrip(1.0, rim=(10, 10), stretch=(1.5, 1.5), shift=0.0)
    changed, left = strip(image, label, BatchRandom(0))
    outside = rim_and_air(image[:, 1:2], 10).expand_as(image)
    assert torch.equal(left[:, 0] == 0, outside[:, 0])
    assert torch.allclose(changed[~outside], 1.5 * image[~outside])
    assert torch.allclose(changed[outside], torch.tensor(1.5 * AIR))
    assert torch.equal(image, heads(4))
    assert label.all()


def test_sequences_are_stretched_and_shifted_apart() -> None:
    image = heads(2)
    changed, _ = RandomSkullStrip(1.0)(image, torch.zeros(2, 1, SIDE, SIDE), BatchRandom(0))
    inside = slice(70, 90)
    factors = [
        float(changed[sample, channel, inside, inside].std() / image[sample, channel, inside, inside].std())
        for sample in range(2)
        for channel in range(3)
    ]
    assert len({round(factor, 4) for factor in factors}) == 6
    assert all(0.9 <= factor <= 1.9 for factor in factors)


def test_the_share_of_slices_that_change_is_the_probability() -> None:
    image, label, random = heads(40), torch.zeros(40, 1, SIDE, SIDE), BatchRandom(1)
    changed = RandomSkullStrip(0.25)(image, label, random)[0]
    share = (changed != image).flatten(1).any(1).float().mean()
    assert 0.1 < share < 0.4
    assert RandomSkullStrip(0.0)(image, label, random)[0] is image


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probability": 20}, "probability of RandomSkullStrip is 20: use a number from 0 to 1"),
        ({"rim": (18, 6)}, r"rim is \(18, 6\): use \(smallest, largest\)"),
        ({"stretch": (0, 1)}, r"stretch is \(0, 1\)"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomSkullStrip(**settings)
