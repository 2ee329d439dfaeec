"""Layers that compute what PyTorch's do, in less time and memory where they are trained on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight


def depthwise_weight_gradient(x: torch.Tensor, grad: torch.Tensor, size: int) -> torch.Tensor:
    """Return the gradient of the weight of a convolution of each channel by itself, zeros around its input.

    That of a 5x5 one is put together from four of 3x3, which look at the input a pixel further up or down and left or
    right: oneDNN has a quick way for these alone, and takes 3 to 4 times as long otherwise.

    Args:
        x: input [B, C, H, W].
        grad: gradient of the output [B, C, H, W].
        size: side of the weight, odd.

    Returns:
        [C, 1, size, size].
    """
    channels = x.shape[1]
    if size != 5:
        return conv2d_weight(x, (channels, 1, size, size), grad, padding=size // 2, groups=channels)
    height, width = x.shape[-2:]
    padded = F.pad(x, (2, 2, 2, 2))
    found = torch.empty(channels, 1, 5, 5, dtype=x.dtype, device=x.device)
    for row in (0, 2):
        for column in (0, 2):
            seen = padded[:, :, row : row + height + 2, column : column + width + 2]
            seen = seen.contiguous(memory_format=torch.channels_last)
            quarter = conv2d_weight(seen, (channels, 1, 3, 3), grad, groups=channels)
            found[:, :, row : row + 3, column : column + 3] = quarter  # the middle row and column come twice, alike
    return found


def trains_on_cpu(x: torch.Tensor) -> bool:
    """Tell whether `x` goes through a layer that may take the gradients of this module in place of PyTorch's.

    Scripts, traces and exports are for inference, and TorchScript knows no autocast of one device.
    """
    eager = not torch.jit.is_tracing() and not torch.compiler.is_compiling()
    return x.device.type == "cpu" and eager and torch.is_grad_enabled()


class InterleavedConv(torch.autograd.Function):
    """Convolution of each channel by itself with stride 1, a dilated one as plain ones on the grids that it connects.

    One grid after the other, and with a backward pass of its own: that of slices and copies would fill and add whole
    tensors a grid. Twice as fast as all grids in one batch. Without dilation there is one grid, the whole input.
    """

    @staticmethod
    def grids(x: torch.Tensor, step: int) -> list[torch.Tensor]:
        """Return the views of `x` [B, C, H, W] that begin at each of the `step` x `step` first pixels."""
        return [x[:, :, row::step, column::step] for row in range(step) for column in range(step)]

    @staticmethod
    def dense(grid: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return a grid in the type of `like`, channels last; itself where it is so already."""
        return grid.to(like.dtype).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def whole(parts: Iterator[torch.Tensor], step: int, like: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape and type of `like` from its grids, one after the other."""
        if step == 1:
            return next(parts).to(like.dtype)
        whole = torch.empty_like(like, memory_format=torch.channels_last)
        for place, part in zip(InterleavedConv.grids(whole, step), parts, strict=True):
            place.copy_(part)
        return whole

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, step: int) -> torch.Tensor:
        """Convolve `x` [B, C, H, W], zeros around it, with `weight` [C, 1, K, K], K odd, in the weight's type."""
        # The activation before keeps `x` in any case; its grids would take as much memory again.
        seen = InterleavedConv.dense(x, weight) if step == 1 else x
        ctx.save_for_backward(x, seen, weight)
        ctx.step = step
        around = weight.shape[-1] // 2
        grids = (InterleavedConv.dense(grid, weight) for grid in InterleavedConv.grids(seen, step))
        parts = (F.conv2d(grid, weight, padding=around, groups=len(weight)) for grid in grids)
        return InterleavedConv.whole(parts, step, x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return the gradients of `x` and `weight`."""
        x, seen, weight = ctx.saved_tensors
        around = weight.shape[-1] // 2
        if torch.is_grad_enabled():  # gradients of gradients are wanted, which copies and sums in place do not have
            layout = {"padding": ctx.step * around, "dilation": ctx.step, "groups": len(weight)}
            output = grad.to(weight.dtype)
            input_grad = conv2d_input(x.shape, weight, output, **layout).to(grad.dtype)
            return input_grad, conv2d_weight(x.to(weight.dtype), weight.shape, output, **layout), None
        weight_grad = torch.zeros_like(weight)

        def input_gradients() -> Iterator[torch.Tensor]:
            for pair in zip(*(InterleavedConv.grids(tensor, ctx.step) for tensor in (seen, grad)), strict=True):
                grid, output = (InterleavedConv.dense(tensor, weight) for tensor in pair)
                if ctx.needs_input_grad[1]:  # a frozen weight has none
                    weight_grad.add_(depthwise_weight_gradient(grid, output, weight.shape[-1]))
                yield conv2d_input(grid.shape, weight, output, padding=around, groups=len(weight))

        return InterleavedConv.whole(input_gradients(), ctx.step, grad), weight_grad, None


class DepthwiseConv(nn.Conv2d):
    """Convolution of each channel by itself, in the way that a CPU is quick at.

    Measured with PyTorch 2.13 (oneDNN 3.12) on a processor with AVX-512 BF16: the gradients of strided and of 5x5 ones
    take 3 to 30 times as long in bfloat16 as in float32, and those of dilated ones 10 times as long as of others. So
    they are computed in float32 also where the network computes in bfloat16, and a dilated one as a plain one on the
    `dilation` x `dilation` interleaved grids that it connects. See `depthwise_weight_gradient` for what else is slow.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map [B, channels, H, W] to [B, channels, H / stride, W / stride], in the input's type."""
        if not torch.jit.is_scripting() and trains_on_cpu(input):  # without gradients bfloat16 is quick
            with torch.autocast("cpu", enabled=False):
                if self.stride[0] == 1:
                    output = InterleavedConv.apply(input, self.weight, self.dilation[0])
                    return output if self.bias is None else output + self.bias[:, None, None].to(output.dtype)
                return self._conv_forward(input.to(self.weight.dtype), self.weight, self.bias).to(input.dtype)
        return self._conv_forward(input, self.weight, self.bias)


class ClampInPlace(torch.autograd.Function):
    """ReLU6 in place, whose gradient is told from its output.

    PyTorch 2.13's copies its input first, for the gradient: a pass over memory, and a tensor of the activation's size
    that is kept until the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Clamp `x`, of any shape, to 0 to 6."""
        ctx.mark_dirty(x.clamp_(0, 6))
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """Return the gradient of `x`: none where the output is 0 or 6, as PyTorch has it."""
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, y, 0, 6)


class ReLU6(nn.ReLU6):
    """ReLU6 in place that takes less memory and time to train on a CPU; see `ClampInPlace`."""

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Clamp `input`, of any shape, to 0 to 6."""
        if not torch.jit.is_scripting() and trains_on_cpu(input):
            return ClampInPlace.apply(input)
        return F.relu6(input, inplace=True)
