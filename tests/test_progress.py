"""Long work says how far it is, and not too often."""

from __future__ import annotations

from lgg_monai.progress import ProgressLines, followed


def test_progress_is_told_once_a_minute() -> None:
    seconds = iter([0.0, 20.0, 61.0, 100.0, 121.0, 200.0])
    said: list[str] = []
    lines = ProgressLines(said.append, seconds=60, clock=lambda: next(seconds))
    for done, name in enumerate(("a", "b", "c", "d", "e")):
        lines(done, 5, name)
    assert said == ["1 of 5 patients done, b next", "3 of 5 patients done, d next", "4 of 5 patients done, e next"]


def test_each_patient_is_told_before_it_is_worked_on() -> None:
    told: list[object] = []
    for member in followed(["a", "b"], lambda *words: told.append(words), str.upper):
        told.append(member)
    assert told == [(0, 2, "A"), "a", (1, 2, "B"), "b"]
    assert list(followed([1, 2], None, str)) == [1, 2]
