"""A U-Net whose encoder can begin with what it learnt from photographs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.flexible_unet import FlexibleUNet
from torch.nn import functional as F

from lgg_monai.errors import LggError
from lgg_monai.networks.efficientnet_lite import SMALLEST, levels_of

STRIDE = 32  # pixels of the input to a cell of the deepest features


class EfficientUNet(FlexibleUNet):
    """MONAI's FlexibleUNet with an EfficientNet-Lite encoder, for slices of any size.

    Slices are padded at their far edges to a multiple of 32 by repeating the border, and the logits are cut back.

    Args:
        spatial_dims: 2.
        in_channels: channels of the input; 3 for an encoder that begins with ImageNet's weights.
        out_channels: channels of the logits.
        decoder_channels: channels of the decoder, from the deepest level to full resolution.
        encoder: "efficientnet-lite0" or "efficientnet-lite2".

    Raises:
        LggError: not 2 dimensions, not five decoder levels, or an unknown encoder.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        encoder: str = SMALLEST,
    ) -> None:
        if len(decoder_channels) != 5:
            raise LggError(f"decoder_channels is {list(decoder_channels)} in EfficientUNet: give five numbers")
        if spatial_dims != 2:
            raise LggError(f"spatial_dims is {spatial_dims} in EfficientUNet: it works on slices, use 2")
        levels_of(encoder)  # refuses an unknown one in our words
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            backbone=encoder,
            decoder_channels=tuple(decoder_channels),
            spatial_dims=spatial_dims,
            is_pad=False,
        )
        self.stride = STRIDE  # TorchScript sees attributes, not a module's constants

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits [B, out_channels, H, W] of `inputs` [B, in_channels, H, W]."""
        height, width = inputs.shape[-2], inputs.shape[-1]
        padded = F.pad(inputs, [0, -width % self.stride, 0, -height % self.stride], mode="replicate")
        decoded = self.decoder(self.encoder(padded), self.skip_connect)
        return self.segmentation_head(decoded)[..., :height, :width]
