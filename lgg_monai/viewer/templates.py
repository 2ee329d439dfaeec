"""What the project's pages share: the frame, the style, and how values are written."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2

from lgg_monai.words import counted

SHARED = Path(__file__).parent


def page_environment(folder: Path) -> jinja2.Environment:
    """Load templates from ``folder``, and ``base.html.j2`` and ``style.css`` from here.

    Everything is escaped, as names of runs and patients come from outside.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, SHARED]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["counted"] = counted
    return environment


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Format a number; None is a dash."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''},.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def interval(bounds: Sequence[float] | None, signed: bool = False) -> str:
    """Format an interval; None is nothing."""
    return "" if bounds is None else " to ".join(number(bound, signed=signed) for bound in bounds)


def data_uri(content: bytes, kind: str) -> str:
    """Put a file into an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
