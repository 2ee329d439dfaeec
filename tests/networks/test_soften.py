"""Logits divided inside of a network, whatever its weights."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from lgg_monai.errors import LggError
from lgg_monai.networks import EfficientUNet, PSPNet
from lgg_monai.networks.temperature import soften


def unet(**settings: object) -> UNet:
    return UNet(2, 3, 1, channels=(4, 8, 8), strides=(2, 2), **{"num_res_units": 2, "norm": "batch", **settings})


@torch.no_grad()
@pytest.mark.parametrize("build", [unet, EfficientUNet, lambda: PSPNet(features=16)])
@pytest.mark.parametrize("temperature", [2.3, 0.4])
def test_logits_are_divided_and_nothing_else_changes(build: object, temperature: float) -> None:
    torch.manual_seed(0)
    network = build()  # type: ignore[operator]
    for parameter in network.parameters():  # biases and slopes begin as 0 or alike
        parameter += 0.02 * torch.randn_like(parameter)
    network.eval()
    image = torch.randn(2, 3, 64, 64)
    before, keys = network(image), list(network.state_dict())
    after = soften(copy.deepcopy(network), temperature)
    torch.testing.assert_close(after(image), before / temperature, rtol=1e-3, atol=1e-5)
    assert torch.equal(after(image) >= 0, before >= 0)
    assert list(after.state_dict()) == keys


@pytest.mark.parametrize(
    "network", [unet(num_res_units=0), unet(norm="instance"), BasicUNet(2, 3, 1), nn.Conv2d(3, 1, 1)]
)
def test_networks_that_end_otherwise_are_refused(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(
        LggError,
        match=r"not known how the logits of this \w+ can be divided: use EfficientUNet, PSPNet, or MONAI's UNet with",
    ):
        soften(network, 2)
    torch.testing.assert_close(network.state_dict(), before)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(LggError, match="give a number above 0"):
        soften(unet(), temperature)
