"""Plots as PNG and SVG, light for files and in both themes for the page; no window system is needed."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of a plot.

    Args:
        paper: behind everything.
        ink: text and axes.
        grid: lines behind the data.
        stamp: a word such as ``PHANTOM``.
        runs: one a run; line styles tell further ones apart.
    """

    paper: str
    ink: str
    grid: str
    stamp: str
    runs: tuple[str, ...]


LIGHT = Theme("#ffffff", "#22272e", "#d9dde3", "#a85b00", ("#1663a8", "#c8501b", "#1d8661", "#8a4bad", "#6b6b14"))
DARK = Theme("#171b21", "#d7dce3", "#343b45", "#ffbe3c", ("#62b0ff", "#ff935c", "#4fd1a1", "#cf9bf0", "#cfcf52"))
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
WIDTH, HEIGHT = 4.6, 3.2  # inches of one panel
DPI = 120
LABEL_WIDTH = 26  # characters of a run's name in a line

Draw = Callable[[Axes, Theme], None]


@dataclass(frozen=True)
class Plot:
    """A plot that can be drawn in any theme.

    Args:
        name: of its files, without suffix.
        title: above it.
        description: for those who cannot see it.
        panels: one drawing each.
        columns: panels in a row.
    """

    name: str
    title: str
    description: str
    panels: tuple[Draw, ...]
    columns: int = 1


def render(plot: Plot, theme: Theme, kind: str, stamp: str = "") -> bytes:
    """Draw a plot.

    Args:
        plot: what to draw.
        theme: its colours.
        kind: ``png`` or ``svg``. The same numbers give the same bytes.
        stamp: words printed on it, such as ``PHANTOM``.
    """
    settings: dict[Any, Any] = {
        "font.size": 9.5,
        "svg.hashsalt": plot.name,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.ink,
        "axes.facecolor": theme.paper,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        # A run's name is text, never mathematics.
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        rows = -(-len(plot.panels) // plot.columns)
        figure = Figure(figsize=(WIDTH * plot.columns, HEIGHT * rows), layout="constrained", facecolor=theme.paper)
        axes = figure.subplots(rows, plot.columns, squeeze=False)
        for axis, draw in zip(axes.flat, plot.panels, strict=False):
            draw(axis, theme)
            if stamp:
                axis.set_title(stamp, loc="right", color=theme.stamp, fontsize=8.5, fontweight="bold")
        for axis in axes.flat[len(plot.panels) :]:
            axis.set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def save_plot(folder: Path, plot: Plot, stamp: str = "") -> None:
    """Write ``<name>.png`` and ``<name>.svg`` on white."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        (folder / f"{plot.name}.{kind}").write_bytes(render(plot, LIGHT, kind, stamp))


def wrapped(label: str) -> str:
    """Break a run's name into lines of about the same length that a panel has room for."""
    lines = math.ceil(len(label) / LABEL_WIDTH)
    return textwrap.fill(label, math.ceil(len(label) / lines))


def run_colour(theme: Theme, number: int) -> str:
    """Give a run's colour."""
    return theme.runs[number % len(theme.runs)]


def run_marker(number: int) -> str:
    """Give a run's marker, for those who do not see its colour."""
    return MARKERS[number % len(MARKERS)]


def run_line(number: int) -> str:
    """Give a run's line style."""
    return LINES[number % len(LINES)]
