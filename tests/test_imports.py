"""Modules can be imported in any order and without what Windows lacks, and packages import only those below them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lgg_monai

# Each may import from those before it, be it at the top of a module or in a function.
LAYERS = (
    *("single modules", "data", "networks", "drawing", "transforms", "engines", "dicom", "sharing.inspect"),
    *("viewer", "prediction", "analysis", "crossval", "robustness", "sharing", "commands", "the way in"),
)

IMPORTED_ANEW = """
import importlib, json, pkgutil, sys, types
import lgg_monai
names = [module.name for module in pkgutil.walk_packages(lgg_monai.__path__, "lgg_monai.")]
names.remove("lgg_monai.__main__")
assert len(names) > 100

def forget():
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == "lgg_monai"]:
        del sys.modules[loaded]

def failure(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        return [f"{name}: {error}"]
    return []

alone = []
for name in names:
    forget()
    alone += failure(name)
forget()
sys.modules |= dict.fromkeys(["fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"])
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
sys.platform = "win32"
print(json.dumps({"alone": alone, "on Windows": [line for name in names for line in failure(name)]}))
"""


@pytest.fixture(scope="module")
def failures() -> dict[str, list[str]]:
    """Import all modules in a process of its own; what others need is loaded by the time that it plays Windows."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED_ANEW]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("how", ["alone", "on Windows"])
def test_every_module_can_be_imported(failures: dict[str, list[str]], how: str) -> None:
    assert failures[how] == []


def layer_of(module: str) -> str:
    """The layer of a module that is named without the package's own name."""
    if module in ("", "__main__", "cli"):
        return "the way in"
    packages = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    return max(packages, key=len, default="single modules")


def imported(file: Path) -> Iterator[str]:
    """The modules of this package that a file imports anywhere; a name that is no module counts as its module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_packages_import_only_those_below_them() -> None:
    root = Path(lgg_monai.__file__).parent
    packages = {file.parent.name for file in root.glob("*/__init__.py")}
    assert packages <= set(LAYERS)
    upward = []
    for file in root.rglob("*.py"):
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        for name in imported(file):
            package, _, target = name.partition(".")
            if package == "lgg_monai" and target and LAYERS.index(layer_of(target)) > LAYERS.index(layer_of(module)):
                upward.append(f"{module} imports {target}")
    assert upward == []
