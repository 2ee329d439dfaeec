"""A 2D network over the slices of volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

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
