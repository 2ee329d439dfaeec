"""What sizes of slices the definition of a network asks for."""

from __future__ import annotations

import torch
from monai.networks import nets

from lgg_monai.networks import pspnet
from lgg_monai.networks.strides import DIVISORS, SMALLEST_SIDES, divisor, smallest_side


def test_pspnet_needs_room_for_its_bins_also_in_an_ensemble() -> None:
    assert SMALLEST_SIDES == {"PSPNet": pspnet.SMALLEST_INPUT}
    unet, psp = {"_target_": "UNet", "strides": [2, 2]}, {"_target_": "lgg_monai.networks.PSPNet"}
    assert (smallest_side(unet), smallest_side(psp)) == (16, 64)
    assert smallest_side({"_target_": "lgg_monai.networks.Ensemble", "networks": [unet, psp]}) == 64


def test_networks_that_do_not_name_their_strides_are_known_by_name() -> None:
    assert {divisor({"_target_": name}) for name in DIVISORS} == {32}
    assert all(hasattr(nets, name) for name in DIVISORS)
    network = nets.FlexibleUNet(3, 1, "resnet18", spatial_dims=2, decoder_channels=(8, 8, 8, 8, 8)).eval()
    side = 3 * divisor({"_target_": "FlexibleUNet"})
    assert network(torch.zeros(1, 3, side, side)).shape == (1, 1, side, side)
