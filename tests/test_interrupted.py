"""A command that Ctrl-C or SIGTERM ends says so in one line."""

from __future__ import annotations

import signal

import pytest

from lgg_monai.interruption import exits_when_interrupted, interrupt_by_sigterm


def test_a_command_ends_with_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    @exits_when_interrupted
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        command()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "lgg-monai: interrupted\n"


def test_sigterm_is_left_to_whoever_has_it() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        interrupt_by_sigterm()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interrupt_by_sigterm()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
