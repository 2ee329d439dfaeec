"""How a module of this package becomes a script of a packaged bundle: one rule for the packager and the inspector."""

from __future__ import annotations

import re

_PACKAGE = re.compile(r"\blgg_monai\b")
_MESSAGE = "lgg-monai: error: "


def rewrite_imports(source: str) -> str:
    """Replace the package name `lgg_monai` by `scripts`, the folder a bundle carries its own modules in.

    Messages begin as those of a bundle's configs do: whoever receives it does not have the command `lgg-monai`.

    Args:
        source: text of a Python module or of a configuration.

    Returns:
        the same text with the package name replaced in imports and dotted names (`lgg_monai.x` becomes `scripts.x`),
        and without the command's name in front of messages.
    """
    return _PACKAGE.sub("scripts", source).replace(_MESSAGE, "error: ")
