"""Sharing patients out over the processes that torchrun starts, and keeping other predictions out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from lgg_monai.errors import LggError
from lgg_monai.locks import LOCK, lock
from lgg_monai.prediction.failures import writing

# One process may have much more to do than the others.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Args:
        rank: its number, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """This process writes what is written once."""
        return self.rank == 0

    def share(self, items: list[Any]) -> list[Any]:
        """Return this process's part of a list that all have."""
        return items[self.rank :: self.count]

    def gather(self, item: Any) -> list[Any]:
        """Return every process's item, in the order of their ranks; all have to call it."""
        if self.count == 1:
            return [item]
        gathered: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(gathered, item)
        return gathered


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the other processes where torchrun started several; alone otherwise."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count <= 1 or "RANK" not in os.environ:
        yield Processes()
        return
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Processes(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def alone_in(output: Path, processes: Processes) -> Iterator[None]:
    """Hold an output folder for these processes: another prediction would take files of theirs for interrupted ones.

    Raises:
        LggError: another prediction is writing to the folder, or it cannot be written to.
    """
    held = None
    if processes.first:
        with writing(output):
            held = lock(output / LOCK)
    try:
        if any(processes.gather(processes.first and held is None)):
            raise LggError(f"another prediction is writing to {output}: wait for its end, or choose another --output")
        yield
    finally:
        if held is not None:
            os.close(held)


def own_device(device: str | None) -> str | None:
    """Give each process of a machine a GPU of its own, where the user named none."""
    if device is None and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return device
