"""The peak of a process's memory, on each kind of system."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from lgg_monai.memory import peak_bytes


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
