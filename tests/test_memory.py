"""The peak of a process's memory and the machine's, on each kind of system."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from lgg_monai.memory import peak_bytes, total_bytes


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
