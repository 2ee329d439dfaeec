"""The memory of a process and of the machine, on each kind of system."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lgg_monai.memory import peak_bytes, release_free_memory, total_bytes


@pytest.mark.parametrize(("system", "bytes_each"), [("linux", 1024), ("darwin", 1)])
def test_the_unit_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch, system: str, bytes_each: int) -> None:
    told = ModuleType("resource")
    told.RUSAGE_SELF = 0
    told.getrusage = lambda who: SimpleNamespace(ru_maxrss=3000)
    monkeypatch.setitem(sys.modules, "resource", told)
    monkeypatch.setattr(sys, "platform", system)
    assert peak_bytes() == 3000 * bytes_each


def test_a_system_that_does_not_tell_it_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_bytes() is None


def test_the_machine_has_more_than_this_process_has_held() -> None:
    total, peak = total_bytes(), peak_bytes()
    assert total is None or peak is None or total > peak


def test_a_system_that_does_not_tell_what_it_has_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert total_bytes() is None


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc alone")
def test_freed_memory_below_what_is_still_in_use_goes_back_to_the_system() -> None:
    size, count = 60_000, 4000  # small enough for glibc's heap
    blocks = [bytearray(b"x") * size for _ in range(count)]
    kept = blocks[-1]
    del blocks
    before = _resident_bytes()
    release_free_memory()
    assert before - _resident_bytes() > size * count * 0.8
    assert kept == b"x" * size


def test_a_c_library_that_cannot_do_that_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    release_free_memory()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
