"""The most memory that this process has held, and what the machine has."""

from __future__ import annotations

import os
import sys


def peak_bytes() -> int | None:
    """Return the peak of this process's memory in bytes; None where the system does not tell it, as Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux


def total_bytes() -> int | None:
    """Return the machine's memory in bytes; None where the system does not tell it, as Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
