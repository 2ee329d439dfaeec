"""Every module can be imported: in whatever order they are first asked for, and without what Windows lacks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
