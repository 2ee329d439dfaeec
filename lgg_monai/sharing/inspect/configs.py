"""Reads JSON and YAML configs into trees that know their lines, without constructing anything."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]

import yaml

from lgg_monai.sharing.inspect.findings import RefusedError, shown

LARGEST_CONFIG = 8 * 2**20  # bytes
MOST_ITEMS = 200_000  # values, aliases followed
DEEPEST = 60
_SPACE = re.compile(r"[ \t\n\r]*")
_OTHER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|NaN|-?Infinity")
_SAFE_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp")
}
_MERGE = "tag:yaml.org,2002:merge"
_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}


@dataclass
class Item:
    """A value of a config.

    Attributes:
        line: where it begins, from 1 up.
        kind: map, list, text, or other for numbers, truth values and nothing.
        text: of a text or other value, as it stands there.
        pairs: of a map: key and value, duplicates included.
        items: of a list.
        notes: what is odd about it: (line, text, whether it is dangerous).
        shared: whether it is a map or list that stands in several places by YAML's aliases.
    """

    line: int
    kind: str
    text: str = ""
    pairs: list[tuple[Item, Item]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    notes: list[tuple[int, str, bool]] = field(default_factory=list)
    shared: bool = False

    def get(self, key: str) -> Item | None:
        """The last value of a map under ``key``, which is the one that counts."""
        return next((value for name, value in reversed(self.pairs) if name.text == key), None)

    def plain(self) -> object:
        """A text, True, False, or None for any other value."""
        if self.kind == "other":
            word = self.text.lower()
            return True if word in _TRUE else False if word in _FALSE else None
        return self.text if self.kind == "text" else None


def read_config(data: bytes, yaml_syntax: bool) -> Item:
    """Read a config.

    Raises:
        RefusedError: it is not sound JSON or YAML, or cannot be read safely.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError("not UTF-8 text") from error
    # As Python's text mode, which MONAI reads configs in.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        item = _read_yaml(text) if yaml_syntax else _Json(text).read()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise RefusedError(f"not sound YAML{where}: {shown(getattr(error, 'problem', None) or error, 80)}") from error
    except json.JSONDecodeError as error:
        raise RefusedError(f"not sound JSON: {shown(error, 80)}") from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"cannot be read: {shown(error, 80) or 'nested too deeply'}") from error
    _count(item)
    return item


def _count(item: Item, before: int = 0, depth: int = 0) -> int:
    """Count the values, aliases followed; stops with an error instead of counting for ever."""
    count = before + 1
    if count > MOST_ITEMS or depth > DEEPEST:
        raise RefusedError("aliases that refer to aliases (a bomb), or nesting that is too deep")
    for child in [*item.items, *(part for pair in item.pairs for part in pair)]:
        count = _count(child, count, depth + 1)
    return count


def _read_yaml(text: str) -> Item:
    node = yaml.compose(text, Loader=yaml.SafeLoader)  # nodes only: no tag is acted upon
    if node is None:
        return Item(1, "other", "null")
    return _from_node(node, {}, [0], 0)


def _from_node(node: yaml.Node, known: dict[int, Item], merged: list[int], depth: int) -> Item:
    if id(node) in known:
        known[id(node)].shared = not isinstance(node, yaml.ScalarNode)
        return known[id(node)]
    if depth > DEEPEST:
        raise RefusedError("nested too deeply")
    line = node.start_mark.line + 1
    kind = {yaml.MappingNode: "map", yaml.SequenceNode: "list"}.get(type(node), "text")
    item = known[id(node)] = Item(line, kind)
    if node.tag not in _SAFE_TAGS:
        item.notes.append((line, f"tag {shown(node.tag)}", True))
    if isinstance(node, yaml.ScalarNode):
        item.text = node.value
        item.kind = "text" if node.tag not in _SAFE_TAGS or node.tag.endswith(":str") else "other"
    elif isinstance(node, yaml.SequenceNode):
        item.items = [_from_node(child, known, merged, depth + 1) for child in node.value]
    else:
        inherited: list[tuple[Item, Item]] = []
        for key_node, value_node in node.value:
            key, value = (_from_node(part, known, merged, depth + 1) for part in (key_node, value_node))
            if key_node.tag == _MERGE:  # its pairs are this map's own, so that they have ids of it
                for part in reversed(value.items or [value]):
                    merged[0] += len(part.pairs)
                    if merged[0] > MOST_ITEMS:
                        raise RefusedError("merges of merges (a bomb)")
                    inherited += part.pairs
            else:
                item.pairs.append((key, value))
                item.notes += key.notes
        _note_duplicates(item)
        item.pairs = inherited + item.pairs
    return item


def _note_duplicates(item: Item) -> None:
    seen: set[str] = set()
    for key, _ in item.pairs:
        if key.kind in ("text", "other"):
            if key.text in seen:
                item.notes.append((key.line, f"key {shown(key.text)} is there twice: only the last one counts", False))
            seen.add(key.text)


class _Json:
    """The grammar of Python's json module, with lines."""

    def __init__(self, text: str):
        self.text = text
        self.lines = [match.end() for match in re.finditer("\n", text)]

    def read(self) -> Item:
        item, position = self._value(self._skip(0), 0)
        position = self._skip(position)
        if position != len(self.text):
            raise json.JSONDecodeError("something after the end", self.text, position)
        return item

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position

    def _line(self, position: int) -> int:
        return bisect.bisect_right(self.lines, position) + 1

    def _value(self, position: int, depth: int) -> tuple[Item, int]:
        if depth > DEEPEST:
            raise RefusedError("nested too deeply")
        start = self.text[position : position + 1]
        if start == '"':
            value, end = scanstring(self.text, position + 1, True)
            return Item(self._line(position), "text", value), end
        if start in ("{", "["):
            return self._container(position, depth, "}" if start == "{" else "]")
        match = _OTHER.match(self.text, position)
        if not match:
            raise json.JSONDecodeError("not a value", self.text, position)
        return Item(self._line(position), "other", match.group()), match.end()

    def _container(self, position: int, depth: int, close: str) -> tuple[Item, int]:
        item = Item(self._line(position), "map" if close == "}" else "list")
        position = self._skip(position + 1)
        if self.text[position : position + 1] == close:
            return item, position + 1
        while True:
            child, position = self._value(position, depth + 1)
            position = self._skip(position)
            if close == "}":
                if child.kind != "text" or self.text[position : position + 1] != ":":
                    raise json.JSONDecodeError("not a key", self.text, position)
                value, position = self._value(self._skip(position + 1), depth + 1)
                item.pairs.append((child, value))
                position = self._skip(position)
            else:
                item.items.append(child)
            mark = self.text[position : position + 1]
            position = self._skip(position + 1)
            if mark == close:
                _note_duplicates(item)
                return item, position
            if mark != ",":
                raise json.JSONDecodeError("no comma", self.text, position)
