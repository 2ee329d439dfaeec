"""The writer of curves on a full disk and in a resumed run; what it shows is tested with the bundles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lgg_monai.engines import TensorBoardWriter, tensorboard


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def train(run: Path) -> None:
    engine, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    history: Any = SimpleNamespace(rows=[{"epoch": 1, "loss": 0.5}])
    TensorBoardWriter(str(run), history, evaluator).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED(once=2), stop)
    engine.run([0], max_epochs=2)


def stop() -> None:
    raise RuntimeError("the first mistake")


@pytest.mark.parametrize("name", ["__init__", "add_scalar", "flush"])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tensorboard.SummaryWriter, name, full)
    with pytest.raises(SystemExit, match=r"cannot write the curves .* \(No space left on device\): free space"):
        train(tmp_path)


def test_a_mistake_is_not_hidden_by_curves_that_cannot_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard.SummaryWriter, "close", full)
    with pytest.raises(RuntimeError, match="the first mistake"):
        train(tmp_path)


def test_a_resumed_run_replaces_what_the_interrupted_one_wrote_after_its_checkpoint(tmp_path: Path) -> None:
    for loss, begin, end in ((0.5, 0, 3), (0.25, 1, 2)):
        engine, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
        engine.add_event_handler(Events.STARTED, lambda engine, begin=begin: setattr(engine.state, "epoch", begin))
        history: Any = SimpleNamespace(rows=[])
        engine.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda engine, history=history, loss=loss: history.rows.append({"epoch": engine.state.epoch, "loss": loss}),
        )
        TensorBoardWriter(str(tmp_path), history, evaluator).attach(engine)
        engine.run([0], max_epochs=end)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/training")] == [(1, 0.5), (2, 0.25)]


def test_so_many_validation_patients_are_drawn_as_are_asked_for(tmp_path: Path) -> None:
    volume = torch.rand(1, 3, 16, 16, 2)
    mask = volume[:, :1] > 0.5
    evaluator = Engine(lambda engine, batch: {"image": volume, "label": mask, "pred": mask})
    engine = Engine(lambda engine, batch: None)
    TensorBoardWriter(str(tmp_path), SimpleNamespace(rows=[]), evaluator, patients=2).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0] * 4))
    engine.run([0], max_epochs=1)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["validation/1", "validation/2"]
