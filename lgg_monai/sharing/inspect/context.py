"""What all configs of a bundle say together: every value with its id, what is imported, and what is copied."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import PurePosixPath

from lgg_monai.sharing.inspect import policy
from lgg_monai.sharing.inspect.configs import Item
from lgg_monai.sharing.inspect.imports import imported
from lgg_monai.sharing.inspect.names import Names
from lgg_monai.sharing.inspect.references import (
    SEPARATOR,
    absolute,
    and_above,
    any_index,
    canonical,
    macro,
    normalised,
    unnumbered,
    with_copies,
)
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS

LONGEST_EXPRESSION = 5000  # characters
LONGEST_MACRO = 500
METADATA = "_meta_"
DEFAULT_NAMES = {"monai": {"monai"}, "torch": {"torch"}, "np": {"numpy"}, "numpy": {"numpy"}}  # MONAI gives them
_PLAIN_KEY = re.compile(r"\+?[\w. -]+(?:(?:#|::)[\w. -]+)*")
_CONFIG_NAME = re.compile(r"\.(json|ya?ml)\b", re.IGNORECASE)


@dataclass
class Place:
    """A value of a config and where it stands: its file, its id and its key."""

    file: str
    id: str
    key: str
    item: Item


@dataclass
class Context:
    """What all configs of a bundle say together, which decides what a name in one of them means.

    Attributes:
        names: for the expressions.
        paths: of all files in the bundle.
        texts: every text by its id, of all configs, a star for each index.
        copied: the parts that macros copy: file, or nothing for any, and id.
        changes: whether a key changes a part that another key or file has.
        odd_keys: keys that are not plain names, by which a relative reference could become code.
    """

    names: Names
    paths: set[str]
    texts: dict[str, set[str]] = field(default_factory=dict)
    copied: set[tuple[str, str]] = field(default_factory=set)
    changes: bool = False

    odd_keys: list[str] = field(default_factory=list)

    @cached_property
    def configs(self) -> set[str]:
        """The names of the bundle's configs, without their folders."""
        return {PurePosixPath(path).name for path in self.paths if policy.CONFIG_FILE.fullmatch(path)}


def places(file: str, item: Item, here: str = "", key: str = "") -> Iterator[Place]:
    """Every value of a config with its id, the config itself first."""
    yield Place(file, here, key, item)
    children = [(name.text, value) for name, value in item.pairs]
    children += [(str(index), value) for index, value in enumerate(item.items)]
    for name, value in children:
        inner = SEPARATOR.join(part for part in (here, canonical(name.removeprefix("+"))) if part)
        yield from places(file, value, inner, key if item.kind == "list" else name)


def understand(configs: Mapping[str, Item], resolver: Resolver, paths: set[str], attributes: set[str]) -> Context:
    """Read all configs of a bundle once: what they import, and by which ids modules can be reached."""
    aliases: dict[str, set[str]] = {name: set(origins) for name, origins in DEFAULT_NAMES.items()}
    context = Context(Names(resolver, aliases, attributes=attributes), paths)
    modules: set[str] = set()
    macros: list[tuple[str, str]] = []
    for file, root in configs.items():
        context.changes |= any(key.text.startswith("+") or SEPARATOR in normalised(key.text) for key, _ in root.pairs)
        # MONAI puts the file that it takes for the metadata under an id of its own.
        for place in chain(places(file, root), places(file, root, METADATA)):
            if place.item.kind == "map" and not is_manifest(file, root):
                odd = [key.text for key, _ in place.item.pairs if not _plain_key(key.text)]
                context.odd_keys.extend(odd)
            text = place.item.text if place.item.kind == "text" else ""
            if text:
                context.texts.setdefault(any_index(place.id), set()).add(text)
            if text.startswith("$"):
                statement = import_of(text[1:])
                for name, origin in imported(statement) if statement else []:
                    aliases.setdefault(name, set()).add(origin)
                    modules.add(unnumbered(place.id))
            elif text.startswith("%") and len(text) <= LONGEST_MACRO:
                path, there = macro(made_absolute(text, place.id))
                macros.append((unnumbered(place.id), there))
                context.copied.add((path, any_index(there)))
    context.names.modules = with_copies(modules, list(dict.fromkeys(macros)))  # a list of copies has one id
    context.names.holders = {above for module in context.names.modules for above in and_above(module)}
    return context


def _plain_key(key: str) -> bool:
    return _PLAIN_KEY.fullmatch(key) is not None and _CONFIG_NAME.search(key) is None


def is_manifest(file: str, root: Item) -> bool:
    """Whether a file is a manifest, whose keys are names of files."""
    files = root.get("files")
    return file == "manifest.json" and files is not None and files.kind == "map"


def made_absolute(text: str, here: str) -> str:
    """Replace relative ids by absolute ones, as far as they refer to something in the config."""
    try:
        return absolute(text, here)
    except ValueError:
        return normalised(text)


def import_of(text: str) -> ast.Import | ast.ImportFrom | None:
    """The import statement that MONAI reads from an expression: its first statement, if it is one."""
    try:
        body = ast.parse(text[:LONGEST_EXPRESSION]).body
    except PARSE_ERRORS:
        return None
    return body[0] if body and isinstance(body[0], ast.Import | ast.ImportFrom) else None
