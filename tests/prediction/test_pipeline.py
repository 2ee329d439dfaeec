"""Reading ahead and writing behind: in order, bounded, and whatever fails fails alone."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from lgg_monai.prediction.pipeline import overlapped


def test_everything_is_written_in_order_while_the_next_is_worked_on() -> None:
    working = threading.Event()

    def work(item: int) -> int:
        if item > 0:
            working.set()
        return item * 10

    def write(item: int, result: int) -> tuple[int, int]:
        # The first is held up until the second is worked on: without a thread of its own this would never end.
        assert working.wait(30)
        return item, result

    pairs = [
        (item, future.result()) for item, future in overlapped(range(5), lambda i: i, work, write, readers=2, writers=1)
    ]
    assert pairs == [(item, (item, item * 10)) for item in range(5)]


@pytest.mark.parametrize(("readers", "writers"), [(1, 1), (3, 2)])
def test_no_more_is_held_than_was_said(readers: int, writers: int) -> None:
    held: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def count(**changes: int) -> None:
        with lock:
            held.update(changes)
            for name in held:
                most[name] = max(most[name], held[name])

    def read(item: int) -> int:
        count(read=1)
        return item

    def work(item: int) -> int:
        count(read=-1, drawn=1)
        return item

    for _ in overlapped(range(30), read, work, lambda *_: count(drawn=-1), readers=readers, writers=writers):
        pass
    assert held == Counter(read=0, drawn=0)
    assert 0 < most["read"] <= readers + 1
    assert 0 < most["drawn"] <= writers + 1


@pytest.mark.parametrize("stage", ["read", "work", "write"])
def test_what_fails_fails_alone(stage: str) -> None:
    def at(name: str) -> Any:
        def step(*arguments: int) -> int:
            if name == stage and arguments[0] == 2:
                raise ValueError(f"{name} failed")
            return arguments[0]

        return step

    found: list[Any] = []
    for item, future in overlapped(range(4), at("read"), at("work"), at("write"), readers=1, writers=1):
        error = future.exception()
        found.append(item if error is None else f"{item}: {error}")
    assert found == [0, 1, f"2: {stage} failed", 3]


def test_a_caller_that_stops_lets_begun_writing_end_and_begins_no_other() -> None:
    begun, ended, go = [], [], threading.Event()

    def write(item: int, _: Any) -> None:
        begun.append(item)
        if item > 0:
            assert go.wait(30)
        ended.append(item)

    results = overlapped(range(20), lambda i: i, lambda i: i, write, readers=1, writers=1)
    next(results)
    threading.Timer(0.05, go.set).start()
    results.close()
    assert begun == ended
    assert len(begun) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read_", "write_"))]
