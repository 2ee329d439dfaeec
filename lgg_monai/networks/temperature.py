"""Logits divided by a temperature in a network's last layers: every client then gets calibrated probabilities."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.networks.blocks import ResidualUnit
from monai.networks.nets import UNet
from torch import nn

from lgg_monai.errors import LggError
from lgg_monai.networks.efficient_unet import EfficientUNet
from lgg_monai.networks.pspnet import PSPNet


@torch.no_grad()
def soften(network: nn.Module, temperature: float) -> nn.Module:
    """Change a network's weights so that its logits are divided; masks stay as they are.

    Args:
        network: MONAI's UNet with residual units, EfficientUNet, or PSPNet (its main output); changed in place.
        temperature: such as `lgg-monai calibration` proposes; above 1 takes certainty back.

    Returns:
        The network itself.

    Raises:
        LggError: the temperature is not above 0, or it is not known how the network ends.
    """
    if not 0 < temperature < math.inf:
        raise LggError(f"temperature is {temperature}: give a number above 0, such as `lgg-monai calibration` proposes")
    for weight in _last(network):
        weight /= temperature
    return network


def _last(network: nn.Module) -> list[torch.Tensor]:
    """Find the tensors that the logits are linear in, taken together."""
    if isinstance(network, PSPNet):
        head: Any = network.main_head[-1]
        return [head.weight, head.bias]
    if isinstance(network, EfficientUNet):
        end_conv: Any = network.segmentation_head[0]
        return [end_conv.weight, end_conv.bias]
    layers = network.model if isinstance(network, UNet) else None
    end = layers[-1] if isinstance(layers, nn.Sequential) else None
    if isinstance(end, nn.Sequential) and len(end) == 2 and isinstance(end[1], ResidualUnit):
        # Up-sampling, batch norm and PReLU; then a convolution whose input is added to its output.
        adn: Any = end[0].adn
        conv: Any = end[1].conv
        kinds = (type(getattr(adn, "N", None)), type(getattr(adn, "A", None)), type(end[1].residual))
        single = [type(layer) for layer in conv.modules()][2:] == [nn.Conv2d]
        if kinds == (nn.BatchNorm2d, nn.PReLU, nn.Identity) and single:
            return [adn.N.weight, adn.N.bias, conv[0].conv.bias]
    raise LggError(
        f"it is not known how the logits of this {type(network).__name__} can be divided: "
        "use EfficientUNet, PSPNet, or MONAI's UNet with residual units and batch norm"
    )
