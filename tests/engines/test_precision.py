"""Precision by device, and 2D networks over volumes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import nn

from lgg_monai.engines import AutocastInferer, SlicewiseInferer, select_device
from lgg_monai.engines.precision import CPU_SLICES, autocast_dtype, multiplies_bfloat16
from lgg_monai.errors import LggError

CPU = torch.device("cpu")


class Spy(nn.Module):
    """A convolution that remembers what it was given."""

    def __init__(self, several: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 3, padding=1, padding_mode="replicate")
        self.several = several
        self.batches: list[tuple[int, ...]] = []
        self.computed_in: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        self.batches.append(tuple(x.shape))
        y = self.convolution(x)
        self.computed_in.append(y.dtype)
        return [y, y[..., ::2, ::2]] if self.several else y


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


@pytest.mark.parametrize(("precision", "expected"), [("fp32", None), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_named_precision_is_used_on_every_device(precision: str, expected: torch.dtype | None, device: str) -> None:
    assert autocast_dtype(torch.device(device), precision) is expected


def pretend_processor(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Let PyTorch tell of a processor with these instruction sets and no others."""
    # PyTorch 2.8 lacks it.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"sse4a": False} | capabilities, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: capabilities.get("avx512_bf16", False))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: capabilities.get("amx_tile", False))


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        pytest.param({"avx512_bf16", "amx_tile"}, torch.bfloat16, id="AMX"),
        pytest.param({"avx512_bf16", "sse4a"}, torch.bfloat16, id="AMD with AVX-512 BF16"),
        pytest.param({"avx512_bf16"}, None, id="Intel without AMX: half as fast as float32"),
        pytest.param({"sse4a"}, None, id="AMD without: emulated"),
        pytest.param(set(), None, id="neither"),
    ],
)
def test_auto_uses_bfloat16_where_the_processor_is_faster_in_it(
    instructions: set[str], expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_processor(monkeypatch, **dict.fromkeys(instructions, True))
    assert autocast_dtype(CPU) is expected
    assert autocast_dtype(CPU, "bf16") is torch.bfloat16
    assert multiplies_bfloat16(CPU) is ("avx512_bf16" in instructions)


def test_auto_trusts_the_instruction_where_pytorch_cannot_tell_whose_processor_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_processor(monkeypatch, avx512_bf16=True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert autocast_dtype(CPU) is torch.bfloat16


def test_auto_uses_bfloat16_on_a_gpu_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)  # whichever of them is asked for
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: [(7, 5), (8, 0), (9, 0)][device.index])
    monkeypatch.setattr(torch.version, "hip", None)
    types = [autocast_dtype(torch.device(f"cuda:{index}")) for index in range(3)]
    assert types == [None, torch.bfloat16, torch.bfloat16]
    monkeypatch.setattr(torch.version, "hip", "6.4")  # AMD's GPUs all multiply it
    assert autocast_dtype(torch.device("cuda:0")) is torch.bfloat16
    assert autocast_dtype(torch.device("meta")) is None


def test_unknown_precision_is_refused_in_one_line() -> None:
    with pytest.raises(LggError, match="unknown precision 'fp16': --precision takes auto, fp32 or bf16"):
        autocast_dtype(CPU, "fp16")
    with pytest.raises(SystemExit, match=r"^lgg-monai: error: unknown precision 'amp'") as caught:
        AutocastInferer("cpu", precision="amp")
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize(("precision", "computed_in"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("several", [False, True])
def test_autocast_inferer_computes_in_its_type_and_returns_float32(
    precision: str, computed_in: torch.dtype, several: bool
) -> None:
    network, image = Spy(several), noise(2, 3, 8, 8)
    result = AutocastInferer("cpu", precision=precision)(image, network)
    outputs = result if several else [result]
    assert network.computed_in == [computed_in]
    assert len(outputs) == (2 if several else 1)
    assert all(output.dtype == torch.float32 for output in outputs)
    tolerance = 1e-6 if precision == "fp32" else 0.02
    torch.testing.assert_close(outputs[0], network.convolution(image), atol=tolerance, rtol=tolerance)
    assert not torch.is_autocast_enabled("cpu")


@torch.no_grad()
def test_autocast_inferer_runs_the_inferer_it_wraps() -> None:
    network, volume = Spy(), noise(1, 3, 16, 16, 3)
    result = AutocastInferer("cpu", SlicewiseInferer(2), precision="bf16")(volume, network)
    assert result.shape == (1, 2, 16, 16, 3)
    assert network.computed_in == [torch.bfloat16] * 2
    assert isinstance(AutocastInferer("cpu").inferer, SimpleInferer)


def test_gradients_reach_the_network_through_autocast() -> None:
    network = Spy()
    AutocastInferer("cpu", precision="bf16")(noise(1, 3, 8, 8), network).sum().backward()
    gradient = network.convolution.weight.grad
    assert gradient is not None
    assert gradient.dtype == torch.float32
    assert gradient.abs().sum() > 0


def test_select_device_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_device("cpu") == CPU
    assert select_device(CPU) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device() == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device() == torch.device("cuda:0")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "hpu", ""])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: cannot use device {device}: --device takes cpu, .*$"):
        select_device(device)


def test_slicewise_lays_slices_out_with_channels_last() -> None:
    layouts = []

    def network(slices: torch.Tensor) -> torch.Tensor:
        layouts.append(slices.is_contiguous(memory_format=torch.channels_last))
        return slices[:, :1]

    SlicewiseInferer(2)(noise(1, 3, 16, 16, 4), network)
    assert layouts == [True, True]
