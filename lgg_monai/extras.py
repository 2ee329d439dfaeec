"""Packages that only parts of this one need."""

from __future__ import annotations

from importlib.util import find_spec

from lgg_monai.errors import LggError


def require_packages(extra: str, *names: str, what: str, instead: str = "") -> None:
    """Refuse to begin where a package of an extra is not installed.

    Args:
        extra: of pyproject.toml.
        names: of packages in it, as they are imported.
        what: needs them, for the message.
        instead: another way, for the message.

    Raises:
        LggError: names the first that is not installed, and how to install it.
    """
    missing = next((name for name in names if find_spec(name) is None), None)
    if missing is not None:
        install = f"pip install --constraint constraints.txt --editable '.[{extra}]' in the repository's root"
        raise LggError(f"{missing} is not installed, which {what} needs: {install}{instead}")
