"""What the inspector says about one thing in a bundle, and how bad that is."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from enum import IntEnum

LONGEST = 160  # characters of a bundle's own text that a report repeats


class Grade(IntEnum):
    """How bad a finding is; the worst one is the bundle's, and the command's exit code."""

    EXPECTED = 0
    NOTE = 1
    DANGEROUS = 2

    @property
    def label(self) -> str:
        """The word for it in reports."""
        return self.name.lower()


class RefusedError(Exception):
    """A bundle, or a file of it, that cannot be looked into safely; the message says why."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing found in a bundle.

    Attributes:
        file: path inside the bundle; empty for the bundle as a whole.
        line: from 1 up; 0 where there are no lines.
        kind: such as expression, target, import, script, weights, archive, manifest.
        text: what was found, as it stands there.
        grade: how bad it is.
        reason: why it has that grade.
    """

    file: str
    line: int
    kind: str
    text: str
    grade: Grade
    reason: str

    def as_dict(self) -> dict[str, str | int]:
        """The finding for JSON."""
        return asdict(self) | {"grade": self.grade.label}


def shown(text: object, longest: int = LONGEST) -> str:
    """Text of a bundle, safe to print: on one line, cut, without control or invisible characters.

    A terminal obeys escape sequences, and right-to-left marks make a line read otherwise than it runs.
    """
    raw = str(text)
    cut = raw[:longest] + ("…" if len(raw) > longest else "")
    return "".join(
        char if char == " " or unicodedata.category(char)[0] not in "CZ" else char.encode("unicode_escape").decode()
        for char in cut
    )
