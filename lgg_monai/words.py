"""How counts are written for people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Write ``1 patient`` or ``3 patients``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
