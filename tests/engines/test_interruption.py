"""Ctrl-C and SIGTERM end a config with one line, of a training with one that says how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ignite.engine import Engine, Events

from lgg_monai.engines import interruption, run_until_interrupted, tell_interruption


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


WAITING = """
import logging, signal, sys, tempfile
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in a shell's background ignores Ctrl-C
logging.basicConfig(stream=sys.stderr)
from lgg_monai.engines.interruption import tell_interruption
tell_interruption("nothing was done")
with tempfile.TemporaryDirectory(dir=sys.argv[1]):
    try:
        print("ready", flush=True)
        sys.stdin.read()
    except BaseException as error:  # as Ignite's engines do
        logging.getLogger("ignite.engine").error("terminating due to %s", error)
        raise
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_config_ends_with_one_line_and_tidies_up(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", WAITING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        program.send_signal(sent)
        _, said = program.communicate(timeout=60)
    assert said == b"lgg-monai: interrupted: nothing was done\n"
    assert program.returncode == -signal.SIGINT  # which a shell calls 130
    assert not os.listdir(tmp_path)


def test_other_errors_have_their_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(interruption, "interrupt_by_sigterm", lambda: None)
    tell_interruption("nothing was done")
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "lgg-monai: interrupted: nothing was done\n"
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("by zero"), None)
    assert capsys.readouterr().err == "ZeroDivisionError: by zero\n"
