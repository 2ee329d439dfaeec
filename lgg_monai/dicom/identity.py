"""Keeping who a patient is out of whatever is shown or logged."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from lgg_monai.data.file_names import composed
from lgg_monai.dicom import tags

HIDDEN = "***"
UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}
"""As they are spelt by devices, and in folders' names, that know ASCII alone."""
_lock, _silence, _inside = threading.Lock(), ExitStack(), 0  # of `quietly`


Person = tuple[str, str]


@dataclass(frozen=True)
class Identity:
    """What must not be shown of one patient.

    Args:
        person: digests of name and number and of the birth date, empty without one; they tell patients apart, and
            nothing else. See `are_several`.
        words: patterns of the parts of the name and of the birth date.
    """

    person: Person
    words: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, header: Dataset) -> Identity:
        """Take it from a header with PatientName, PatientID and PatientBirthDate, where they are given."""
        name, number, born = (
            tags.text(header, keyword) for keyword in ("PatientName", "PatientID", "PatientBirthDate")
        )
        digits = re.sub(r"\D", "", born)
        person = _digest(f"{_spelt_alike(name)}\n{number}"), _digest(digits or born) if born else ""
        if tags.text(header, "PatientIdentityRemoved").upper() == "YES":
            return cls(person)
        words = {_pattern(part) for part in re.split(r"[\W_]+", composed(name)) if len(part) > 1 or _caseless(part)}
        if len(digits) == 8:
            words |= _date_patterns(digits[:4], digits[4:6], digits[6:])
        # The longest first, lest a shorter one that is part of it leave the rest.
        return cls(person, tuple(sorted(words, key=lambda word: (-len(word), word))))

    def hide(self, text: str) -> str:
        """Return ``text`` on one line, with everything that is the patient's replaced."""
        text = composed(text)
        for word in self.words:
            text = re.sub(word, HIDDEN, text, flags=re.IGNORECASE)
        return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())

    def nearest_neutral(self, path: Path) -> Path:
        """Return the deepest folder above or at ``path`` whose whole path does not name the patient."""
        folders = (path, *path.parents)
        return next(folder for folder in folders if self.hide(str(folder)) == " ".join(composed(str(folder)).split()))


def are_several(people: Iterable[Person]) -> bool:
    """Tell whether these are more than one patient; a birth date that is left out agrees with any."""
    named, births = (set(digests) for digests in zip(*people, strict=True))
    return len(named) > 1 or len(births - {""}) > 1


def same_person(patient_id: str, people: Iterable[Person]) -> str:
    """Return what is equal for studies of one person: of PatientID where there is one, as a name is spelt in many ways.

    Args:
        patient_id: of a study.
        people: in its files.

    Returns:
        A digest; empty where neither name nor number is given.
    """
    if patient_id:
        return _digest(patient_id)
    return next((name for name, _ in people if name != _digest("\n")), "")


def pseudonym(study_uid: str) -> str:
    """Name a study by a digest of its StudyInstanceUID: the same on every run, and no clue to the patient."""
    return f"study-{_digest(study_uid)[:8]}"


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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _spelt_alike(name: str) -> str:
    """Return the first form of a name that is given, without case, blanks, umlauts and a last ^, as devices differ."""
    form = next((form for form in composed(name).split("=") if form.strip("^ ")), "")
    form = form.casefold()
    for letter, spelt in UMLAUTS.items():
        form = form.replace(letter, spelt)
    return "^".join(" ".join(part.split()) for part in form.split("^")).rstrip("^")


def _pattern(part: str) -> str:
    """Return what finds a part of a name.

    A short one may be a syllable of another word ("Li" of "Axial Lid"), so it counts as a whole word only. But Chinese,
    Japanese and Korean names have short parts, and no blanks between them. Umlauts may be spelt out.
    """
    escaped = re.escape(part)
    for letter, spelt in UMLAUTS.items():
        escaped = re.sub(f"{letter}|{spelt}", f"(?:{letter}|{spelt})", escaped, flags=re.IGNORECASE)
    return escaped if len(part) > 3 or _caseless(part) else rf"(?<![^\W_]){escaped}(?![^\W_])"


def _date_patterns(year: str, month: str, day: str) -> set[str]:
    """Return what finds a date as DICOM writes it, and as people do: day or month first, with or without zeros."""
    short_day, short_month = (re.sub("^0", "0?", number) for number in (day, month))
    return {
        rf"{year}\D?{month}\D?{day}",
        rf"(?<!\d){short_day}\D{{0,2}}{short_month}\D{{0,2}}{year}(?!\d)",
        rf"(?<!\d){short_month}\D{{0,2}}{short_day}\D{{0,2}}{year}(?!\d)",
    }


def _caseless(word: str) -> bool:
    """Tell letters of scripts without capitals, such as Chinese, Japanese and Korean."""
    return any(unicodedata.category(letter) == "Lo" for letter in word)
