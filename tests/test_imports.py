"""Modules do not import one another in a circle, in whatever order they are first asked for."""

from __future__ import annotations

import subprocess
import sys

EACH_ALONE = """
import importlib, pkgutil, sys
import lgg_monai
names = [module.name for module in pkgutil.walk_packages(lgg_monai.__path__, "lgg_monai.")]
names.remove("lgg_monai.__main__")
failed = []
for name in names:
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == "lgg_monai"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed.append(f"{name}: {error}")
assert len(names) > 100
sys.exit("; ".join(failed) or 0)
"""


def test_every_module_can_be_the_first_to_be_imported() -> None:
    command = [sys.executable, "-W", "ignore", "-c", EACH_ALONE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
