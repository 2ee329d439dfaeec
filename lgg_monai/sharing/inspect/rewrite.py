"""How a module of this package becomes a script of a packaged bundle: one rule for the packager and the inspector."""

from __future__ import annotations

import re

_PACKAGE = re.compile(r"\blgg_monai\b")


def rewrite_imports(source: str) -> str:
    """Replace the package name `lgg_monai` by `scripts`, the folder a bundle carries its own modules in.

    Args:
        source: text of a Python module or of a configuration.

    Returns:
        the same text with the package name replaced in imports and dotted names (`lgg_monai.x` becomes `scripts.x`).
    """
    return _PACKAGE.sub("scripts", source)
