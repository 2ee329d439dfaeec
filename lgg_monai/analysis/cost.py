"""What a run cost: time, memory, size and arithmetic, and the ratios to the first run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lgg_monai.analysis.measure import measure
from lgg_monai.analysis.original import original_ratio
from lgg_monai.analysis.runs import Run
from lgg_monai.data.patients import patient_of, read_patient
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.predictions import PREDICTIONS, read_prediction
from lgg_monai.errors import LggError


@dataclass(frozen=True)
class Quantity:
    """A line of the cost table.

    Args:
        title: what stands in the table.
        definition: one sentence.
        scale: divides the value for reading.
        digits: after the point, for reading.
    """

    title: str
    definition: str
    scale: float = 1.0
    digits: int = 1


QUANTITIES = {
    "seconds_per_epoch": Quantity("seconds an epoch", "Median over epochs; validation and writing included.", digits=2),
    "slices_per_second": Quantity("training slices/s", "Median over epochs; validation apart."),
    "peak_memory_mb": Quantity(
        "peak memory in training, MB",
        "On a CPU the whole process, libraries and cached patients included; on a GPU what PyTorch allocated.",
        digits=0,
    ),
    "inference_memory_mb": Quantity("peak memory in inference, MB", "One slice, see below the table."),
    "parameters": Quantity("parameters, million", "Of the network as trained.", 1e6, 2),
    "flops_per_slice": Quantity("GFLOPs a slice", "Forward pass; a multiply-add is 2.", 1e9, 2),
    "checkpoint_mb": Quantity("checkpoint, MB", "checkpoints/best.pt on the disk; 1 MB is 1,000,000 bytes.", digits=2),
}


def run_cost(run: Run, measured: bool = True) -> dict[str, Any]:
    """Collect one run's cost; of a cross-validation that of one fold in the mean.

    Args:
        run: the run.
        measured: build its network to count FLOPs and inference memory; else both are None.

    Returns:
        The keys of `QUANTITIES` (None where not known), ``slice_shape`` and ``not_measured``, the reason.
    """
    checkpoint = run.parts[0].folder / "checkpoints" / "best.pt"
    shape = slice_shape(run)
    inference = (
        measure(run.config.get("network_def"), shape)
        if measured
        else {"flops": None, "inference_memory_mb": None, "not_measured": "not asked for"}
    )
    return {
        "seconds_per_epoch": _median(run, "seconds"),
        "slices_per_second": _median(run, "slices_per_second"),
        "peak_memory_mb": max(_column(run, "peak_memory_mb"), default=None),
        "inference_memory_mb": inference["inference_memory_mb"],
        "parameters": run.record.get("parameters"),
        "flops_per_slice": inference["flops"],
        "checkpoint_mb": checkpoint.stat().st_size / 1e6 if checkpoint.is_file() else None,
        "slice_shape": list(shape),
        "not_measured": inference["not_measured"],
    }


def cost_ratios(runs: Sequence[Run], costs: Sequence[dict[str, Any]]) -> list[dict[str, dict[str, float | None]]]:
    """Divide each run's cost by the first run's.

    Returns:
        For each run and quantity ``ratio`` and ``original``, the original experiment's ratio for the same two networks.
    """
    first = costs[0]
    return [
        {
            name: {
                "ratio": cost[name] / first[name] if cost[name] is not None and first[name] else None,
                "original": original_ratio(name, run.network, runs[0].network),
            }
            for name in QUANTITIES
        }
        for run, cost in zip(runs, costs, strict=True)
    ]


def slice_shape(run: Run) -> tuple[int, int, int]:
    """Give ``[channels, X, Y]`` of a slice that the run validated and tested on.

    From a stored prediction, else from a patient's files, else (both gone) the size of the training patches.
    """
    channels = 3
    for path in sorted((run.parts[0].folder / EVALUATION / PREDICTIONS).glob("*.npz")):
        columns, rows, _ = read_prediction(path).shape
        return channels, columns, rows
    for part in ("test", "validation", "training"):
        for entry in run.datalist[part][:1]:
            try:
                image, _ = read_patient(patient_of(entry))
            except (LggError, OSError):
                continue
            return channels, image.shape[1], image.shape[2]
    patch = run.config.get("patch_size")
    size = patch if isinstance(patch, int) else 256
    return channels, size, size


def _column(run: Run, name: str) -> list[float]:
    # Row 0, of weights that were trained further, is a validation alone.
    return [float(row[name]) for row in run.history if row["epoch"] > 0 and row.get(name) is not None]


def _median(run: Run, name: str) -> float | None:
    values = _column(run, name)
    return statistics.median(values) if values else None
