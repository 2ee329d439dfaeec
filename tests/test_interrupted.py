"""A command that Ctrl-C or SIGTERM ends says so in one line."""

from __future__ import annotations

import pytest

from lgg_monai.interruption import exits_when_interrupted


def test_a_command_ends_with_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    @exits_when_interrupted
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        command()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "lgg-monai: interrupted\n"
