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
_MARKS = "[\u0300-\u036f]"
_UNMARKED = str.maketrans({"æ": "a", "œ": "o", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})
"""Letters that Unicode does not take apart into one of ASCII and marks."""
# What a letter may stand for where a name is written as it is, or in ASCII alone: Müller, Mueller or Muller.
_SPELT = {
    "a": f"(?:a{_MARKS}*+[ae]?|æ)",
    "o": f"(?:[oø]{_MARKS}*+e?|œ)",
    "u": f"u{_MARKS}*+e?",
    "d": f"[dđ]{_MARKS}*+",
    "l": f"[lł]{_MARKS}*+",
    "ss": f"(?:s{_MARKS}*+s{_MARKS}*+|ß)",
}
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
        text = unicodedata.normalize("NFD", text)
        for word in self.words:
            text = re.sub(word, HIDDEN, text, flags=re.IGNORECASE)
        return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", composed(text)).split())

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
    """Return the first form of a name that is given, without case, blanks, accents and a last ^, as devices differ."""
    form = next((form for form in name.split("=") if form.strip("^ ")), "")
    return "^".join(" ".join(part.split()) for part in _plain(form).split("^")).rstrip("^")


def _plain(name: str) -> str:
    """Return what is left of a name in every spelling, in lower case: accents and umlauts as their first letter."""
    letters = re.sub(_MARKS, "", unicodedata.normalize("NFD", name.casefold())).translate(_UNMARKED)
    return re.sub("(?<=[aou])e|(?<=a)a", "", letters)


def _pattern(part: str) -> str:
    """Return what finds a part of a name in text whose accents are apart from their letters, however it is spelt.

    A short one may be a syllable of another word ("Li" of "Axial Lid"), so it counts as a whole word only. But Chinese,
    Japanese and Korean names have short parts, and no blanks between them.
    """
    letters = re.findall("ss|.", _plain(part))
    spelt = "".join(_SPELT.get(letter) or re.escape(letter) + f"{_MARKS}*+" for letter in letters)
    return spelt if len(letters) > 3 or _caseless(part) else rf"(?<![^\W_]){spelt}(?![^\W_])"


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
