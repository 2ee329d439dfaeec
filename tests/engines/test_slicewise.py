"""2D networks over volumes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from lgg_monai.engines.slicewise import CPU_SLICES, SlicewiseInferer


class Spy(nn.Module):
    """A convolution that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 3, padding=1, padding_mode="replicate")
        self.batches: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(x.shape))
        return self.convolution(x)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_slicewise_equals_looping_over_slices(batch_size: int) -> None:
    network, volumes = Spy(), noise(2, 3, 32, 16, 5)
    result = SlicewiseInferer(batch_size, divisor=16)(volumes, network)
    expected = torch.stack([network(volumes[..., z]) for z in range(5)], dim=-1)
    assert result.shape == (2, 2, 32, 16, 5)
    torch.testing.assert_close(result, expected)


@torch.no_grad()
def test_slicewise_gives_the_network_no_more_than_its_batch_size() -> None:
    network = Spy()
    SlicewiseInferer(4)(noise(1, 3, 16, 16, 10), network)
    assert network.batches == [(4, 3, 16, 16), (4, 3, 16, 16), (2, 3, 16, 16)]


@torch.no_grad()
@pytest.mark.parametrize("kind", [torch.as_tensor, MetaTensor])
@pytest.mark.parametrize("depth", [2, 3, 7])
def test_whole_batches_change_nothing_but_what_the_network_is_given(depth: int, kind: Callable) -> None:
    network, volumes = Spy(), kind(noise(1, 3, 16, 16, depth))
    result = SlicewiseInferer(3, whole_batches=True)(volumes, network)
    assert {shape[0] for shape in network.batches} == {3}
    torch.testing.assert_close(result, SlicewiseInferer(3)(volumes, network))


@torch.no_grad()
def test_slicewise_gives_a_cpu_a_few_slices_at_a_time() -> None:
    network = Spy()
    SlicewiseInferer(100)(noise(1, 3, 16, 16, 10), network)
    assert [shape[0] for shape in network.batches] == [CPU_SLICES, CPU_SLICES, 2]


@torch.no_grad()
def test_slicewise_pads_odd_sizes_at_the_far_edges_and_cuts_back() -> None:
    network, volume = Spy(), noise(1, 3, 19, 33, 2)
    result = SlicewiseInferer(divisor=16)(volume, network)
    assert network.batches == [(2, 3, 32, 48)]
    # The convolution repeats the border as the padding does, so padding must not show.
    torch.testing.assert_close(result, torch.stack([network(volume[..., z]) for z in range(2)], dim=-1))


@torch.no_grad()
def test_slicewise_pads_to_the_smallest_side_that_a_network_takes() -> None:
    network, volume = Spy(), noise(1, 3, 19, 70, 2)
    result = SlicewiseInferer(divisor=16, smallest=64)(volume, network)
    assert network.batches == [(2, 3, 64, 80)]
    torch.testing.assert_close(result, torch.stack([network(volume[..., z]) for z in range(2)], dim=-1))


def test_slicewise_keeps_the_order_of_axes() -> None:
    x, y, z = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), torch.arange(3.0), indexing="ij")
    volume = torch.stack([x, y, z])[None]
    assert torch.equal(SlicewiseInferer(2, divisor=1)(volume, lambda slices: slices), volume)


def test_slicewise_passes_further_arguments_on() -> None:
    result = SlicewiseInferer()(torch.ones(1, 1, 16, 16, 2), lambda x, add, factor: (x + add) * factor, 2, factor=5)
    assert result.unique().tolist() == [15.0]


def test_slicewise_lays_slices_out_with_channels_last() -> None:
    layouts = []

    def network(slices: torch.Tensor) -> torch.Tensor:
        layouts.append(slices.is_contiguous(memory_format=torch.channels_last))
        return slices[:, :1]

    SlicewiseInferer(2)(noise(1, 3, 16, 16, 4), network)
    assert layouts == [True, True]
