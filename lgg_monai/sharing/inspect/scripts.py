"""Grades the Python files of a bundle by their syntax trees; copies of this package's own modules are recognised."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from lgg_monai import __version__
from lgg_monai.sharing.inspect.expressions import CodeGrader
from lgg_monai.sharing.inspect.findings import Finding, RefusedError, shown
from lgg_monai.sharing.inspect.imports import import_remarks, imported, read_optional_imports
from lgg_monai.sharing.inspect.names import Names, Remark, odd_names, worst
from lgg_monai.sharing.inspect.policy import D, E, N, graded, words
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS, absolute, package_root, parsed

LARGEST_SCRIPT = 2 * 2**20  # bytes
PACKAGE = "lgg_monai"
_PACKAGE_NAME = re.compile(rf"\b{PACKAGE}\b")
_MESSAGE = "lgg-monai: error: "
FOLDER = "scripts"  # where a bundle carries copies of this package's modules
_STARTUP = {"sitecustomize", "usercustomize"}  # Python imports them by itself if it finds them
_ENCODINGS = {"utf-8", "utf-8-sig", "ascii", "iso-8859-1"}
_PICKLING = words("__reduce__ __reduce_ex__ __setstate__ __getstate__ __class_getitem__ __init_subclass__ __set_name__")


def module_name(path: str) -> tuple[str, bool]:
    """The dotted name by which a file is imported with the bundle's root on the path, and whether it is a package."""
    parts = PurePosixPath(path).with_suffix("").parts
    package = parts[-1] == "__init__"
    return ".".join(parts[:-1] if package else parts), package


def read_script(data: bytes) -> str:
    """The text that Python would run.

    Raises:
        RefusedError: the file declares an encoding that hides its text, or is not text.
    """
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        if encoding not in _ENCODINGS:
            raise RefusedError(f"is written in the encoding {shown(encoding)}, which can hide what it does")
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (SyntaxError, UnicodeDecodeError) as error:
        raise RefusedError(f"is not readable as Python: {shown(error, 80)}") from error


def rewrite_imports(source: str) -> str:
    """Write a module of this package as a script of a bundle, one rule for the packager and the inspector.

    ``lgg_monai.x`` becomes ``scripts.x``, the folder a bundle carries its own modules in, and messages begin as those
    of a bundle's configs do: whoever receives it does not have the command `lgg-monai`.
    """
    return _PACKAGE_NAME.sub("scripts", source).replace(_MESSAGE, "error: ")


def fingerprint(text: str) -> str:
    """SHA-256 of a module's text, whatever its line ends and trailing spaces."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return hashlib.sha256("\n".join(lines).strip().encode()).hexdigest()


@lru_cache(maxsize=1)
def known_fingerprints() -> dict[str, str]:
    """What this package's modules look like as scripts of a bundle: fingerprint by dotted name without the package."""
    root = Path(__file__).resolve().parents[2]
    known = {}
    for path in sorted(root.rglob("*.py")):
        name, _ = module_name(path.relative_to(root).as_posix())
        known[name] = fingerprint(rewrite_imports(path.read_text(encoding="utf-8")))
    return known


def recognised(texts: Mapping[str, str]) -> dict[str, str]:
    """Which scripts of a bundle equal this package's modules of the same name: dotted name there and here."""
    found = {}
    for path, text in texts.items():
        name, _ = module_name(path)
        if name == FOLDER or name.startswith(FOLDER + "."):
            inner = name[len(FOLDER) + 1 :]
            if known_fingerprints().get(inner) == fingerprint(text):
                found[name] = f"{PACKAGE}.{inner}" if inner else PACKAGE
    return found


def defined_attributes(texts: Iterable[str]) -> set[str]:
    """Attributes and methods that the bundle's own scripts define."""
    found: set[str] = set()
    for text in texts:
        try:
            tree = ast.parse(text)
        except PARSE_ERRORS:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.ClassDef | ast.Module):
                found |= {
                    name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                }
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def shadowing(paths: Iterable[str]) -> list[Finding]:
    """Modules at the bundle's root that Python would find by itself, or instead of installed ones of the same name."""
    findings = []
    for root in sorted({path.split("/")[0] for path in paths if path.endswith(".py")}):
        name = root.removesuffix(".py")
        if name == FOLDER:
            continue
        if name in _STARTUP:
            findings.append(Finding(root, 0, "script", name, D, "Python runs it whenever it starts"))
        elif name in sys.stdlib_module_names or graded(name) is not None or package_root(name) is not None:
            findings.append(Finding(root, 0, "script", name, D, f"takes the place of the installed module {name}"))
    return findings


def grade_script(path: str, text: str, resolver: Resolver, attributes: set[str]) -> list[Finding]:
    """Grade a script: one finding for it, one for each import, one for each thing in it that is not expected."""
    name, package = module_name(path)
    origin = resolver.known.get(name)
    if origin is not None:
        return [Finding(path, 0, "script", path, E, f"equal to {origin} of lgg_monai {__version__}")]
    try:
        tree = parsed(text)
    except PARSE_ERRORS as error:
        reason = f"not Python that can be inspected ({type(error).__name__})"
        return [Finding(path, getattr(error, "lineno", 0) or 0, "script", path, D, reason)]
    bound = _bound(tree)
    read_optional_imports(tree, bound)
    findings: list[Finding] = []
    aliases: dict[str, set[str]] = {}
    remarks: list[Remark] = odd_names(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = absolute(node, name, package) if isinstance(node, ast.ImportFrom) else None
            grade, reason = worst(import_remarks(node, resolver, base, True), "known")
            findings.append(Finding(path, node.lineno, "import", shown(ast.unparse(node)), grade, reason))
            for alias, target in imported(node, base):
                starred = resolver.exported(base or "") if alias == "*" else set()
                for one in starred or {alias}:
                    aliases.setdefault(one, set()).add(f"{base}.{one}" if starred else target)
        elif isinstance(node, ast.ClassDef):
            held = [(one.lineno, ast.unparse(one)) for one in _in_body(node)]
            remarks += [Remark(line, code, D, "a class that holds what it imports") for line, code in held]
        elif isinstance(node, ast.FunctionDef) and node.name in _PICKLING:
            remarks.append(Remark(node.lineno, node.name, N, "a special method that runs unseen"))
    lazy = "__future__.annotations" in aliases.get("annotations", ())
    names = Names(resolver, aliases, bound, attributes, script=True, lazy=lazy)
    _WithoutImports().visit(tree)  # which are findings of their own; what is left is graded by its names
    remarks += CodeGrader(names).grade(tree)
    for remark in sorted(set(remarks), key=lambda one: (one.line, one.text)):
        findings.append(Finding(path, remark.line, "code", shown(remark.text), remark.grade, remark.reason))
    inner = name.removeprefix(FOLDER + ".")
    other = f"; not as in lgg_monai {__version__}" if name.startswith(FOLDER) and inner in known_fingerprints() else ""
    reason = f"{text.count(chr(10)) + 1} lines of the bundle's own code, graded below{other}"
    findings.insert(0, Finding(path, 0, "script", path, E, reason))
    return findings


def _in_body(node: ast.ClassDef) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that bind attributes of a class."""
    pending: list[ast.AST] = [*node.body]
    while pending:
        part = pending.pop()
        if isinstance(part, ast.Import | ast.ImportFrom):
            yield part
        elif not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(part))


def _bound(tree: ast.AST) -> set[str]:
    """Every name that a script gives a value somewhere."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


class _WithoutImports(ast.NodeTransformer):
    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)
