"""Grades import statements by what they make reachable."""

from __future__ import annotations

import ast

from lgg_monai.sharing.inspect import policy
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.names import Remark
from lgg_monai.sharing.inspect.policy import D, E
from lgg_monai.sharing.inspect.resolve import Resolver


def imported(node: ast.Import | ast.ImportFrom, origin: str | None = None) -> list[tuple[str, str]]:
    """The names that an import statement binds, and what they stand for."""
    if isinstance(node, ast.Import):
        return [
            (alias.asname or alias.name.split(".")[0], alias.name if alias.asname else alias.name.split(".")[0])
            for alias in node.names
        ]
    base = origin if origin is not None else "." * node.level + (node.module or "")
    return [(alias.asname or alias.name, f"{base}.{alias.name}") for alias in node.names]


def import_remarks(
    node: ast.Import | ast.ImportFrom, resolver: Resolver, origin: str | None, script: bool
) -> list[Remark]:
    """Grade an import statement by what it makes reachable."""
    if isinstance(node, ast.Import):
        wanted = [(alias.name, grade_import(alias.name, resolver)) for alias in node.names]
    else:
        base = origin or "." * node.level + (node.module or "")
        wanted = []
        for alias in node.names:
            if alias.name == "*":
                own = resolver.is_own(base)
                wanted.append((f"{base}.*", (E if own and script else D, f"everything of {base}")))
                continue
            name = f"{base}.{alias.name}"
            module = resolver.is_module(name) and grade_import(base, resolver)[0] != D
            wanted.append((name, grade_import(name, resolver) if module else resolver.grade(name)))
    return [Remark(node.lineno, name, *verdict) for name, verdict in wanted if verdict[0] != E]


def grade_import(module: str, resolver: Resolver) -> tuple[Grade, str]:
    """Grade the import of a module: harmless where each use of it is graded again."""
    root = module.split(".")[0]
    if resolver.is_own(root):
        return (E, "the bundle's own") if resolver.is_module(module) else (D, f"{module}: not in this bundle")
    grade = policy.graded(module)
    if grade is None:
        return D, f"{module}: not known to be harmless"
    if root in policy.IMPORTABLE and (grade != D or module in policy.IMPORTABLE):
        return E, "each use is graded"
    return (
        grade,
        f"{module} reaches files, processes, network, environment or code"
        if grade == D
        else f"{module} may read and write files",
    )
