"""Reads what modules bind at their top level, from installed packages' source files, importing none of them."""

from __future__ import annotations

import ast
import importlib.machinery
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

LONGEST_SOURCE = 4 * 2**20
_DEFINITION = re.compile(r"^(?:class|def)\s+([A-Za-z]\w*)", re.MULTILINE)
_ALIASES = re.compile(r"^((?:[A-Za-z]\w*\s*=\s*)+)([A-Za-z]\w*)\s*$", re.MULTILINE)
PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)
DEEPEST_CODE = 250  # levels; each takes up to three calls to grade, of which Python allows 1000

# What a name in a module is bound to: ("def", ""), ("import", dotted name), ("value", "").
Binding = tuple[str, str]


def parsed(text: str, mode: Literal["exec", "eval"] = "exec") -> ast.AST:
    """Parse Python code that is to be walked, with one of ``PARSE_ERRORS`` where it is nested too deeply for that."""
    tree: ast.AST = ast.parse(text, mode=mode)
    level = [tree]
    for _ in range(DEEPEST_CODE):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise RecursionError("nested too deeply")


def bindings(text: str, package: bool, module: str) -> dict[str, Binding]:
    """What the top level of a module binds, by name; star imports are kept under keys that begin with a star."""
    try:
        tree = ast.parse(text)
    except PARSE_ERRORS:
        return {}
    table: dict[str, Binding] = {}
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            table[node.name] = ("def", "")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                table[bound] = ("import", alias.name if alias.asname else bound)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node, module, package)
            for alias in node.names:
                key = f"*{origin}" if alias.name == "*" else alias.asname or alias.name
                table[key] = ("import", origin if alias.name == "*" else f"{origin}.{alias.name}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name, binding in _assigned(target, node.value, module):
                    table.setdefault(name, binding)
        else:
            for field in ("body", "orelse", "finalbody"):
                pending.extend(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                pending.extend(handler.body)
    return table


def absolute(node: ast.ImportFrom, module: str, package: bool) -> str:
    """The dotted name that a `from` import in ``module`` means, relative ones included."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _assigned(target: ast.expr, value: ast.expr | None, module: str) -> list[tuple[str, Binding]]:
    names = [node for node in ast.walk(target) if isinstance(node, ast.Name)]
    bound: Binding = ("value", "")
    if isinstance(value, ast.Name):
        bound = ("import", f"{module}.{value.id}")
    elif isinstance(value, ast.Attribute):
        bound = ("import", _dotted(value, module) or "")
        bound = bound if bound[1] else ("value", "")
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "optional_import":
        bound = ("import", ".".join(filter(None, optional_import(value))) or "unknown")
    return [(name.id, bound if index == 0 else ("value", "")) for index, name in enumerate(names)]


def optional_import(call: ast.Call) -> tuple[str, str]:
    """The module, and the thing in it or nothing, of `optional_import("module", name="thing")` as MONAI has it.

    Both are empty unless they stand there as texts and no argument but the version is given beside them.
    """
    given = dict(zip(("module", "version", "version_checker", "name"), call.args, strict=False))
    given |= {word.arg or "": word.value for word in call.keywords}
    checker = given.pop("version_checker", ast.Name("min_version"))
    plain = [isinstance(given.pop("version", ast.Constant("")), ast.Constant | ast.Attribute)]
    plain += [isinstance(checker, ast.Name) and checker.id in ("min_version", "exact_version"), len(call.args) <= 4]
    match given.pop("module", None), given.pop("name", ast.Constant("")):
        case ast.Constant(value=str(module)), ast.Constant(value=str(name)) if all(plain) and not given:
            if all(part.isidentifier() for part in [*module.split("."), name or "x"]):
                return module, name
    return "", ""


def _dotted(node: ast.expr, module: str) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([module, node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


@lru_cache(maxsize=4096)
def installed_source(module: str) -> tuple[str, bool] | None:
    """The text of an installed module and whether it is a package; None if there is none, or it is compiled."""
    path = _installed_path(module)
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8"), path.name == "__init__.py"
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=4096)
def is_compiled(module: str) -> bool:
    """Whether a name is that of an installed module without source."""
    head, *rest = module.split(".")
    root = package_root(head)
    if root is None or not rest or not all(part.isidentifier() for part in rest):
        return False
    place = root.joinpath(*rest)
    return any(place.with_name(place.name + suffix).is_file() for suffix in importlib.machinery.EXTENSION_SUFFIXES)


@lru_cache(maxsize=4096)
def installed_bindings(module: str) -> dict[str, Binding]:
    """What the top level of an installed module binds."""
    source = installed_source(module)
    return bindings(*source, module) if source else {}


def _installed_path(module: str) -> Path | None:
    head, *rest = module.split(".")
    root = package_root(head)
    if root is None or not all(part.isidentifier() for part in rest):
        return None
    if root.is_file():
        return None if rest else root
    folder = root.joinpath(*rest)
    for path in (folder / "__init__.py", folder.with_name(folder.name + ".py")):
        if path.is_file() and path.stat().st_size <= LONGEST_SOURCE and (rest or path.parent == root):
            return path
    return None


@lru_cache(maxsize=256)
def package_root(name: str) -> Path | None:
    """The folder of an installed package, or the file of an installed module; None where it has no source."""
    # Not importlib.util.find_spec: that would import parents. The working directory could be the bundle itself.
    search = [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]
    if name == "lgg_monai":
        return Path(__file__).resolve().parents[2]
    try:
        spec = importlib.machinery.PathFinder.find_spec(name, search)
    except (ImportError, ValueError, OSError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    return path.parent if path.name == "__init__.py" else path


@lru_cache(maxsize=1)
def monai_components() -> dict[str, tuple[str, ...]]:
    """Every class and function of MONAI by its bare name, as `_target_: UNet` finds them: the modules that have it."""
    root = package_root("monai")
    table: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")) if root else []:
        parts = path.relative_to(root.parent).with_suffix("").parts  # type: ignore[union-attr]
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8", errors="replace")
        names = set(_DEFINITION.findall(text))
        for aliases, target in _ALIASES.findall(text):
            if target in names:
                names.update(alias.strip() for alias in aliases.split("=") if alias.strip())
        for name in names:
            table.setdefault(name, []).append(module)
    return {name: tuple(modules) for name, modules in table.items()}
