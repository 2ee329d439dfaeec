"""What every benchmark writes: the machine, medians and spreads of repeats, ratios within repeats, a table and JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lgg_monai.files import write_json
from lgg_monai.provenance import commit, versions

# The instruction sets that decide which kernels run.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "sve")


def machine() -> dict[str, Any]:
    """Describe what the figures depend on: processor, threads, GPU, versions, commit."""
    cpu = _cpu_info()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "flags": [flag for flag in FLAGS if flag in cpu.get("flags", cpu.get("Features", "")).split()],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "KMP_", "GOMP_"))},
        "load_before": load,  # above the number of threads, another process took part of the machine
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "versions": versions(),
        "commit": commit(),
    }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Give median and extremes of repeats."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": list(values)}


def ratio(values: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Give the median of the ratios within repeats: what slowed a repeat down slowed both."""
    return summary([value / other for value, other in zip(values, others, strict=True)])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows out in columns; the first row's keys are the heads. Numbers get three significant digits."""
    if not rows:
        return ""
    heads = list(rows[0])
    cells = [heads, *([_cell(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells)


def finish(content: dict[str, Any], path: Path | None) -> None:
    """Write the JSON file where one is asked for."""
    if path is not None:
        write_json(path, content)
        print(f"written to {path}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
