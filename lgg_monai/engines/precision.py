"""Mixed precision chosen by device, for training and inference alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_tensor

from lgg_monai.engines.cuda_graph import TrainingGraph
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
        cuda_graph: on a GPU, train by one recording of the network's passes: see :class:`TrainingGraph`.
    """

    @exits_with_one_line
    def __init__(
        self,
        device: str | torch.device,
        inferer: Inferer | None = None,
        precision: str = "auto",
        cuda_graph: bool = False,
    ) -> None:
        super().__init__()
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.graph: TrainingGraph | None = None
        self.cuda_graph = cuda_graph and torch.device(device).type == "cuda"
        self.device_type = torch.device(device).type
        self.dtype = autocast_dtype(torch.device(device), precision)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return what the wrapped inferer returns (a tensor, or a list of them), as float32."""
        if self.cuda_graph and torch.is_grad_enabled() and isinstance(network, torch.nn.Module) and network.training:
            if self.graph is None:
                self.graph = TrainingGraph.record(network, inputs, self.dtype)
                self.cuda_graph = self.graph is not None
            if self.graph is not None and self.graph.fits(network, inputs):
                return self.graph(inputs)
        with torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype is not None):
            output = self.inferer(inputs, network, *args, **kwargs)
        return convert_to_tensor(output, dtype=torch.float32, track_meta=False)


CPU_SLICES = 4
"""Slices at a time on a CPU: more no longer fit into its cache between one layer and the next."""


class SlicewiseInferer(Inferer):
    """Run a 2D network over all slices of a volume.

    Whole slices are given to the network; a slice whose sides are no multiple of ``divisor``, or below ``smallest``, is
    padded at its far edges by repeating the border, and the output is cut back.

    Args:
        batch_size: slices given to the network at a time; on a CPU at most `CPU_SLICES`, which is faster.
        divisor: the product of the network's strides.
        whole_batches: fill the last slices of a volume up to ``batch_size``, and throw away what comes of it; by
            default on a GPU, which takes seconds to prepare for every number of slices that it has not met before.
        smallest: pixels a side that the network needs.
    """

    def __init__(
        self, batch_size: int = 16, divisor: int = 16, whole_batches: bool | None = None, smallest: int = 1
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.divisor = divisor
        self.whole_batches = whole_batches
        self.smallest = smallest

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Infer volumes.

        Args:
            inputs: ``[B, C, X, Y, Z]``.
            network: maps ``[N, C, X, Y]`` to ``[N, K, X, Y]``.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            ``[B, K, X, Y, Z]``.
        """
        batch, _, width, height, depth = inputs.shape
        slices = inputs.movedim(-1, 1).flatten(0, 1)
        padding = (0, self._missing(height), 0, self._missing(width))
        outputs = []
        at_a_time = min(self.batch_size, CPU_SLICES) if inputs.device.type == "cpu" else self.batch_size
        fill = inputs.device.type == "cuda" if self.whole_batches is None else self.whole_batches
        for part in slices.split(at_a_time):
            count = len(part)
            if fill and count < at_a_time:
                last = part.narrow(0, count - 1, 1)  # not by an index, which a MetaTensor would look up in its metadata
                part = torch.cat([part, last.expand(at_a_time - count, *part.shape[1:])])
            padded = torch.nn.functional.pad(part, padding, mode="replicate") if any(padding) else part
            padded = padded.contiguous(memory_format=torch.channels_last)
            outputs.append(network(padded, *args, **kwargs)[..., :width, :height].narrow(0, 0, count))
        return torch.cat(outputs).unflatten(0, (batch, depth)).movedim(1, -1)

    def _missing(self, side: int) -> int:
        """Return the pixels that a side lacks."""
        enough = max(side, self.smallest)
        return enough + -enough % self.divisor - side
