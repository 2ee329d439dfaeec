"""A thread prepares the batches for a GPU, in their order, and tells what went wrong."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
import torch

from lgg_monai.data.ahead import LAUNCHING, AheadDataLoader, PreparedBatch

Batch = dict[str, torch.Tensor]


class Preparing:
    """Counts on from batch to batch, as random numbers do, and notes who asked."""

    ahead = True

    def __init__(self, failing: int | None = None, error: BaseException | None = None) -> None:
        self.count = 0
        self.failing = failing
        self.error = error or ValueError("this batch cannot be bent")
        self.threads: set[threading.Thread] = set()

    def __call__(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        assert LAUNCHING.locked()
        self.threads.add(threading.current_thread())
        if self.count == self.failing:
            raise self.error
        self.count += 1
        return batch["image"] * 10 + self.count, batch["label"]


def loader(prepare: Any, device: str = "cuda:0") -> AheadDataLoader:
    samples = [{"image": torch.tensor([float(number)]), "label": torch.tensor([number])} for number in range(6)]
    return AheadDataLoader(samples, prepare, device, batch_size=2)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the stream that trains")
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())


def test_batches_for_a_gpu_are_prepared_by_another_thread_in_their_order() -> None:
    prepare = Preparing()
    batches = loader(prepare)
    assert len(batches) == 3
    for epoch in range(2):
        found = list(batches)
        assert all(isinstance(batch, PreparedBatch) for batch in found)
        images = torch.cat([batch.image.flatten() for batch in found])
        counted = torch.arange(1, 4).repeat_interleave(2) + 3 * epoch
        assert torch.equal(images, torch.arange(6) * 10.0 + counted)
        assert torch.equal(torch.cat([batch.label.flatten() for batch in found]), torch.arange(6))
    assert threading.main_thread() not in prepare.threads


def test_otherwise_batches_are_given_as_they_are_drawn() -> None:
    prepare = Preparing()
    unaware = Preparing()
    unaware.ahead = False  # the trainer's call would be its second
    for batch in (*loader(prepare, "cpu"), *loader(prepare).drawn(), *loader(unaware)):
        assert set(batch) == {"image", "label"}
    assert not prepare.threads
    assert not unaware.threads


@pytest.mark.parametrize("error", [ValueError("this batch cannot be bent"), SystemExit("lgg-monai: error: no batch")])
def test_what_fails_in_the_thread_is_raised_where_the_batch_is_wanted(error: BaseException) -> None:
    batches = iter(loader(Preparing(1, error)))
    next(batches)
    with pytest.raises(type(error)) as caught:
        next(batches)
    assert caught.value is error


def test_a_training_that_ends_early_ends_the_thread() -> None:
    prepare = Preparing()
    batches = iter(loader(prepare))
    next(batches)
    batches.close()
    assert not any(thread.is_alive() for thread in prepare.threads)
    assert not LAUNCHING.locked()
