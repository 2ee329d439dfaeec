"""Layers that are quick to train on a CPU compute what PyTorch's do."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn
from torch.nn import functional as F

from lgg_monai.networks import cpu_layers
from lgg_monai.networks.cpu_layers import DepthwiseConv, ReLU6, depthwise_weight_gradient


@pytest.mark.parametrize(("kernel", "step", "size"), [(5, 1, (5, 7)), (3, 2, (8, 8)), (5, 2, (13, 17)), (5, 4, (9, 6))])
def test_depthwise_convolutions_have_pytorchs_values_and_gradients(
    kernel: int, step: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(6, 6, kernel, padding=step * (kernel // 2), dilation=step, groups=6, bias=False)
    x = MetaTensor(torch.randn(2, 6, *size)).requires_grad_()  # as MONAI's transforms give them
    expected = F.conv2d(x, conv.weight, padding=step * (kernel // 2), dilation=step, groups=6)
    weight = torch.randn_like(expected)
    torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-5)
    for target in (x, conv.weight):
        (own,) = torch.autograd.grad((conv(x) * weight).sum(), target)
        (theirs,) = torch.autograd.grad((expected * weight).sum(), target, retain_graph=True)
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("step", [1, 2])
def test_depthwise_convolutions_have_gradients_of_gradients(step: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(2, 2, 3, padding=step, dilation=step, groups=2, bias=False).double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, _: conv(x), (x, conv.weight))


@pytest.mark.parametrize("step", [1, 2])
def test_a_frozen_depthwise_convolution_computes_no_gradient_of_its_weight(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = DepthwiseConv(6, 6, 5, padding=step * 2, dilation=step, groups=6, bias=False)
    x = torch.randn(2, 6, 9, 9, requires_grad=True)
    (expected,) = torch.autograd.grad(conv(x).square().sum(), x)
    monkeypatch.setattr(cpu_layers, "depthwise_weight_gradient", None)  # not to be called
    conv.requires_grad_(False)
    (found,) = torch.autograd.grad(conv(x).square().sum(), x)
    assert torch.equal(found, expected)


def kept_by(module: nn.Module, x: torch.Tensor) -> set[int]:
    """Return where the tensors lie that the module keeps for its backward pass."""
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
        module(x)
    return {tensor.untyped_storage().data_ptr() for tensor in kept}


def test_dilated_depthwise_convolutions_keep_their_input_and_no_copy_of_it() -> None:
    conv = DepthwiseConv(6, 6, 5, padding=4, dilation=2, groups=6, bias=False)
    x = torch.randn(2, 6, 9, 9).to(memory_format=torch.channels_last)
    assert kept_by(conv, x) == {x.untyped_storage().data_ptr(), conv.weight.untyped_storage().data_ptr()}


def test_relu6_has_pytorchs_values_and_gradients_and_keeps_its_output_alone() -> None:
    x = torch.tensor([-1.0, 0.0, 1e-6, 3.0, 5.999, 6.0, 7.0], requires_grad=True)
    weight = torch.arange(1.0, 8.0)
    own, theirs = ReLU6()(x * 1), F.relu6(x)
    torch.testing.assert_close(own, theirs, rtol=0, atol=0)
    gradients = [torch.autograd.grad((output * weight).sum(), x)[0] for output in (own, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    before = x * 1
    assert kept_by(ReLU6(), before) == {before.untyped_storage().data_ptr()}


def test_under_autocast_depthwise_convolutions_are_those_of_float32() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(8, 8, 5, padding=2, groups=8, bias=False)
    x = torch.randn(2, 8, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output = conv(x)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, F.conv2d(x.float(), conv.weight, padding=2, groups=8).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (9, 4)])
def test_weight_gradients_of_depthwise_convolutions_are_pytorchs(size: int, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 1, size, size, requires_grad=True)
    x, grad = torch.randn(2, 6, *shape), torch.randn(2, 6, *shape)
    (expected,) = torch.autograd.grad(F.conv2d(x, weight, padding=size // 2, groups=6), weight, grad)
    torch.testing.assert_close(depthwise_weight_gradient(x, grad, size), expected, rtol=1e-4, atol=1e-4)
