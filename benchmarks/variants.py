"""Names of variants, such as ``bare/contiguous/threads=1``: a kind, and what differs from the bundle's defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

KINDS = {
    "bare": "forward, backward and optimizer on resident random tensors",
    "bundle": "the bundle's trainer: cache, augmentation, averaging, metrics and log included",
    "monai": "per-sample dictionary transforms, CacheDataset, DataLoader, plain loop, fp32",
    "smp": "segmentation_models.pytorch, with albumentations where they are installed, plain loop, fp32",
    "nnunet": "nnU-Net's own trainer, with the bundle's patch, batch and channels or as planned",
}
OPTIONS = {
    "precision": str,
    "contiguous": bool,
    "compile": bool,
    "eager": bool,
    "unfused": bool,
    "threads": int,
    "workers": int,
    "batch": int,
    "patch": int,
    "planned": bool,
    "cache": str,
}
# What each kind heeds; a figure under the name of an option that was ignored would be wrong.
HEEDED = {
    "bare": {"precision", "contiguous", "compile", "eager", "unfused", "threads", "batch", "patch"},
    "bundle": {"precision", "contiguous", "compile", "eager", "unfused", "threads", "batch", "patch", "cache"},
    "monai": {"workers", "threads", "batch", "patch"},
    "smp": {"workers", "threads"},
    "nnunet": {"workers", "threads", "planned"},
}


class NotComparedError(Exception):
    """A variant that this machine or installation cannot run; the message says why."""


@dataclass(frozen=True)
class Variant:
    """What is measured.

    Args:
        name: as on the command line.
        kind: one of `KINDS`.
        options: by name, see `OPTIONS`.
    """

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str) -> Variant:
        """Read a name.

        Raises:
            ValueError: there is no such kind or option, or this kind takes no notice of it.
        """
        kind, *parts = name.split("/")
        if kind not in KINDS:
            raise ValueError(f"unknown variant {name!r}: begin with one of {', '.join(KINDS)}")
        options: dict[str, Any] = {}
        for part in parts:
            key, _, value = part.partition("=")
            if key not in OPTIONS:
                raise ValueError(f"unknown option {key!r} in {name!r}: take one of {', '.join(OPTIONS)}")
            if key not in HEEDED[kind]:
                heeded = ", ".join(sorted(HEEDED[kind]))
                raise ValueError(f"{kind!r} takes no notice of {key!r} in {name!r}: it heeds {heeded}")
            options[key] = True if OPTIONS[key] is bool else OPTIONS[key](value)
        return cls(name, kind, options)

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Compute with this variant's number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.options.get("threads", before))
        try:
            yield
        finally:
            torch.set_num_threads(before)


class Measured(Protocol):
    """A variant that is set up and can be run again and again."""

    batch: int

    def run(self, steps: int) -> dict[str, float]:
        """Run some steps; return ``step_seconds`` (of one) and what else was measured."""
        ...


def synchronize(device: torch.device) -> None:
    """Wait for what a GPU was told to do, so that a clock read now includes it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_steps(step: Callable[[], object], steps: int, device: torch.device) -> dict[str, float]:
    """Take some steps, and wait for the device after the first and the last; what `Measured.run` returns of a loop.

    A wait after each would keep a GPU idle while the next step is being prepared, which no trainer does.
    """
    start = time.perf_counter()
    step()
    synchronize(device)
    first = time.perf_counter() - start
    for _ in range(steps - 1):
        step()
    synchronize(device)
    return {"step_seconds": (time.perf_counter() - start) / steps, "first_step_seconds": first}
