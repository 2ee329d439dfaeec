"""Ctrl-C ends a training with one line that says how to go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from ignite.engine import Engine, Events

from lgg_monai.engines import run_until_interrupted


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("saved", [True, False])
def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path: Path, capsys: pytest.CaptureFixture[str], saved: bool) -> None:
    if saved:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "last.pt").write_text("")
    trainer = Engine(lambda engine, batch: None)
    trainer.state.max_epochs, trainer.state.epoch_length = 3, 2
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), interrupt)
    with pytest.raises(SystemExit) as caught:
        run_until_interrupted(trainer, str(tmp_path))
    assert caught.value.code == 130
    way = "the same command with --resume True goes on (cross-validate without)" if saved else "no epoch was saved yet"
    assert capsys.readouterr().err == f"lgg-monai: interrupted in epoch 2 of the run in {tmp_path}: {way}\n"
