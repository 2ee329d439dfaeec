"""Plots can be read: texts lie within the picture, axes have marks that tell something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from run_folders import write_run

from lgg_monai.analysis.compared import load_runs
from lgg_monai.analysis.figures import LIGHT, Plot, render
from lgg_monai.analysis.plots import learning_curves, quality_plots
from lgg_monai.analysis.quality import compare_quality
from lgg_monai.robustness.charts import error_chart, robustness_chart
from lgg_monai.robustness.degradations import DEGRADATIONS
from lgg_monai.robustness.error_types import GROUPS

LONG = "efficientnet_unet_with_learning_rate_0.0003_and_batch_size_16"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draw a plot and keep its figure."""
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *words: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", kept)

    def draw(plot: Plot) -> Figure:
        render(plot, LIGHT, "png", "PHANTOM")
        figures[-1].draw_without_rendering()  # at its own resolution, not at that of the file
        return figures[-1]

    return draw


@pytest.fixture
def plots(tmp_path: Path) -> dict[str, Plot]:
    runs, _ = load_runs([write_run(tmp_path / "unet"), write_run(tmp_path / LONG, network="PSPNet", shift=1)])
    every = learning_curves(runs) + quality_plots(runs, compare_quality(runs))
    return {plot.name: plot for plot in every}


def fits(figure: Figure) -> bool:
    """Tell whether all that is drawn, texts included, lies within the picture."""
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    return bool(box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02)


@pytest.mark.parametrize("name", ["learning_curves", "scatter", "differences", "dice_by_size", "dice_by_site"])
def test_a_long_name_neither_leaves_the_picture_nor_the_axes(name: str, plots: dict[str, Plot], drawn: Any) -> None:
    figure = drawn(plots[name])
    assert fits(figure)
    for axis in figure.axes:
        legend = axis.get_legend()
        if legend is not None:
            assert axis.bbox.x0 - 1 <= legend.get_window_extent().x0
            assert legend.get_window_extent().x1 <= axis.bbox.x1 + 1


def test_axes_are_marked_at_whole_epochs_and_at_several_sizes(plots: dict[str, Plot], drawn: Any) -> None:
    (axis,) = drawn(plots["curve_loss_by_epoch"]).axes
    assert all(mark == int(mark) for mark in axis.get_xticks())
    (axis,) = drawn(plots["dice_by_size"]).axes
    low, high = axis.get_xlim()
    assert sum(low <= mark <= high for mark in axis.get_xticks()) >= 2


def test_the_only_epoch_has_the_only_mark(tmp_path: Path, drawn: Any) -> None:
    runs, _ = load_runs([write_run(tmp_path / name, val_iou=(0.5,), shift=shift) for shift, name in enumerate("ab")])
    (axis,) = drawn(learning_curves(runs)[1]).axes
    low, high = axis.get_xlim()
    assert [mark for mark in axis.get_xticks() if low <= mark <= high] == [1]


def test_open_marks_are_explained(plots: dict[str, Plot], drawn: Any) -> None:
    (axis,) = drawn(plots["scatter"]).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["all acquired", "a sequence missing"]


def test_charts_of_analyses_fit_into_their_pictures(drawn: Any) -> None:
    bars = {"gain": 0.04, "low": 0.02, "high": 0.08, "share": 0.29}
    assert fits(drawn(error_chart([bars | {"errors": name} for name in GROUPS])))
    dots = {"difference": -0.02, "low": -0.1, "high": 0.01}
    rows = [dots | {"degradation": own.name, "severity": own.severity} for own in DEGRADATIONS]
    assert fits(drawn(robustness_chart([dots, *rows])))
