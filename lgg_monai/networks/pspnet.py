"""PSPNet: pyramid scene parsing network for slices of any size and number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from lgg_monai.errors import LggError
from lgg_monai.networks.efficientnet_lite import NETWORKS, DilatedEfficientNetLite
from lgg_monai.networks.resnet import BACKBONES, DilatedResNet, Norm, conv_norm

SMALLEST_INPUT = 64  # pixels; 9 feature cells a side, enough for 6 bins
FEATURES_SHARE = 4  # of the channels, a head keeps one in so many: the paper has 2048 to 512 and 1024 to 256


def pooling_matrix(size: int, cell: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Return the rows of the matrix that averages `size` values as adaptive average pooling does.

    Cell i of n covers the values from floor(i * size / n) to ceil((i + 1) * size / n), exclusive. Pooling an image x is
    then `A @ x @ A.T`, which, unlike adaptive pooling, exports to ONNX for every size.

    Args:
        size: number of values to pool.
        cell: index i of the cell of each row [R], integers.
        bins: number n of cells that each row's cell is one of [R], integers.

    Returns:
        Weights [R, size]; each row sums to 1.
    """
    start = torch.div(cell * size, bins, rounding_mode="floor")
    stop = torch.div((cell + 1) * size + bins - 1, bins, rounding_mode="floor")
    value = torch.arange(size, device=cell.device)
    inside = (value >= start[:, None]) & (value < stop[:, None])
    return inside / (stop - start)[:, None]


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm that falls back on its running statistics where a batch has one value per channel.

    That is the pyramid's 1x1 level at batch 1 in training, which plain batch norm refuses: the variance of one value is
    zero. The running statistics are then used and left as they are. `SyncBatchNorm`, which counts the values of all
    processes, replaces this layer as it does any other.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise `input` [B, C, H, W]."""
        # A scripted network, which cannot call `super`, is for inference.
        if not torch.jit.is_scripting() and self.training and input.numel() > input.shape[1]:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def pyramid_level(inputs: int, outputs: int, bins: int, norm: Norm) -> nn.Sequential:
    """Return 1x1 convolution, norm and ReLU for the pooled features of one pyramid level."""
    conv, layer = conv_norm(inputs, outputs, 1, norm)
    if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats:
        layer = PooledBatchNorm(outputs, layer.eps, layer.momentum, layer.affine)
    elif isinstance(layer, nn.InstanceNorm2d) and bins == 1:
        # Instance norm of a single value is zero whatever the value, so this level has a bias in its place.
        conv, layer = nn.Conv2d(inputs, outputs, 1), nn.Identity()
    return nn.Sequential(conv, layer, nn.ReLU(inplace=True))


class PyramidPooling(nn.Module):
    """Pyramid pooling module: the features, and their averages over grids of 1x1, 2x2, 3x3, 6x6 cells.

    Args:
        channels: channels of the features; each level adds channels // len(bins).
        bins: cells a side of each level.
        norm: see `lgg_monai.networks.resnet.norm_layer`.

    Attributes:
        out_channels: channels of the output.
    """

    def __init__(self, channels: int, bins: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.bins = list(bins)
        width = channels // len(self.bins)
        self.out_channels = channels + width * len(self.bins)
        self.levels = nn.ModuleList(pyramid_level(channels, width, n, norm) for n in self.bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, channels, H, W] to [B, out_channels, H, W]."""
        height, width = x.shape[-2], x.shape[-1]
        # Not buffers: TorchScript would count those among the weights, and so refuse a state dictionary without them.
        cell = torch.cat([torch.arange(n, device=x.device) for n in self.bins])
        count = torch.cat([torch.full([n], n, device=x.device) for n in self.bins])
        rows = pooling_matrix(height, cell, count).to(x.dtype)
        columns = pooling_matrix(width, cell, count).to(x.dtype)
        # All levels in one pair of products; level n's grid is the n x n block on the diagonal.
        pooled = rows @ x @ columns.T
        outputs = [x]
        first = 0
        for index, level in enumerate(self.levels):
            last = first + self.bins[index]
            grid = level(pooled[:, :, first:last, first:last])
            outputs.append(F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=True))
            first = last
        return torch.cat(outputs, dim=1)


def head(inputs: int, features: int, outputs: int, norm: Norm, dropout: float) -> nn.Sequential:
    """Return 3x3 convolution, norm, ReLU, dropout of whole channels, 1x1 convolution to logits."""
    return nn.Sequential(
        *conv_norm(inputs, features, 3, norm),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(features, outputs, kernel_size=1),
    )


def dilated_backbone(name: str, in_channels: int, norm: Norm) -> DilatedResNet | DilatedEfficientNetLite:
    """Return the network whose two features, at 1/8 of the input, PSPNet is built on.

    Raises:
        LggError: there is no such backbone, or it has no such norm.
    """
    if name in NETWORKS:
        if norm != "batch":
            raise LggError(f"Norm {norm!r} with the backbone {name} in the network: its weights are for batch norm")
        return DilatedEfficientNetLite(name, in_channels)
    if name not in BACKBONES:
        raise LggError(f"Unknown backbone {name!r} in the network: use one of {', '.join((*BACKBONES, *NETWORKS))}")
    return DilatedResNet(name, in_channels, norm)


class PSPNet(nn.Module):
    """PSPNet with a dilated backbone (Zhao et al., CVPR 2017, arXiv:1612.01105; authors' code hszhao/semseg).

    In evaluation mode the output is one tensor of logits [B, out_channels, H, W]. In training mode it is the list
    [main, auxiliary] of two such tensors, which `monai.losses.DeepSupervisionLoss` takes with the paper's weights,
    `weights: [1.0, 0.4]`, so MONAI's SupervisedTrainer needs no change. Where post-processing or a training metric
    follows, `lgg_monai.transforms.main_output.MainOutputd(keys="pred")` keeps the main output.

    The authors take inputs of 8 k + 1 pixels, where feature i lies exactly on pixel 8 i and bilinear upsampling with
    aligned corners puts it back there. Other sizes are padded to the next such size, right and below, and the logits
    are cropped: upsampling a 256 input's 32 cells straight to 256 would displace the far edge by 7 pixels. The padding
    repeats the border: zeros would be a bright edge, as the air of a normalised scan is negative.

    TorchScript by `torch.jit.script(net.eval())`, so MONAI's `ckpt_export` needs no option; the scripted network takes
    every input size and has no training output. Traces and ONNX work too.

    Args:
        spatial_dims: 2; here because MONAI's networks have it.
        in_channels: channels of the input.
        out_channels: channels of the logits.
        backbone: "resnet18" where there is only a CPU, "resnet34" or "resnet50" on a GPU; "efficientnet-lite0"
            or "efficientnet-lite2", which can begin with ImageNet's weights
            (`lgg_monai.networks.begin_with_imagenet`) and are smaller.
        norm: as in MONAI: "batch", "instance", ("group", {"num_groups": 8}). Batch norm wants 16 or more slices a step.
        bins: cells a side of each level of the pyramid.
        dropout: probability of dropping a channel before the last convolution.
        features: channels before the last convolution; by default a quarter of stage 4's, 512 for ResNet-50 as in the
            paper and 128 for ResNet-18. The auxiliary head has a quarter of stage 3's.
        zoom: slices are enlarged so much first, by bilinear interpolation to the next 8 k + 1 pixels, not padded.
            Features at 1/8 of the enlarged slice lie closer together than the backbone's weights allow otherwise: 1.5
            costs 2.25 times the time, and draws finer outlines. Taken to the nearest eighth, and at least 1.
        aux: train the auxiliary head on stage 3. It is built in any case, so that weights fit both ways; without `aux`
            it is frozen, and the output in training mode is one tensor.

    Raises:
        LggError: for a refused argument, and in the forward pass for an input smaller than 64 pixels.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        backbone: str = "resnet18",
        norm: Norm = "batch",
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        features: int | None = None,
        aux: bool = True,
        zoom: float = 1.0,
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise LggError(f"spatial_dims is {spatial_dims} in PSPNet: it works on slices, use 2")
        if not bins or any(not isinstance(n, int) or n < 1 for n in bins):
            raise LggError(f"bins is {list(bins)} in PSPNet: give positive whole numbers such as [1, 2, 3, 6]")
        if min(in_channels, out_channels, 1 if features is None else features) < 1:
            given = f"in_channels {in_channels}, out_channels {out_channels}, features {features}"
            raise LggError(f"{given} in PSPNet: each must be 1 or more")
        if not 0 <= dropout < 1:
            raise LggError(f"dropout is {dropout} in PSPNet: give a probability from 0 to below 1")
        self.smallest_input = SMALLEST_INPUT  # TorchScript sees attributes, not a module's constants
        if not 1 <= zoom <= 4:
            raise LggError(f"zoom is {zoom} in PSPNet: give a factor from 1 to 4")
        self.aux = aux
        self.zoom_eighths = round(8 * zoom)  # whole numbers stay exact in traces and exports
        self.backbone = dilated_backbone(backbone, in_channels, norm)
        stage3_channels, stage4_channels = self.backbone.channels
        self.pyramid = PyramidPooling(stage4_channels, bins, norm)
        features = stage4_channels // FEATURES_SHARE if features is None else features
        self.main_head = head(self.pyramid.out_channels, features, out_channels, norm, dropout)
        self.aux_head = head(stage3_channels, stage3_channels // FEATURES_SHARE, out_channels, norm, dropout)
        if not aux:
            self.aux_head.requires_grad_(False)  # DistributedDataParallel refuses parameters that get no gradient

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return logits [B, out_channels, H, W] of `x` [B, in_channels, H, W]; while training [main, auxiliary]."""
        height, width = x.shape[-2], x.shape[-1]
        if not torch.jit.is_tracing() and min(height, width) < self.smallest_input:
            raise LggError(f"Input of {height} x {width} pixels in PSPNet: pad it to 64 x 64 or more")
        if self.zoom_eighths > 8:
            enlarged = [((side - 1) * self.zoom_eighths + 63) // 64 * 8 + 1 for side in (height, width)]
            x = F.interpolate(x, size=enlarged, mode="bilinear", align_corners=True)
            size = [height, width]  # corners lie on corners, so the logits come straight back
        else:
            x = F.pad(x, [0, (1 - width) % 8, 0, (1 - height) % 8], mode="replicate")
            size = [x.shape[-2], x.shape[-1]]
        stage3, stage4 = self.backbone(x)
        logits = self.main_head(self.pyramid(stage4))
        main = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)[:, :, :height, :width]
        if not torch.jit.is_scripting() and self.training and self.aux:
            logits = self.aux_head(stage3)
            aux = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)[:, :, :height, :width]
            return [main, aux]
        return main
