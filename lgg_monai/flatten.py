"""From the repository's configs, which draw on each other, to configs that stand alone; comments are kept."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from lgg_monai.errors import LggError

# One line of YAML whose value is a reference: `key: "%file::id" # comment`, or an item of a list alike.
_REFERENCE = re.compile(
    r"""^(?P<indent>\s*)(?P<dash>-\s+)?(?P<key>[^\s"'%]+:)?\s*"%(?P<file>[^:"]+)::(?P<id>[^"]+)"\s*(?P<comment>\#.*)?$"""
)
_OWN_NAME = re.compile(r"\blgg_monai(?:\.\w+)+")


def flatten(text: str, aliases: Mapping[str, str]) -> str:
    """Replace every ``%file::id`` of a YAML config by the text that it stands for.

    Args:
        text: of the config.
        aliases: names that stand for a file in ``%NAME::id``; all other files are relative to the working directory.

    Returns:
        The text of a YAML config without ``%``; comments of the parts drawn in come along.

    Raises:
        LggError: a file or an id in it is missing, or a file is not YAML.
    """
    lines = []
    for line in text.splitlines():
        match = _REFERENCE.match(line)
        if match is None:
            lines.append(line)
            continue
        path = Path(aliases.get(match["file"], match["file"]))
        lines.append(_insert(match, flatten(_fragment(path, match["id"]), aliases)))
    return "\n".join(lines) + "\n"


def read_text(path: Path) -> str:
    """Read a source file of the repository.

    Raises:
        LggError: it is missing here.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LggError(f"cannot read {path} ({reason}): run this in the repository's root") from error


def own_names_to_scripts(text: str) -> str:
    """Write ``lgg_monai.x.Name`` as ``scripts.x.module.Name``, with the module that defines it.

    A packaged bundle carries modules, and not what their packages re-export.
    """
    return _OWN_NAME.sub(lambda match: _defined_in(match[0]).replace("lgg_monai", "scripts", 1), text)


def parse(text: str) -> dict[str, Any]:
    """Read a flattened config as MONAI would."""
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _insert(match: re.Match[str], fragment: str) -> str:
    """Put a fragment where its reference stood, indented to fit."""
    lead = match["indent"] + (match["dash"] or "")
    fragment = fragment.rstrip("\n")
    comment = f" {match['comment']}" if match["comment"] else ""
    node = yaml.compose(fragment, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.ScalarNode) or (isinstance(node, yaml.CollectionNode) and node.flow_style):
        return f"{lead}{match['key'] + ' ' if match['key'] else ''}{fragment}{comment}"
    deeper = " " * (len(lead) + 2)
    if match["key"]:
        return f"{lead}{match['key']}{comment}\n" + indent(fragment, deeper)
    # An item of a list: its first line stands beside the dash.
    return lead + indent(fragment, " " * len(lead)).lstrip() + comment


def _fragment(path: Path, identifier: str) -> str:
    """Cut the text of one value out of a YAML file, comments included."""
    text = read_text(path)
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise LggError(f"{path} is not valid YAML ({' '.join(str(error).split())[:200]}): correct it") from error
    for step in identifier.split("#"):
        node = _child(node, step)
        if node is None:
            raise LggError(f"no {identifier} in {path}, which a packaged config draws on: restore it there")
    if isinstance(node, yaml.ScalarNode):
        return text[node.start_mark.index : node.end_mark.index]
    column = node.start_mark.column
    lines = text[node.start_mark.index - column : node.end_mark.index].splitlines()
    while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
        lines.pop()  # what follows the value belongs to the next one
    return "\n".join(line[column:] for line in lines)


def _child(node: Any, step: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)]
    return None


def _defined_in(name: str) -> str:
    """Give the full name of an object by the module that defines it."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
        return f"{found.__module__}.{found.__qualname__}"
    except (ImportError, AttributeError) as error:
        raise LggError(f"no {name}, which a packaged config names: correct the config") from error
