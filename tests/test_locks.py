"""Locks between processes."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lgg_monai import locks
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


def test_windows_has_locks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (msvcrt.LK_NBLCK, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    msvcrt = ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
    spec = importlib.util.spec_from_file_location("locks_of_windows", locks.__file__)
    there = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "msvcrt", msvcrt)
        patched.setattr(sys, "platform", "win32")
        spec.loader.exec_module(there)
    held = there.lock(tmp_path / "lock")
    assert held is not None
    assert there.lock(tmp_path / "lock") is None
    os.close(held)
    again = there.lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
