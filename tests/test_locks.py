"""Locks between processes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from lgg_monai.locks import lock


def test_a_lock_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    assert held is not None
    assert lock(tmp_path / "lock") is None
    os.close(held)
    again = lock(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_a_file_that_is_moved_away_while_it_is_locked_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had it set its folder aside in between: what is locked stands for the folder no longer."""
    flock = fcntl.flock

    def moved_first(descriptor: int, operation: int) -> None:
        (tmp_path / "lock").rename(tmp_path / "aside")
        flock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", moved_first)
        assert lock(tmp_path / "lock") is None
    held = lock(tmp_path / "lock")
    assert held is not None
    os.close(held)
