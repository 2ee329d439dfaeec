"""Dilated residual network with output stride 8, the backbone of PSPNet."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.layers.utils import get_norm_layer
from torch import nn

from lgg_monai.errors import LggError

Norm = str | tuple[str, dict[str, Any]]

# name: (bottleneck blocks?, blocks in stages 1 to 4)
BACKBONES: dict[str, tuple[bool, tuple[int, int, int, int]]] = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
}


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return MONAI's two-dimensional normalisation layer for `channels` channels.

    Args:
        norm: as in MONAI: "batch", "instance", ("group", {"num_groups": 8}); a list, as YAML gives it, serves too.
        channels: number of channels of the layer's input [B, channels, H, W].

    Raises:
        LggError: MONAI has no such layer, or it does not fit `channels`.
    """
    try:
        layer: nn.Module = get_norm_layer(norm if isinstance(norm, str) else tuple(norm), 2, channels)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        message = (
            f"Norm {norm!r} does not work for {channels} channels in the network ({reason}): "
            'use "batch", "instance" or ("group", {"num_groups": 8})'
        )
        raise LggError(message) from error
    return layer


def conv_norm(
    inputs: int, outputs: int, kernel: int, norm: Norm, *, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """Return a convolution that keeps the size at stride 1, and its normalisation; no bias, the norm has one."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    return [conv, norm_layer(norm, outputs)]


class ResidualBlock(nn.Module):
    """Basic (two 3x3) or bottleneck (1x1, 3x3, 1x1) residual block.

    The stride sits on the first 3x3 convolution, the dilation on every 3x3 convolution.

    Args:
        inputs: channels of the input.
        width: channels inside the block; a bottleneck gives 4 times as many.
        norm: see `norm_layer`.
        bottleneck: the bottleneck form, for ResNet-50.
        stride: 1 or 2.
        dilation: of the 3x3 convolutions.
    """

    def __init__(
        self, inputs: int, width: int, norm: Norm, *, bottleneck: bool, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        if bottleneck:
            layers = [
                *conv_norm(inputs, width, 1, norm),
                nn.ReLU(inplace=True),
                *conv_norm(width, width, 3, norm, stride=stride, dilation=dilation),
                nn.ReLU(inplace=True),
                *conv_norm(width, outputs, 1, norm),
            ]
        else:
            layers = [
                *conv_norm(inputs, width, 3, norm, stride=stride, dilation=dilation),
                nn.ReLU(inplace=True),
                *conv_norm(width, outputs, 3, norm, dilation=dilation),
            ]
        self.residual = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1, norm, stride=stride))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        out: torch.Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return out


class DilatedResNet(nn.Module):
    """ResNet-18, -34 or -50 for dense prediction.

    As in the PSPNet authors' code (hszhao/semseg): a stem `layer0` of three 3x3 convolutions (64, 64, 128; the first
    with stride 2) and a max pool in place of one 7x7, and stages 3 and 4 at stride 1 with dilation 2 and 4 in place of
    stride 2. The features stay at 1/8 of the input (He et al., arXiv:1512.03385; Yu et al., arXiv:1705.09914).

    Args:
        backbone: a key of `BACKBONES`.
        in_channels: channels of the input.
        norm: see `norm_layer`.

    Attributes:
        channels: channels of the features of stages 3 and 4.

    Raises:
        LggError: for an unknown backbone or norm.
    """

    def __init__(self, backbone: str = "resnet18", in_channels: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise LggError(f"Unknown backbone {backbone!r} in the network: use one of {', '.join(BACKBONES)}")
        bottleneck, blocks = BACKBONES[backbone]
        expansion = 4 if bottleneck else 1
        self.channels = (256 * expansion, 512 * expansion)
        self.layer0 = nn.Sequential(
            *conv_norm(in_channels, 64, 3, norm, stride=2),
            nn.ReLU(inplace=True),
            *conv_norm(64, 64, 3, norm),
            nn.ReLU(inplace=True),
            *conv_norm(64, 128, 3, norm),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )

        def stage(inputs: int, width: int, count: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
            first = ResidualBlock(inputs, width, norm, bottleneck=bottleneck, stride=stride, dilation=dilation)
            others = [
                ResidualBlock(width * expansion, width, norm, bottleneck=bottleneck, dilation=dilation)
                for _ in range(count - 1)
            ]
            return nn.Sequential(first, *others)

        self.layer1 = stage(128, 64, blocks[0])
        self.layer2 = stage(64 * expansion, 128, blocks[1], stride=2)
        self.layer3 = stage(128 * expansion, 256, blocks[2], dilation=2)
        self.layer4 = stage(256 * expansion, 512, blocks[3], dilation=4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of stages 3 and 4, [B, C, ceil(H / 8), ceil(W / 8)], of `x` [B, in_channels, H, W]."""
        x = self.layer2(self.layer1(self.layer0(x)))
        stage3 = self.layer3(x)
        return stage3, self.layer4(stage3)
