"""Grades a logging configuration, which Python's logging module evaluates as code."""

from __future__ import annotations

import ast
import configparser
import re

from lgg_monai.sharing.inspect.findings import Finding, Grade, shown
from lgg_monai.sharing.inspect.policy import CONFIG_FILE, PROGRAM_FILE, D, E, N
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS, parsed

_EVALUATED = ("args", "kwargs", "defaults")
_HARMLESS = {"StreamHandler", "NullHandler", "Formatter", "BufferingFormatter"}
_FILES = {"FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler"}
_STREAMS = {"sys.stdout", "sys.stderr"}


def grade_logging(file: str, data: bytes) -> list[Finding]:
    """Grade what `logging.config.fileConfig` would evaluate or open."""
    parser = configparser.RawConfigParser(strict=True)
    try:
        text = data.decode("utf-8")
        parser.read_string(text)
    except (UnicodeDecodeError, configparser.Error) as error:
        return [Finding(file, 0, "logging", "", D, f"cannot be read: {shown(error, 80)}")]
    findings = []
    for section in [*parser.sections(), parser.default_section]:
        options = dict(parser.items(section)) if section in parser else {}
        handler = options.get("class", "").strip()
        for name, value in options.items():
            grade, reason = E, ""
            if name in ("class", *_EVALUATED) and "%" in value:
                grade, reason = D, "put together from other options before it is evaluated"
            elif name == "class":
                grade, reason = _class(value.strip())
            elif name in _EVALUATED:
                grade, reason = _literal(value.strip(), handler)
            else:
                continue
            shown_text = f"[{shown(section, 40)}] {name}={shown(value)}"
            findings.append(Finding(file, _line(text, name, value), "logging", shown_text, grade, reason))
    return sorted(set(findings))


def _class(value: str) -> tuple[Grade, str]:
    name = value.rsplit(".", 1)[-1]
    if not value:
        return E, "the default"
    if value not in (name, f"logging.{name}", f"handlers.{name}", f"logging.handlers.{name}"):
        return D, "not a class of Python's logging"
    if name in _HARMLESS:
        return E, "writes to the terminal"
    return (N, "writes to a file") if name in _FILES else (D, "not a harmless class of Python's logging")


def _literal(value: str, handler: str) -> tuple[Grade, str]:
    if not value:
        return E, "none"
    try:
        tree = parsed(value, "eval")
    except PARSE_ERRORS:
        return D, "cannot be read as Python"
    texts = []
    pending = [*ast.iter_child_nodes(tree)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Tuple | ast.List | ast.Dict | ast.Set):
            pending += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.Load)]
        elif isinstance(node, ast.Constant):
            texts += [node.value] if isinstance(node.value, str) else []
            texts += [node.value.decode("latin-1")] if isinstance(node.value, bytes) else []
        elif ast.unparse(node) not in _STREAMS:
            return D, "evaluated as code: more than literals and the standard streams"
    if handler.rsplit(".", 1)[-1] in _FILES:
        if any(re.match(r"[/~\\]|[A-Za-z]:", one) or ".." in one for one in texts):
            return D, "writes to a file outside the working directory"
        if any(PROGRAM_FILE.fullmatch(one) or CONFIG_FILE.fullmatch(one) for one in texts):
            return D, "writes texts of its choice to a file that a program may read"
        return N, "names a file that is written"
    return E, "literals"


def _line(text: str, name: str, value: str) -> int:
    first = value.splitlines()[0].strip() if value.strip() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*{re.escape(name)}\s*[=:]", line, re.IGNORECASE) and first in line:
            return number
    return 0
