"""Grades import statements by what they make reachable."""

from __future__ import annotations

import ast
from collections.abc import Collection

from lgg_monai.sharing.inspect import policy
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.names import Remark
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.sources import optional_import

_OPTIONAL = "optional_import"  # of MONAI: `thing, has_it = optional_import("module", name="thing")`


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
    if module in policy.IMPORTABLE_WITH_A_NOTE:
        return N, f"{module}: much of it is dangerous; each use is graded by itself"
    return (
        grade,
        f"{module} reaches files, processes, network, environment or code"
        if grade == D
        else f"{module} may read and write files",
    )


class _OptionalImports(ast.NodeTransformer):
    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.AST]:
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id=bound), flag])], value=ast.Call(func=ast.Name(id=name))
            ):
                module, thing = optional_import(node.value) if name == _OPTIONAL else ("", "")  # type: ignore[arg-type]
                if module:
                    alias = ast.alias(thing or module, bound)
                    statement = ast.ImportFrom(module, [alias], 0) if thing else ast.Import([alias])
                    rest = [ast.Assign([flag], ast.Constant(True)), *map(ast.Expr, node.value.args[1:2])]  # type: ignore[attr-defined]
                    return [ast.fix_missing_locations(ast.copy_location(part, node)) for part in (statement, *rest)]
        return node


def read_optional_imports(tree: ast.AST, bound: Collection[str]) -> None:
    """Put import statements in place of MONAI's optional imports in a script, where nothing of them is computed.

    Args:
        tree: of the script.
        bound: the names that the script gives a value by other means than an import.
    """
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if getattr(node, "module", "") in ("monai.utils", "monai.utils.module")]
    others = {name for node in imports if node not in ours for name, _ in imported(node)}
    renamed = any(alias.name == _OPTIONAL and alias.asname for node in ours for alias in node.names)
    if renamed or {_OPTIONAL, "*"} & {*bound, *others}:
        return  # what has that name may be another function, and this one may have another name
    _OptionalImports().visit(tree)
    if not any(isinstance(node, ast.Name) and node.id == _OPTIONAL for node in ast.walk(tree)):
        for node in ours:
            node.names = [alias for alias in node.names if alias.name != _OPTIONAL] or [ast.alias("min_version")]
