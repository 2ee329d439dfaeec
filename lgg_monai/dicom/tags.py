"""Values of a header as plain Python, whatever its writer put there."""

from __future__ import annotations

import math
from typing import Any

from pydicom import Dataset


def text(header: Dataset, keyword: str) -> str:
    """Return a value as text, empty where it is absent."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return a value that may be several as capital letters."""
    value = header.get(keyword) or ()
    return tuple(str(item).upper() for item in ([value] if isinstance(value, str) else value))


def number(header: Dataset, keyword: str) -> float | None:
    """Return a value as a finite number, None where it is absent or is none."""
    found = numbers(header, keyword, 1)
    return found[0] if found else None


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return a value as so many finite numbers, None where it is absent or is none."""
    value: Any = header.get(keyword)
    try:
        found = tuple(float(item) for item in ([value] if count == 1 else value))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
