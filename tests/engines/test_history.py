"""``history.csv``: what is in a row, and what becomes of it when a run is resumed or goes wrong."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from lgg_monai.engines import history
from lgg_monai.engines.history import (
    COLUMNS,
    HistoryRow,
    HistoryWriter,
    peak_memory_mb,
    read_history,
    write_history,
)
from lgg_monai.errors import LggError


def row(epoch: int, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"epoch": epoch, "elapsed_seconds": 10.0 * epoch, "loss": 1.0 / epoch} | values


def trainer(tmp_path: Path, losses: dict[int, list[float]], validated: tuple[int, ...] = ()) -> Engine:
    """An engine with the shape of MONAI's trainer, which writes a history."""

    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        engine.state.metrics = {"iou": 0.25, "tumour_slice_iou": 0.5}
        return {"loss": torch.tensor(losses[engine.state.epoch][batch]), "image": torch.zeros(4, 3, 2, 2)}

    engine = Engine(step)
    engine.state.device = torch.device("cpu")
    state = SimpleNamespace(iteration=0, epoch=0, metrics={})

    def validated_before(engine: Engine) -> None:
        if 0 in validated and engine.state.epoch == 0:
            state.iteration, state.metrics = 2, {"val_iou": 0.5}

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.125)
    history = HistoryWriter(str(tmp_path), SimpleNamespace(state=state), optimizer, prefix="PHANTOM")  # type: ignore[arg-type]
    history.attach(engine)

    engine.add_event_handler(Events.STARTED, validated_before)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        if engine.state.epoch in validated:
            state.iteration, state.epoch = 2, engine.state.epoch
            state.metrics = {
                "val_iou": 0.75,
                "val_loss": 0.1 * engine.state.epoch,
                "own_metric": torch.tensor(1.5),
                "a_matrix": torch.zeros(2, 2),
                "several": {"a": 1},
            }

    HistoryRow(history).attach(engine)
    return engine


def test_a_row_holds_the_numbers_of_its_own_epoch(tmp_path: Path) -> None:
    trainer(tmp_path, {1: [1.0, 3.0], 2: [0.5, 0.25]}, validated=(2,)).run([0, 1], max_epochs=2)
    first, second = read_history(tmp_path / "history.csv")
    assert tuple(first) == (*COLUMNS, "own_metric")
    assert (first["own_metric"], second["own_metric"]) == (None, 1.5)  # of a recipe of one's own
    assert (first["epoch"], first["loss"], first["iou"], first["learning_rate"]) == (1, 2.0, 0.25, 0.125)
    assert (second["loss"], second["val_iou"], second["val_loss"]) == (0.375, 0.75, 0.2)
    assert first["val_iou"] is None
    assert second["val_volume_dice"] is None  # the validator did not give it
    assert first["slices_per_second"] > 0
    assert second["elapsed_seconds"] == pytest.approx(first["seconds"] + second["seconds"])


def test_validation_metrics_are_not_carried_over_to_epochs_without_validation(tmp_path: Path) -> None:
    trainer(tmp_path, {epoch: [1.0] for epoch in (1, 2, 3, 4)}, validated=(1, 3)).run([0], max_epochs=4)
    assert [r["val_iou"] for r in read_history(tmp_path / "history.csv")] == [0.75, None, 0.75, None]


def test_weights_that_training_begins_with_are_epoch_0(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lgg_monai")
    write_history(tmp_path / "history.csv", [{"epoch": 0, "val_iou": 0.4}])  # of a run interrupted in its first epoch
    trainer(tmp_path, {1: [1.0], 2: [0.5]}, validated=(0, 2)).run([0], max_epochs=2)
    rows = read_history(tmp_path / "history.csv")
    assert [(r["epoch"], r["val_iou"]) for r in rows] == [(0, 0.5), (1, None), (2, 0.75)]
    assert rows[0]["loss"] is None
    assert rows[1]["elapsed_seconds"] == pytest.approx(rows[0]["seconds"] + rows[1]["seconds"])
    assert caplog.records[0].getMessage().startswith("PHANTOM the weights it begins with  val_iou 0.500  ")


def test_the_log_has_one_line_an_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lgg_monai")
    trainer(tmp_path, {1: [1.0], 2: [0.5]}, validated=(2,)).run([0], max_epochs=2)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("PHANTOM epoch 1/2  loss 1.0000  iou 0.250  ")
    assert "val" not in lines[0]
    assert "val_loss 0.200  val_iou 0.750  own_metric 1.500" in lines[1]


def test_a_resumed_run_drops_rows_after_its_checkpoint_and_goes_on_counting_time(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [row(1), row(2), row(3)])
    engine = trainer(tmp_path, {3: [1.0], 4: [1.0]})
    engine.state.epoch, engine.state.iteration = 2, 2  # as `Restore` does
    engine.state.max_epochs, engine.state.epoch_length = 4, 1
    engine.run([0], max_epochs=4)
    rows = read_history(tmp_path / "history.csv")
    assert [r["epoch"] for r in rows] == [1, 2, 3, 4]
    assert [r["loss"] for r in rows] == [1.0, 0.5, 1.0, 1.0]
    assert rows[2]["elapsed_seconds"] == pytest.approx(20.0 + rows[2]["seconds"])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_training_in_one_line(tmp_path: Path, loss: float) -> None:
    engine = trainer(tmp_path, {1: [1.0, 1.0], 2: [1.0, loss]})
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: the loss became {loss} in epoch 2: lower"):
        engine.run([0, 1], max_epochs=3)
    assert [r["epoch"] for r in read_history(tmp_path / "history.csv")] == [1]


def test_rows_survive_writing_and_reading(tmp_path: Path) -> None:
    rows = [row(1, loss=0.123456789, val_iou=None), row(2, loss=1e-12, val_iou=0.0)]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == rows
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_numbers_tell_neighbouring_float32_apart(tmp_path: Path) -> None:
    values = [1.0, float(torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)))]
    write_history(tmp_path / "history.csv", [row(1, loss=values[0]), row(2, loss=values[1])])
    read = torch.tensor([r["loss"] for r in read_history(tmp_path / "history.csv")])
    assert torch.equal(read, torch.tensor(values))


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.csv") == []


@pytest.mark.parametrize("text", ["epoch;loss\n1;2\n", "epoch,loss\n1,much\n", "epoch\n1,2\n", "loss\n2\n"])
def test_a_changed_history_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(LggError, match=r"cannot read .*history\.csv, which another program changed") as caught:
        read_history(tmp_path / "history.csv")
    assert "\n" not in str(caught.value)


def test_peak_memory_of_this_process_is_in_megabytes() -> None:
    # PyTorch alone takes 100 MB; a factor of 1000 or 1024**2 off would leave this range.
    assert 100 < peak_memory_mb(torch.device("cpu")) < 100_000


def test_where_the_system_tells_no_memory_the_cell_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    trainer(tmp_path, {1: [1.0]}).run([0], max_epochs=1)
    (written,) = read_history(tmp_path / "history.csv")
    assert written["peak_memory_mb"] is None


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "write_text", full)
    with pytest.raises(
        SystemExit, match=r"history\.csv \(No space left on device\): free space, then the same command"
    ):
        trainer(tmp_path, {1: [1.0]}).run([0], max_epochs=1)
