"""Long work says how far it is, and not too often."""

from __future__ import annotations

from lgg_monai.progress import ProgressLines


def test_progress_is_told_once_a_minute() -> None:
    seconds = iter([0.0, 20.0, 61.0, 100.0, 121.0, 200.0])
    said: list[str] = []
    lines = ProgressLines(said.append, seconds=60, clock=lambda: next(seconds))
    for done, name in enumerate(("a", "b", "c", "d", "e")):
        lines(done, 5, name)
    assert said == ["1 of 5 patients done, b next", "3 of 5 patients done, d next", "4 of 5 patients done, e next"]
