"""Several predictions made one: means of probabilities, of mirror images too, on known functions."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from lgg_monai.engines import FlipInferer, SlicewiseInferer
from lgg_monai.engines.tta import SMALLEST_PROBABILITY, mean_logit, mean_probability


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class Ramp(nn.Module):
    """Adds the column's number, so that left and right are told apart."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] + torch.arange(x.shape[2], dtype=x.dtype)[None, None, :, None]


def test_the_mean_is_of_probabilities_and_not_of_logits() -> None:
    mean = mean_logit([torch.tensor([0.0, 20.0]), torch.tensor([0.0, -1.0])])
    assert torch.sigmoid(mean).tolist() == pytest.approx([0.5, (1 + torch.sigmoid(torch.tensor(-1.0)).item()) / 2])
    assert mean[1] < 2  # where the mean logit would be 9.5: certain


def test_the_mean_crosses_a_half_where_a_logit_crosses_0() -> None:
    # In single precision the probability of each of these is 0.5.
    logits = torch.tensor([-1e-8, -1e-12, 0.0, 1e-12, 1e-8])
    assert (torch.sigmoid(logits) == 0.5).all()
    signs = [-1, -1, 0, 1, 1]
    for members in ([logits], [logits, logits], [logits, logits.flip(0) * -1]):
        mean = mean_probability(members)
        assert mean.dtype == torch.float64
        assert torch.sign(mean - 0.5).tolist() == signs
        assert torch.sign(mean_logit(members)).tolist() == signs


def test_the_logit_is_that_of_the_mean_probability_up_to_near_certainty() -> None:
    members = [noise(4, 1, 8, 8) * 5, noise(4, 1, 8, 8).flip(0) * 5]
    mean, logit = mean_probability(members), mean_logit(members)
    assert logit.dtype == torch.float32
    torch.testing.assert_close(logit.double().sigmoid(), mean, rtol=0, atol=2 * SMALLEST_PROBABILITY)


def test_the_mean_of_certain_logits_is_finite() -> None:
    assert torch.isfinite(mean_logit([torch.tensor([200.0, -200.0])] * 2)).all()


def test_flipping_averages_the_image_and_its_mirror_image() -> None:
    volume = noise(1, 3, 8, 6, 4)
    inferer = SlicewiseInferer(divisor=1)
    ramp = torch.arange(8.0)[None, None, :, None, None]
    expected = mean_logit([volume[:, :1] + ramp, volume[:, :1] + ramp.flip(2)])
    torch.testing.assert_close(FlipInferer(inferer)(volume, Ramp()), expected)


def test_flipping_commutes_with_mirroring_the_input() -> None:
    volume, inferer = noise(1, 3, 8, 6, 4), FlipInferer(SlicewiseInferer(divisor=1))
    torch.testing.assert_close(inferer(volume.flip(2), Ramp()), inferer(volume, Ramp()).flip(2))


def test_switched_off_it_is_the_other_inferer() -> None:
    image = noise(2, 3, 8, 6)
    torch.testing.assert_close(FlipInferer(SimpleInferer(), enabled=False)(image, Ramp()), Ramp()(image))
