"""Mixed precision chosen by device, for training and inference alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_tensor

from lgg_monai.errors import LggError, exits_with_one_line

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether the processor multiplies bfloat16; without such instructions it is emulated, many times slower."""
    if device.type == "cuda":
        # Of this device: `torch.cuda.is_bf16_supported` tells it of the current one, which stays the first GPU.
        available = torch.cuda.is_available()
        return available and (torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0))
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def gains_by_bfloat16(device: torch.device) -> bool:
    """Tell whether networks are faster in bfloat16 than in float32 on this device."""
    if not multiplies_bfloat16(device):
        return False
    if device.type != "cpu" or torch.cpu._is_amx_tile_supported():
        return True
    # AVX-512's own instruction multiplies twice as many numbers as float32's on AMD's processors, which SSE4a gives
    # away, and half as many on Intel's (measured in docs/performance/cpu.md). Older releases of PyTorch cannot tell.
    capabilities: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return capabilities().get("sse4a", True)


def autocast_dtype(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Choose the type that networks compute in.

    Args:
        device: where the network runs.
        precision: ``fp32``, ``bf16``, or ``auto``: bfloat16 where networks gain by it: on GPUs that multiply it, and on
            processors with AMX or of AMD with AVX-512 BF16.

    Returns:
        The type for ``torch.autocast``, or None for float32.
    """
    if precision != "auto":
        if precision not in PRECISIONS:
            raise LggError(f"unknown precision {precision!r}: --precision takes auto, fp32 or bf16")
        return PRECISIONS[precision]
    return torch.bfloat16 if gains_by_bfloat16(device) else None


@exits_with_one_line
def select_device(device: str | torch.device | None = None) -> torch.device:
    """Check the device that the user named, or choose the first GPU where there is one, else the CPU.

    Raises:
        SystemExit: with one line, where this machine has no such device.
    """
    if device is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ImportError) as error:
        raise LggError(f"cannot use device {device}: --device takes cpu, or cuda:0 where there is a GPU") from error
    return chosen


class AutocastInferer(Inferer):
    """Run another inferer under ``torch.autocast`` and return float32.

    MONAI engines' ``amp`` means CUDA only; this serves CPUs with bfloat16 as well.

    Args:
        inferer: does the work.
        device: where the network runs.
        precision: see :func:`autocast_dtype`.
    """

    @exits_with_one_line
    def __init__(
        self,
        device: str | torch.device,
        inferer: Inferer | None = None,
        precision: str = "auto",
    ) -> None:
        super().__init__()
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.device_type = torch.device(device).type
        self.dtype = autocast_dtype(torch.device(device), precision)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return what the wrapped inferer returns (a tensor, or a list of them), as float32."""
        with torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype is not None):
            output = self.inferer(inputs, network, *args, **kwargs)
        return convert_to_tensor(output, dtype=torch.float32, track_meta=False)
