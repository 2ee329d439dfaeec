"""Batches that are ready before they are needed: a thread prepares the next one while the GPU trains on this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from monai.data.thread_buffer import ThreadBuffer
from torch.utils.data import DataLoader

LAUNCHING = threading.Lock()
"""Held by the thread while it prepares a batch, and by whoever must be alone with the GPU, as a recording must."""


class PreparedBatch(NamedTuple):
    """A batch as the network takes it, on the device.

    Args:
        image: ``[B, C, X, Y]``.
        label: ``[B, 1, X, Y]``.
    """

    image: torch.Tensor
    label: torch.Tensor


class AheadDataLoader(DataLoader):
    """A data loader whose batches are prepared by a thread of MONAI's, one batch ahead, where they are for a GPU.

    Launching a hundred small operations takes Python longer than the GPU takes to compute them; the thread launches
    them while the network's pass, launched as a whole, keeps the GPU busy. All is put into the one stream that trains,
    so the order of the computation is that of one batch after the other, and so are random numbers, where preparing
    draws them from generators of its own. On a CPU, where a thread would only take time from the training, batches are
    given as they are drawn.

    Args:
        dataset: see `torch.utils.data.DataLoader`.
        prepare: moves a drawn batch to the device and augments it. It is asked ahead where it has a true ``ahead``, as
            `lgg_monai.engines.AugmentedBatch` has, and then is given its :class:`PreparedBatch` again by the trainer.
        device: that trains.
        kwargs: see `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        prepare: Callable[..., tuple[torch.Tensor, torch.Tensor]],
        device: str | torch.device,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, **kwargs)
        self.prepare = prepare
        self.device = torch.device(device)

    def drawn(self) -> Iterator[dict[str, torch.Tensor]]:
        """Go through the batches as they are drawn, whatever the device."""
        return super().__iter__()

    def __iter__(self) -> Any:  # PyTorch's types promise an iterator of its own class
        """Go through the batches: a :class:`PreparedBatch` each for a GPU, else as they are drawn."""
        ahead = self.device.type == "cuda" and getattr(self.prepare, "ahead", False)
        return self._ahead() if ahead else self.drawn()

    def _ahead(self) -> Iterator[PreparedBatch]:
        buffer = ThreadBuffer(self._prepared(torch.cuda.current_stream(self.device)))
        try:
            for batch in buffer:
                if isinstance(batch, Exception | SystemExit):  # the thread's own end would pass for that of the epoch
                    raise batch
                yield batch
        finally:
            buffer.stop()

    def _prepared(self, stream: torch.cuda.Stream) -> Iterator[PreparedBatch | Exception | SystemExit]:
        try:
            drawn = self.drawn()
            while True:
                with LAUNCHING, torch.cuda.stream(stream):  # a thread begins with a stream of its own
                    batch = next(drawn, None)
                    if batch is None:
                        return
                    prepared = PreparedBatch(*self.prepare(batch, self.device))
                yield prepared
        except (Exception, SystemExit) as error:  # the latter, with its one line, would end a thread in silence
            yield error
