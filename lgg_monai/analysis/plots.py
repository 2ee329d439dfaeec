"""What is plotted: learning curves, one run against another, Dice against tumour size and by site, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lgg_monai.analysis.figures import Draw, Plot, Theme, run_colour, run_line, run_marker, wrapped
from lgg_monai.analysis.runs import Run
from lgg_monai.analysis.speed import series
from lgg_monai.engines.summary import METRICS

SERIES = {
    "loss": "training loss",
    "iou": "training IoU (pooled)",
    "val_loss": "validation loss",
    "val_iou": "validation IoU (pooled)",
}
AXES = {"epoch": "epoch", "elapsed_seconds": "seconds since the start"}
# Shares between 0 and 1, so that one axis serves all; a distance in voxels has another scale.
FORESTED = tuple(name for name in METRICS if name != "hd95_px")


def learning_curves(runs: Sequence[Run]) -> list[Plot]:
    """Plot each series that a run has by epoch and by second, all runs in each; first all as one sheet."""
    known = {name: title for name, title in SERIES.items() if any(series(run.history, name)[0] for run in runs)}
    single = []
    for against, axis_title in AXES.items():
        for name, title in known.items():
            plot = Plot(
                f"curve_{name}_by_{axis_title.split()[0]}",
                f"{title} by {axis_title.split()[0]}",
                f"{title} against {axis_title}, one line a run",
                (_curve(runs, name, against),),
            )
            single.append(plot)
    panels = tuple(plot.panels[0] for plot in single)
    return [Plot("learning_curves", "learning curves", "all learning curves", panels, columns=len(known)), *single]


def quality_plots(runs: Sequence[Run], quality: Mapping[str, Any]) -> list[Plot]:
    """Plot the patients' Dice: run against run, against size, by site; and the paired differences."""
    labels, table = [run.label for run in runs], quality["table"]
    plots = []
    for number, label in enumerate(labels[1:], 1):
        suffix = f"_{number}" if len(labels) > 2 else ""
        plots.append(
            Plot(
                f"scatter{suffix}",
                f"{label} against {labels[0]}",
                f"volume Dice of each test patient: {label} up, {labels[0]} across; open marks lack a sequence",
                (_scatter(labels[0], label, table, number),),
            )
        )
        plots.append(
            Plot(
                f"differences{suffix}",
                f"{label} minus {labels[0]}",
                "paired difference with its 95 % interval, by convention",
                (_forest(quality["paired"][number - 1], number),),
            )
        )
    plots.append(
        Plot(
            "dice_by_size",
            "Dice against tumour size",
            "volume Dice of each test patient against its tumour's voxels",
            (_by_size(labels, table),),
        )
    )
    plots.append(
        Plot("dice_by_site", "Dice by site", "volume Dice of each test patient by site", (_by_site(labels, table),))
    )
    return plots


def _curve(runs: Sequence[Run], name: str, against: str) -> Draw:
    def draw(axis: Axes, theme: Theme) -> None:
        for number, run in enumerate(runs):
            for fold in run.folds:
                axis.plot(*series(fold.history, name, against), color=run_colour(theme, number), lw=0.6, alpha=0.45)
            x, y = series(run.history, name, against)
            mark = run_marker(number) if len(x) == 1 else None
            line, label = run_line(number), wrapped(run.label)
            axis.plot(x, y, line, color=run_colour(theme, number), marker=mark, lw=1.6, label=label)
        axis.set(title=SERIES[name], xlabel=AXES[against])
        # There is no epoch 2.5, nor, where it is the only one, an epoch 1.02.
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True, min_n_ticks=1))
        if name.endswith("iou"):
            axis.set_ylim(0, 1)
        axis.legend(loc="best")

    return draw


def _scatter(first: str, other: str, table: Sequence[Mapping[str, Any]], number: int) -> Draw:
    def draw(axis: Axes, theme: Theme) -> None:
        axis.plot([0, 1], [0, 1], color=theme.ink, lw=0.8, ls=":")
        for missing in (False, True):
            rows = [row for row in table if bool(row["missing_sequences"]) is missing]
            x, y = [row["volume_dice"][0] for row in rows], [row["volume_dice"][number] for row in rows]
            colour = run_colour(theme, number)
            face, label = ("none", "a sequence missing") if missing else (colour, "all acquired")
            axis.scatter(x, y, s=30, lw=1.3, edgecolors=colour, facecolors=face, alpha=0.85, label=label)
            if missing and rows:
                axis.legend(loc="best")
        axis.set(title="volume Dice", xlabel=wrapped(first), ylabel=wrapped(other))
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.set_aspect("equal")

    return draw


def _by_size(labels: Sequence[str], table: Sequence[Mapping[str, Any]]) -> Draw:
    def draw(axis: Axes, theme: Theme) -> None:
        x = [max(row["tumour_voxels"], 1) for row in table]
        for number, label in enumerate(map(wrapped, labels)):
            y = [row["volume_dice"][number] for row in table]
            axis.scatter(x, y, s=26, marker=run_marker(number), color=run_colour(theme, number), alpha=0.8, label=label)
        axis.set_xscale("log")
        # Between powers of ten too, as one or two of them tell no sizes; on a wide axis there is no room.
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(x) < 300 * min(x) else (1,)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set(title="volume Dice", xlabel="tumour size, voxels (log scale)", ylim=(-0.02, 1.02))
        axis.legend(loc="best")

    return draw


def _by_site(labels: Sequence[str], table: Sequence[Mapping[str, Any]]) -> Draw:
    def draw(axis: Axes, theme: Theme) -> None:
        sites = sorted({row["site"] for row in table})
        for number, label in enumerate(map(wrapped, labels)):
            # Runs stand side by side at each site.
            shift = (number - (len(labels) - 1) / 2) * 0.5 / max(len(labels), 2)
            x = [sites.index(row["site"]) + shift for row in table]
            y = [row["volume_dice"][number] for row in table]
            axis.scatter(x, y, s=26, marker=run_marker(number), color=run_colour(theme, number), alpha=0.8, label=label)
        axis.set_xticks(range(len(sites)), sites)
        axis.set(title="volume Dice", xlabel="site", xlim=(-0.6, len(sites) - 0.4), ylim=(-0.02, 1.02))
        axis.legend(loc="best")

    return draw


def _forest(paired: Mapping[str, Mapping[str, Any]], number: int) -> Draw:
    def draw(axis: Axes, theme: Theme) -> None:
        known = [name for name in FORESTED if paired[name]["ci95"] is not None]
        axis.axvline(0, color=theme.ink, lw=0.8, ls=":")
        for place, name in enumerate(reversed(known)):
            low, high = paired[name]["ci95"]
            axis.plot([low, high], [place, place], color=run_colour(theme, number), lw=2)
            axis.plot(paired[name]["difference"], place, run_marker(number), color=run_colour(theme, number), ms=5)
        axis.set_yticks(range(len(known)), [name.replace("_", " ") for name in reversed(known)])
        axis.set(title="difference, 95 % interval", ylim=(-0.7, max(len(known), 1) - 0.3))

    return draw
