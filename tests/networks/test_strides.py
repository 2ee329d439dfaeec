"""What sizes of slices the definition of a network asks for."""

from __future__ import annotations

from lgg_monai.networks import pspnet
from lgg_monai.networks.strides import SMALLEST_SIDES, smallest_side


def test_pspnet_needs_room_for_its_bins_also_in_an_ensemble() -> None:
    assert SMALLEST_SIDES == {"PSPNet": pspnet.SMALLEST_INPUT}
    unet, psp = {"_target_": "UNet", "strides": [2, 2]}, {"_target_": "lgg_monai.networks.PSPNet"}
    assert (smallest_side(unet), smallest_side(psp)) == (16, 64)
    assert smallest_side({"_target_": "lgg_monai.networks.Ensemble", "networks": [unet, psp]}) == 64
