"""Ends an inspection that computes for too long or takes too much memory: a bundle may be made for that."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lgg_monai.sharing.inspect.findings import RefusedError

MOST_SECONDS = 600.0  # of computing; a bundle of a gigabyte takes some ten
MOST_MEMORY = 4 * 2**30  # bytes
STATM = Path("/proc/self/statm")  # what the program has taken, in pages: Linux


class _TooLong(BaseException):
    """No Exception, which could be taken for a fault of one file."""


@contextmanager
def limited(seconds: float = MOST_SECONDS, memory: int = MOST_MEMORY) -> Iterator[None]:
    """Limit what is done within, in the main thread of a program; not on Windows, and memory on Linux alone.

    Args:
        seconds: of computing; those of waiting, and of other programs, do not count.
        memory: bytes beside what the program has taken already.

    Raises:
        RefusedError: it takes more.
    """
    if sys.platform == "win32":
        yield
        return
    import resource

    def end(*_: object) -> None:
        raise _TooLong

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = [*(one for one in (soft, hard) if one != resource.RLIM_INFINITY)]
    if STATM.exists():
        most.append(int(STATM.read_text().split()[0]) * resource.getpagesize() + memory)
    handler = signal.signal(signal.SIGPROF, end)
    resource.setrlimit(resource.RLIMIT_AS, (min(most, default=resource.RLIM_INFINITY), hard))
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)  # again, as what is raised in a finaliser is lost
    try:
        yield
    except _TooLong as error:
        raise RefusedError(f"it takes more than {seconds:.0f} seconds of computing to look through") from error
    except MemoryError as error:
        raise RefusedError(f"it takes more than {memory} bytes of memory to look through") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
