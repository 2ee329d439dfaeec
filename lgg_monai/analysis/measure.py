"""FLOPs and memory of one slice through a network, measured in a process of its own.

``python -m lgg_monai.analysis.measure`` reads ``{"network_def": …, "shape": [channels, X, Y]}`` from standard input and
prints one line of JSON. Memory is a peak of the whole process, so nothing else may run in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgg_monai.errors import LggError
from lgg_monai.memory import peak_bytes

if TYPE_CHECKING:
    import torch

TIMEOUT_S = 300
METHOD = (
    "One slice in fp32 on the CPU, at the size the run saw. FLOPs: convolutions and matrix products as "
    "torch.utils.flop_counter counts them, a multiply-add being 2. Inference memory: peak of a fresh process during "
    "one forward pass above what it held before, plus the weights, without the libraries."
)


def measure(network_def: Any, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Measure in a subprocess.

    A run's record may be someone else's: only networks of MONAI and of this package are built, as for `predict`.

    Args:
        network_def: the part of a run's config that builds its network.
        shape: ``[channels, X, Y]`` of a slice.

    Returns:
        ``flops`` and ``inference_memory_mb``, or both None and ``not_measured``: the reason.
    """
    reason = _not_plain(network_def)
    if not reason:
        command = [sys.executable, "-m", "lgg_monai.analysis.measure"]
        request = json.dumps({"network_def": network_def, "shape": shape})
        # No GPU there: what is measured is defined on the CPU.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        try:
            result = subprocess.run(
                command, input=request, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
            if result.returncode == 0:
                return {**json.loads(result.stdout.splitlines()[-1]), "not_measured": ""}
            reason = (result.stderr.strip().splitlines() or ["the process died"])[-1][:200]
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__} in the measuring process"
    return {"flops": None, "inference_memory_mb": None, "not_measured": reason}


def measure_here(network: torch.nn.Module, shape: tuple[int, int, int]) -> dict[str, float | None]:
    """Measure in this process; the memory is right only where nothing ran in it before, None where it is not told.

    Args:
        network: in evaluation mode.
        shape: ``[channels, X, Y]`` of a slice.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    slices = torch.zeros(1, *shape)
    tensors = [*network.parameters(), *network.buffers()]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    with torch.inference_mode():
        torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8))  # loads what the first convolution of a process loads
        before = _reset_peak()
        network(slices)
        peak = _peak()
        with FlopCounterMode(display=False) as counter:
            network(slices)
    memory = None if peak is None or before is None else (weights + peak - before) / 1e6
    return {"flops": counter.get_total_flops(), "inference_memory_mb": memory}


def _not_plain(network_def: Any) -> str:
    if not isinstance(network_def, dict) or "_target_" not in network_def:
        return "network_def of its config is no plain definition with _target_"
    text = json.dumps(network_def)
    if '"$' in text or '"@' in text or '"%' in text:
        return "network_def of its config refers to other parts of it"
    return ""


def _reset_peak() -> int | None:
    """Set the process's peak back to what it holds now, where the system can; return what it holds, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, ValueError, KeyError):
        return _peak()


def _peak() -> int | None:
    try:
        return _status("VmHWM")
    except (OSError, ValueError, KeyError):
        return peak_bytes()


def _status(name: str) -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields[name].split()[0]) * 1024


if __name__ == "__main__":
    from lgg_monai.prediction.network_def import build_network

    request = json.load(sys.stdin)
    try:
        built = build_network(request["network_def"], "of this run").eval()
    except LggError as error:
        sys.exit(str(error))  # the reason that the page gives
    sys.stdout.write(json.dumps(measure_here(built, tuple(request["shape"]))) + "\n")
