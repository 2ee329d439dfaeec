"""A bundle's `scripts/`: this package's modules that its configs need, found by following imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import lgg_monai
from lgg_monai.errors import LggError
from lgg_monai.sharing.inspect.scripts import rewrite_imports

ROOT = Path(lgg_monai.__file__).parent
INIT = '"""What this bundle needs beyond MONAI; see docs/README.md."""\n'
_SCRIPT = re.compile(r"\bscripts((?:\.\w+)+)")
_TARGET = re.compile(r"""_target_["']?:\s*["']?((\w+)(?:\.\w+)+)""")
_ANYWHERE = ("monai", "torch", "scripts")  # that a receiver has, and modules that come along


def modules_named(texts: Iterable[str]) -> set[str]:
    """List the modules of this package that flattened configs name as ``scripts.<module>.<object>``."""
    return {"lgg_monai" + name.rpartition(".")[0] for text in texts for name in _SCRIPT.findall(text)}


def require_received(texts: Iterable[str], packages: Collection[str]) -> None:
    """Refuse components that a receiver would lack, such as a network of one's own outside this package.

    Args:
        texts: of flattened configs.
        packages: that ``metadata.json`` tells a receiver to install, beside MONAI and PyTorch.

    Raises:
        LggError: names the first of them.
    """
    targets = dict(found for text in texts for found in _TARGET.findall(text))
    unknown = {name: module for name, module in targets.items() if module not in _ANYWHERE}
    installed = packages_distributions() if unknown else {}
    asked_for = {_normal(package) for package in packages}
    for name, module in unknown.items():
        if asked_for.isdisjoint(map(_normal, installed.get(module, []))):
            raise LggError(
                f"{name} would not be in the package: move its file into lgg_monai/, or name the package that it is of "
                "under required_packages_version in metadata.json"
            )


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


def _normal(package: str) -> str:
    """Write a package's name in the one way that all its spellings stand for."""
    return re.sub(r"[-_.]+", "-", package).lower()


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
