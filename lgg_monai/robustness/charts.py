"""What is plotted of these analyses: differences by degradation, reliability, uncertainty against Dice, referral."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgg_monai.robustness.calibration import BAND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lgg_monai.analysis.figures import Draw, Plot, Theme

ROWS = 14  # of degradations in one panel
Rows = Sequence[Mapping[str, Any]]


def draw(folder: Path, plot: Plot, phantom: bool) -> None:
    """Write a plot as PNG and SVG, stamped where it shows synthetic patients."""
    from lgg_monai.analysis.figures import save_plot

    save_plot(folder, plot, "PHANTOM" if phantom else "")


def robustness_chart(table: Rows) -> Plot:
    """Plot each degradation's difference to the clean scans with its interval."""
    from lgg_monai.analysis.figures import Plot

    rows = list(table[1:])
    known = [row[key] for row in rows for key in ("difference", "low", "high") if row[key] is not None]
    lowest, highest = min([-0.05, *known]), max([0.02, *known])
    margin = 0.03 * (highest - lowest)
    limits = (lowest - margin, highest + margin)
    panels = tuple(_differences(rows[start : start + ROWS], limits) for start in range(0, len(rows), ROWS))
    title = "volume Dice degraded minus clean scans, 95 % interval over patients"
    return Plot("robustness", "robustness", title, panels, columns=min(2, len(panels)))


def trust_chart(content: Mapping[str, Any], rows: Rows) -> Plot:
    """Plot reliability, the flips' disagreement against Dice, and what referral gains."""
    from lgg_monai.analysis.figures import Plot

    panels = (_reliability(content), _scatter(rows), _referral(content["uncertainty"]))
    title = "reliability diagram; disagreement of the mirror image against Dice; mean Dice as patients are referred"
    return Plot("calibration", "calibration and uncertainty", title, panels, columns=3)


def error_chart(table: Rows) -> Plot:
    """Plot what mending each type of error would bring, both sides of each kind apart and together."""
    from lgg_monai.analysis.figures import Plot

    sides = [row for row in table if "_" in row["errors"]]
    both = [row for row in table if "_" not in row["errors"]]
    highest = max([0.01, *(row["high"] if row["high"] is not None else row["gain"] for row in table)])
    titled = {"missed and added apart": sides, "missed and added together": both}
    panels = tuple(_gains(rows, title, 1.05 * highest) for title, rows in titled.items())
    title = "volume Dice gained if errors of one kind were mended, 95 % interval over patients"
    return Plot("errors", "errors", title, panels, columns=2)


def _gains(rows: Rows, title: str, highest: float) -> Draw:
    def draw_panel(axis: Axes, theme: Theme) -> None:
        for place, row in enumerate(reversed(rows)):
            axis.barh(place, row["gain"], color=theme.runs[0], alpha=0.6, height=0.6)  # the interval shows on it
            if row["low"] is not None:
                axis.plot([row["low"], row["high"]], [place, place], color=theme.ink, lw=1.2)
        labels = [f"{row['errors']} ({row['share'] or 0:.0%} of errors)".replace("_", " ") for row in reversed(rows)]
        axis.set_yticks(range(len(rows)), labels, fontsize=8)
        axis.set(title=title, xlabel="volume Dice gained if mended, 95 % interval", xlim=(0, highest))
        axis.locator_params(axis="x", nbins=5)

    return draw_panel


def _differences(rows: Rows, limits: tuple[float, float]) -> Draw:
    def draw_panel(axis: Axes, theme: Theme) -> None:
        axis.axvline(0, color=theme.ink, lw=0.8, ls=":")
        for place, row in enumerate(reversed(rows)):
            if row["low"] is not None:
                axis.plot([row["low"], row["high"]], [place, place], color=theme.runs[0], lw=2)
            axis.plot(row["difference"], place, "o", color=theme.runs[0], ms=4)
        labels = [f"{row['degradation']} {row['severity']}".strip() for row in reversed(rows)]
        axis.set_yticks(range(len(rows)), labels, fontsize=8)
        axis.set(xlabel="degraded minus clean scans, 95 % interval")
        axis.set(title="change of volume Dice", xlim=limits, ylim=(-0.7, len(rows) - 0.3))
        axis.locator_params(axis="x", nbins=5, prune="both")  # more would run into one another, or off the picture

    return draw_panel


def _reliability(content: Mapping[str, Any]) -> Draw:
    regions, temperature = content["calibration"], content["temperature"]
    low, high = BAND
    curves = [("head", regions["head"], 0, "o-"), (f"band, {low} to {high}", regions["band"], 1, "s-")]
    if temperature:
        curves.append((f"band, logits / {temperature['value']:.2f}", temperature["calibration"]["band"], 2, "^--"))

    def draw_panel(axis: Axes, theme: Theme) -> None:
        axis.plot([0, 1], [0, 1], color=theme.ink, lw=0.8, ls=":", label="perfect")
        for name, own, number, mark in curves:
            bins = [each for each in own["bins"] if each["voxels"]]
            x, y = [each["mean_probability"] for each in bins], [each["tumour_share"] for each in bins]
            label = f"{name}: ECE {own['ece']:.4f}" if own["ece"] is not None else name
            axis.plot(x, y, mark, color=theme.runs[number], ms=4, lw=1.2, label=label)
        axis.set(title="reliability", xlabel="mean probability", ylabel="share of tumour", xlim=(0, 1), ylim=(0, 1))
        axis.legend(loc="upper left")

    return draw_panel


def _scatter(rows: Rows) -> Draw:
    def draw_panel(axis: Axes, theme: Theme) -> None:
        x, y = [row["flip_disagreement"] for row in rows], [row["volume_dice"] for row in rows]
        axis.scatter(x, y, s=24, color=theme.runs[0], alpha=0.85)
        axis.set(title="each patient", xlabel="flip disagreement", ylabel="volume Dice", ylim=(-0.02, 1.02))

    return draw_panel


def _referral(measures: Mapping[str, Mapping[str, Any]]) -> Draw:
    def draw_panel(axis: Axes, theme: Theme) -> None:
        from lgg_monai.analysis.figures import run_colour, run_line

        for number, (name, own) in enumerate(measures.items()):
            x, y = [point["share"] for point in own["curve"]], [point["mean_dice"] for point in own["curve"]]
            label = name.replace("_", " ")
            axis.plot(x, y, run_line(number), color=run_colour(theme, number), lw=1.4, label=label)
        best = next(iter(measures.values()))["curve"]
        y = [point["best_possible"] for point in best]
        axis.plot([point["share"] for point in best], y, color=theme.ink, lw=0.8, ls=":", label="best possible")
        axis.set(title="mean volume Dice of the others", xlabel="share of patients referred, the least certain first")
        axis.legend(loc="best")

    return draw_panel
