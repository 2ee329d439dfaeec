"""A bundle's `scripts/`: this package's modules that its configs need, found by following imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import lgg_monai
from lgg_monai.errors import LggError
from lgg_monai.sharing.inspect.rewrite import rewrite_imports

ROOT = Path(lgg_monai.__file__).parent
INIT = '"""What this bundle needs beyond MONAI; see docs/README.md."""\n'
_SCRIPT = re.compile(r"\bscripts((?:\.\w+)+)")


def modules_named(texts: Iterable[str]) -> set[str]:
    """List the modules of this package that flattened configs name as ``scripts.<module>.<object>``."""
    return {"lgg_monai" + name.rpartition(".")[0] for text in texts for name in _SCRIPT.findall(text)}


def closure(modules: Iterable[str]) -> list[str]:
    """Add the modules that modules import, and those that these import, sorted by name.

    Raises:
        LggError: a module imports from a package, whose re-exports a bundle does not carry.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module)
    return sorted(found)


def script_files(modules: Iterable[str]) -> dict[str, str]:
    """Give path and text of every file of ``scripts/`` for these modules and all that they import.

    Packages are left bare: what they re-export would pull in everything.
    """
    files = {}
    for module in closure(modules):
        parts = module.split(".")[1:]
        files["scripts/" + "/".join(parts) + ".py"] = rewrite_imports(_path(module).read_text(encoding="utf-8"))
        for depth in range(len(parts)):
            files["/".join(["scripts", *parts[:depth], "__init__.py"])] = INIT
    return dict(sorted(files.items()))


def _imports(module: str) -> list[str]:
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lgg_monai"):
            # `from package import module`, or `from module import name`
            found += [
                name if _is_module(name := f"{node.module}.{alias.name}") else node.module for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("lgg_monai")]
    packages = [name for name in found if not _is_module(name)]
    if packages:
        raise LggError(f"{module} imports from the package {packages[0]}: import from the module that defines it")
    return found


def _is_module(name: str) -> bool:
    return _path(name).is_file()


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
