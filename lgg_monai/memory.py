"""The memory that this process has held and that the machine has, and giving back what is free."""

from __future__ import annotations

import ctypes
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


def release_free_memory() -> None:
    """Give memory that was freed back to the system, where the C library would keep it: glibc; elsewhere do nothing.

    glibc itself returns what is free at the end of its heap alone, so that a few small objects behind freed tensors
    keep all of these resident.
    """
    if os.name == "posix":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
