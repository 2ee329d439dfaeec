"""Networks that begin to train with what their encoder learnt from photographs."""

from __future__ import annotations

import torch

from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.networks.efficient_unet import EfficientUNet
from lgg_monai.networks.efficientnet_lite import DilatedEfficientNetLite, load_imagenet
from lgg_monai.networks.pspnet import PSPNet


@exits_with_one_line
def begin_with_imagenet(network: torch.nn.Module) -> torch.nn.Module:
    """Load ImageNet's weights into a network's encoder, see `lgg_monai.networks.efficientnet_lite.load_imagenet`.

    Args:
        network: EfficientUNet, or PSPNet with an EfficientNet-Lite as backbone; changed in place.

    Returns:
        The network itself.

    Raises:
        SystemExit: with one line, where the weights are not installed or fit no part of this network.
    """
    if isinstance(network, EfficientUNet):
        load_imagenet(network.encoder)
    elif isinstance(network, PSPNet) and isinstance(network.backbone, DilatedEfficientNetLite):
        load_imagenet(network.backbone)
    else:
        raise LggError(
            f"there are no ImageNet weights for this {type(network).__name__}, but for EfficientUNet and for PSPNet "
            "with the backbone efficientnet-lite0 or -lite2: give --imagenet False"
        )
    return network
