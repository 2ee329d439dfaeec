"""The report as one HTML file that needs no network: every picture is inside it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lgg_monai.analysis.cost import QUANTITIES
from lgg_monai.analysis.figures import DARK, Plot, render
from lgg_monai.analysis.findings import format_p, format_seconds
from lgg_monai.analysis.pictures import CITATION, PictureRow
from lgg_monai.analysis.speed import SERIES
from lgg_monai.data.people import PUBLISHED, scans_of
from lgg_monai.engines.summary import METRICS
from lgg_monai.viewer.templates import data_uri, interval, number, page_environment

TEMPLATE = "report.html.j2"


def render_page(content: Mapping[str, Any], plots: Sequence[Plot], pictures: Sequence[PictureRow], folder: Path) -> str:
    """Fill the template.

    Args:
        content: what :func:`lgg_monai.analysis.comparison.collect` returned.
        plots: the sheet of all curves first, which the page leaves out as it shows each curve.
        pictures: rows of slices, whose files lie in ``folder``.
        folder: where the report is being written, with the plots on white in it already.
    """
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {
        "number": number,
        "signed": functools.partial(number, signed=True),
        "interval": interval,
        "duration": lambda seconds: "not reached" if seconds is None else format_seconds(seconds),
        "p": lambda p: "–" if p is None else format_p(p),
    }
    published = any(name.startswith(PUBLISHED) for name in content["quality"].get("patients", []))
    shown = [_embedded(plot, folder, content["stamp"]) for plot in plots[1:]]
    return environment.get_template(TEMPLATE).render(
        content=content,
        runs=content["runs"],
        quality=content["quality"],
        curves=[plot for plot in shown if plot["name"].startswith("curve_")],
        quality_plots=[plot for plot in shown if not plot["name"].startswith("curve_")],
        pictures=[
            {
                "title": row.title,
                "tiles": [
                    {"caption": tile.caption, "source": data_uri((folder / tile.file).read_bytes(), "image/png")}
                    for tile in row.tiles
                ],
            }
            for row in pictures
        ],
        citation=CITATION if published else "",
        quantities=QUANTITIES,
        metrics=list(METRICS),
        series=SERIES,
        scans_of=scans_of,
    )


def _embedded(plot: Plot, folder: Path, stamp: str) -> dict[str, str]:
    return {
        "name": plot.name,
        "title": plot.title,
        "description": plot.description,
        "light": data_uri((folder / "plots" / f"{plot.name}.svg").read_bytes(), "image/svg+xml"),
        "dark": data_uri(render(plot, DARK, "svg", stamp), "image/svg+xml"),
    }
