"""Keeping who a patient is out of whatever is shown or logged."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

HIDDEN = "***"
_lock, _silence, _inside = threading.Lock(), ExitStack(), 0  # of `quietly`


@dataclass(frozen=True)
class Identity:
    """What must not be shown of one patient.

    Args:
        person: a digest that tells patients apart, and nothing else.
        words: patterns of the parts of the name and of the birth date.
    """

    person: str
    words: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, header: Dataset) -> Identity:
        """Take it from a header with PatientName, PatientID and PatientBirthDate, where they are given."""
        name, number, born = (_text(header, tag) for tag in ("PatientName", "PatientID", "PatientBirthDate"))
        person = hashlib.sha256("\n".join((name, number, born)).encode()).hexdigest()
        if _text(header, "PatientIdentityRemoved").upper() == "YES":
            return cls(person)
        parts = {re.escape(part) for part in re.split(r"[\W_]+", name) if len(part) > 1}
        # A short part may be a syllable of another word ("Li" of "Axial Lid"), so it counts as a whole word only.
        words = [part if len(part) > 3 else rf"(?<![^\W_]){part}(?![^\W_])" for part in parts]
        if re.fullmatch(r"\d{8}", born):
            words.append(rf"{born[:4]}\D?{born[4:6]}\D?{born[6:]}")
        return cls(person, tuple(sorted(words)))

    def hide(self, text: str) -> str:
        """Return ``text`` on one line, with everything that is the patient's replaced."""
        for word in self.words:
            text = re.sub(word, HIDDEN, text, flags=re.IGNORECASE)
        return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())

    def nearest_neutral(self, path: Path) -> Path:
        """Return the deepest folder above or at ``path`` whose whole path does not name the patient."""
        return next(
            folder for folder in (path, *path.parents) if self.hide(str(folder)) == " ".join(str(folder).split())
        )


def pseudonym(study_uid: str) -> str:
    """Name a study by a digest of its StudyInstanceUID: the same on every run, and no clue to the patient."""
    return f"study-{hashlib.sha256(study_uid.encode()).hexdigest()[:8]}"


@contextmanager
def quietly() -> Iterator[None]:
    """Silence what pydicom and highdicom say of unusual values, as they quote the values.

    Loggers and warning filters are the process's: of several threads the first one in silences, the last one out
    undoes it.
    """
    global _inside
    with _lock:
        if _inside == 0:
            _silence.enter_context(_silenced())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _silence.close()


@contextmanager
def _silenced() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()
