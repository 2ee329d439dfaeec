"""Reading ahead of the network and writing behind it, with a bounded number of scans in memory."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Any],
    work: Callable[[Any], Any],
    write: Callable[[Item, Any], Any],
    readers: int,
    writers: int,
) -> Iterator[tuple[Item, Future]]:
    """Read items, work on them one after the other in this thread, and write them, reading and writing beside the work.

    At most ``readers`` items are read ahead, one is worked on, and ``writers`` are being written or wait for it. When
    the caller stops, what was not begun is dropped, and what is being written is finished first.

    Args:
        items: in the order in which they are worked on.
        read: called by a thread.
        work: takes what ``read`` returned.
        write: called by a thread with the item and what ``work`` returned.
        readers: threads for reading.
        writers: threads for writing.

    Yields:
        Each item, in order and when it is done, with a future of what ``write`` returned; it raises what any of the
        three raised.
    """
    pools = (ThreadPoolExecutor(readers, "read"), ThreadPoolExecutor(writers, "write"))
    written: deque[tuple[Item, Future]] = deque()
    try:
        for item, reading in _ahead(items, read, pools[0], readers):
            result = _worked(work, reading)
            # Before more is written: the caller may want to stop.
            while written and (len(written) >= writers or written[0][1].done()):
                yield _done(written.popleft())
            written.append((item, result if isinstance(result, Future) else pools[1].submit(write, item, result)))
            del reading, result  # or they would be held while the next item is worked on
        while written:
            yield _done(written.popleft())
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Ignore warnings of libraries that our threads ignore here and there.

    Warning filters are the process's: a thread that sets them back would else show what another has just ignored, and
    pydicom's warnings may name the patient.
    """
    with warnings.catch_warnings():
        for library in ("monai", "PIL", "pydicom", "highdicom"):
            warnings.filterwarnings("ignore", module=rf"{library}\b")
        yield


def _ahead(
    items: Iterable[Item], read: Callable[[Item], Any], pool: ThreadPoolExecutor, most: int
) -> Iterator[tuple[Item, Future]]:
    waiting: deque[tuple[Item, Future]] = deque()
    for item in items:
        waiting.append((item, pool.submit(read, item)))
        if len(waiting) > most:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _done(entry: tuple[Item, Future]) -> tuple[Item, Future]:
    wait([entry[1]])
    return entry


def _worked(work: Callable[[Any], Any], reading: Future) -> Any:
    """Return what ``work`` makes of what was read, or a future of what went wrong."""
    try:
        return work(reading.result())
    except Exception as error:
        failed: Future = Future()
        failed.set_exception(error)
        return failed
