"""Counts in words."""

from __future__ import annotations

from lgg_monai.words import counted


def test_one_is_no_plural() -> None:
    assert [counted(number, "scan") for number in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]
