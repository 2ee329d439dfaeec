"""Precision by device."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from lgg_monai.engines import AutocastInferer, SlicewiseInferer, select_device
from lgg_monai.engines.precision import autocast_dtype, multiplies_bfloat16
from lgg_monai.errors import LggError

CPU = torch.device("cpu")


class Spy(nn.Module):
    """A convolution that remembers the type that it computed in."""

    def __init__(self, several: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 3, padding=1, padding_mode="replicate")
        self.several = several
        self.computed_in: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        y = self.convolution(x)
        self.computed_in.append(y.dtype)
        return [y, y[..., ::2, ::2]] if self.several else y


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


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
