"""How far long work is, where nobody watches a bar."""

from __future__ import annotations

import time
from collections.abc import Callable


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
