"""How far long work is, where nobody watches a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Progress = Callable[[int, int, str], object]
"""Called with the patients done, their number, and the name of the next, or of the last where one is told after it."""
Member = TypeVar("Member")


def followed(members: Sequence[Member], progress: Progress | None, name: Callable[[Member], str]) -> Iterator[Member]:
    """Give one patient after the other, and tell of each before it is given.

    Args:
        members: the patients.
        progress: is told; None for nobody.
        name: of a patient.
    """
    for done, member in enumerate(members):
        if progress is not None:
            progress(done, len(members), name(member))
        yield member


class ProgressLines:
    """Say how many patients are done: once every so often, so that work is not taken for a hang.

    Args:
        say: prints or logs a line.
        seconds: from one line to the next; the first comes so long after the start.
        clock: tells the time in seconds.
    """

    def __init__(
        self, say: Callable[[str], object], seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.say = say
        self.seconds = seconds
        self.clock = clock
        self.last = clock()

    def __call__(self, done: int, total: int, name: str) -> None:
        """Take note that `done` of `total` patients are done, and the next is `name`."""
        now = self.clock()
        if now - self.last >= self.seconds:
            self.last = now
            self.say(f"{done} of {total} patients done, {name} next")
