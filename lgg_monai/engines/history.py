"""``history.csv``: one row an epoch, and one line an epoch in the log."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from lgg_monai.engines.checkpoints import FREE_AND_RESUME
from lgg_monai.engines.run_checkpoints import validation_metrics
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import told_in_one_line, write_text
from lgg_monai.memory import peak_bytes

logger = logging.getLogger(__name__)

HISTORY = "history.csv"
COLUMNS = (
    "epoch",
    "seconds",  # of this epoch, validation and writing included
    "elapsed_seconds",  # since the start of training, without the time between interruption and resumption
    "loss",
    "iou",  # pooled over the epoch's training slices: one intersection over one union
    "tumour_slice_iou",  # mean over the epoch's training slices that show tumour
    "val_loss",
    "val_iou",  # pooled over the slices of all validation patients
    "val_volume_iou",  # mean over validation patients
    "val_volume_dice",
    "learning_rate",
    "slices_per_second",  # of training, validation apart
    "peak_memory_mb",
)


class HistoryWriter:
    """Collect an epoch's numbers, append them to ``history.csv`` and log them in one line.

    Args:
        output_dir: the run folder.
        evaluator: holds the validation metrics.
        optimizer: holds the learning rate.
        prefix: put before each line of the log, such as ``PHANTOM``.
    """

    def __init__(self, output_dir: str, evaluator: Engine, optimizer: torch.optim.Optimizer, prefix: str = "") -> None:
        self.path = Path(output_dir) / HISTORY
        self.evaluator = evaluator
        self.optimizer = optimizer
        self.prefix = f"{prefix} " if prefix else ""
        self.rows: list[dict[str, Any]] = []
        self.row: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the restoring of checkpoints and before validation."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        # Ignite runs handlers in the order of attachment: this one stops the clock of training before validation.
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_training)

    @exits_with_one_line
    def begin(self, engine: Engine) -> None:
        """Write a row of epoch 0, where the weights that training begins with were validated; for `HistoryRow`."""
        if engine.state.epoch == 0 and validation_metrics(self.evaluator, 0):
            self.row = {"epoch": 0}
            self.finish_epoch(engine)

    @exits_with_one_line
    def finish_epoch(self, engine: Engine) -> None:
        """Complete the row after validation; called by :class:`HistoryRow`."""
        state: Any = engine.state  # MONAI adds attributes that Ignite's types do not know
        metrics = validation_metrics(self.evaluator, state.epoch)
        self.row |= _numbers(metrics)
        self.row["seconds"] = time.perf_counter() - self._epoch_start
        before = self.rows[-1]["elapsed_seconds"] if self.rows else 0.0
        self.row["elapsed_seconds"] = float(before) + self.row["seconds"]
        self.row["peak_memory_mb"] = peak_memory_mb(state.device)
        self.rows.append(self.row)
        with told_in_one_line(f"the history {self.path}", FREE_AND_RESUME):
            write_history(self.path, self.rows)
        logger.info("%s%s", self.prefix, _line(self.row, state.max_epochs))

    @exits_with_one_line
    def _start(self, engine: Engine) -> None:
        self._epoch_start = time.perf_counter()
        # A run that begins has no rows, not even of an epoch 0 that an interrupted one got to.
        before = read_history(self.path) if engine.state.epoch else []
        self.rows = [row for row in before if row["epoch"] <= engine.state.epoch]

    def _start_epoch(self, engine: Engine) -> None:
        self._epoch_start = time.perf_counter()
        self._slices = 0
        self._losses: list[torch.Tensor] = []

    def _count(self, engine: Engine) -> None:
        # Kept as tensors: reading each value would make a GPU wait at every step.
        output: Any = engine.state.output
        self._losses.append(torch.as_tensor(output["loss"]).detach())
        self._slices += len(output["image"])

    @exits_with_one_line
    def _end_training(self, engine: Engine) -> None:
        loss = float(torch.stack(self._losses).mean())
        if not math.isfinite(loss):
            message = f"the loss became {loss} in epoch {engine.state.epoch}: lower --learning_rate"
            raise LggError(f"{message}, or look at the data with `lgg-monai check`")
        seconds = time.perf_counter() - self._epoch_start
        self.row = {
            "epoch": engine.state.epoch,
            "loss": loss,
            **_numbers(engine.state.metrics),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "slices_per_second": self._slices / seconds,
        }


class HistoryRow:
    """Write the epoch's row after validation: the second half of a :class:`HistoryWriter`.

    Args:
        history: the first half, attached before validation.
    """

    def __init__(self, history: HistoryWriter) -> None:
        self.history = history

    def attach(self, engine: Engine) -> None:
        """Attach to the same trainer, after validation."""
        engine.add_event_handler(Events.STARTED, self.history.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.history.finish_epoch)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a ``history.csv``; an absent file has none. Empty cells become None.

    Raises:
        LggError: the file is not what :func:`write_history` wrote.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            read = [{key: float(text) if text else None for key, text in row.items()} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"] or 0)} for row in read]
    except (ValueError, TypeError, KeyError) as error:
        message = f"cannot read {path}, which another program changed: restore it, or use another --output_dir"
        raise LggError(message) from error


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows; numbers keep nine significant digits, enough to tell float32 results apart.

    Metrics that a recipe of one's own adds come behind the columns that each history has.
    """
    columns = dict.fromkeys((*COLUMNS, *(key for row in rows for key in row)))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(row.get(key)) for key in columns})
    write_text(path, text.getvalue())


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory in MB: of the GPU where one is used, else of this process where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = peak_bytes()
    return None if peak is None else peak / 1e6


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are one number each."""
    single = {name: value for name, value in metrics.items() if getattr(value, "ndim", 0) == 0}
    return {name: float(value) for name, value in single.items() if hasattr(value, "__float__")}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{float(value):.9g}"


def _line(row: dict[str, Any], epochs: int) -> str:
    parts = ["the weights it begins with"] if row["epoch"] == 0 else [f"epoch {row['epoch']}/{epochs}"]
    if row["epoch"] > 0:
        parts.append(f"loss {row['loss']:.4f}")
    own = (name for name in row if name not in COLUMNS)
    for name in ("iou", "val_loss", "val_iou", "val_volume_iou", "val_volume_dice", *own):
        if row.get(name) is not None:
            parts.append(f"{name} {row[name]:.3f}")
    if row["epoch"] > 0:
        parts.append(f"{row['slices_per_second']:.1f} slices/s")
    return "  ".join([*parts, f"{row['seconds']:.0f} s"])
