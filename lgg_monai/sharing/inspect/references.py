"""What MONAI makes of a config's texts before it evaluates them, so that the code that runs is graded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

REFERENCES = "__local_refs"  # what MONAI replaces `@id` by
# As monai.bundle.ReferenceResolver and ConfigParser have them.
_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
_RELATIVE = re.compile(r"(?:@|%)(?:::)+")
_FILE = re.compile(r"(.*\.(json|yaml|yml)(?=(?:::.*)|$))", re.IGNORECASE)
SEPARATOR = "::"
_RENAMED = {"optional_packages_version": "required_packages_version"}
MOST_MODULES = 20_000  # ids by which imported modules are followed


def normalised(text: str) -> str:
    """`#` and `::` are the same to MONAI, in every text: a comment in an expression may be none."""
    return text.replace("#", SEPARATOR)


def canonical(place: str) -> str:
    """An id as MONAI looks it up: it strips every part, and gives one its new name."""
    parts = [part.strip() for part in normalised(place).split(SEPARATOR)]
    return SEPARATOR.join(_RENAMED.get(part, part) for part in parts)


def and_above(place: str) -> Iterator[str]:
    """An id and all above it, up to that of the whole config, which is empty."""
    while place:
        yield place
        place = place.rpartition(SEPARATOR)[0]
    yield ""


def unnumbered(place: str) -> str:
    """An id up to its first index: MONAI also finds an entry by -1 or +0, and a list may grow by merging."""
    parts = place.split(SEPARATOR)
    for count, part in enumerate(parts):
        try:
            int(part)
        except ValueError:
            continue
        return SEPARATOR.join(parts[:count]) or place
    return place


def any_index(place: str) -> str:
    """An id with a star for each index: -1 or +0 is an entry too, and merging moves them."""
    parts = place.split(SEPARATOR)
    for count, part in enumerate(parts):
        with suppress(ValueError):
            int(part)
            parts[count] = "*"
    return SEPARATOR.join(parts)


def is_relative(text: str) -> bool:
    """Whether a text refers to a place relative to its own, and so has the keys above it written into it."""
    return _RELATIVE.search(normalised(text)) is not None


def absolute(text: str, place: str) -> str:
    """Replace relative ids by absolute ones, as `ConfigParser.resolve_relative_ids` does.

    Raises:
        ValueError: the text refers to something above the config.
    """
    value = normalised(text)
    here = place.split(SEPARATOR)
    for prefix in sorted(set(_RELATIVE.findall(value)), reverse=True):
        symbol = "@" if "@" in prefix else "%"
        length = prefix[1:].count(SEPARATOR)
        if length > len(here):
            raise ValueError("refers to something above the config")
        above = "" if length == len(here) else SEPARATOR.join(here[:-length]) + SEPARATOR
        value = value.replace(prefix, symbol + above)
    return value


def code(text: str) -> str:
    """The Python text that MONAI evaluates for a `$` expression, references replaced as `update_refs_pattern` does.

    The replacement also happens inside quotes, where it ends the string: what looks like text can become code.
    """
    value = normalised(text)
    for item in sorted(_REFERENCE.findall(value), key=len, reverse=True):
        value = value.replace(item, f"{REFERENCES}['{item[1:]}']")
    return value[1:]


def references(text: str) -> list[str]:
    """The ids that a text refers to: of an expression all, of another text the one that it consists of."""
    value = normalised(text)
    found = _REFERENCE.findall(value)
    return [item[1:] for item in found if value.startswith("$") or value == item]


def macro(text: str) -> tuple[str, str]:
    """The file and the id that a text `%file::id` stands for; either may be empty."""
    value = normalised(text)[1:]
    match = _FILE.findall(value)
    if not match:
        return "", canonical(value)
    path = match[0][0]
    return path, canonical(value.rsplit(path, 1)[1].removeprefix(SEPARATOR))


def with_copies(modules: set[str], macros: list[tuple[str, str]]) -> set[str]:
    """The ids below which imported modules lie, and those of their copies.

    Args:
        modules: ids below which the import statements stand, as `unnumbered` gives them.
        macros: of each, the id where it stands, and the id of what it copies.
    """
    found = set(modules)
    for _ in range(6):
        below: dict[str, list[str]] = {}
        for module in found:
            for above in and_above(module):
                below.setdefault(above, []).append(module)
        for here, there in macros:
            if any(one in found for one in and_above(there)):
                found.add(here)
            inside = [module.removeprefix(there).removeprefix(SEPARATOR) for module in below.get(there, [])]
            found.update(unnumbered(f"{here}{SEPARATOR}{module}") for module in inside if module)
            if len(found) > MOST_MODULES:
                return {""}  # any reference may reach one
    return found
