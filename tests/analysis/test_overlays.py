"""Overlays: geometry of the outlines, choice of slices and patients, stamps and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgg_monai.analysis import overlays
from lgg_monai.analysis.overlays import (
    choose_slices,
    draw_overlay,
    intensity_window,
    outline_coverage,
    patient_panel,
    save_png,
    select_best_median_worst,
)


@pytest.fixture
def flair() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 90, size=(40, 30)).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((40, 30), dtype=np.uint8)
    mask[10:26, 8:14] = 1  # x from 10 to 25, y from 8 to 13
    return mask


def coloured(picture: np.ndarray) -> np.ndarray:
    """Where a picture, grey elsewhere, has a colour."""
    return np.ptp(picture.astype(int), axis=2) > 60


def bare(flair: np.ndarray, label: np.ndarray | None, prediction: np.ndarray | None, scale: int = 2) -> np.ndarray:
    return draw_overlay(flair, label, prediction, scale, legend=False)


def volume() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head with a tumour on slices 3 to 9, largest on 6, and a prediction that fails on 8."""
    image = np.random.default_rng(1).random((3, 48, 40, 12)) * 0.05
    image[:, 8:40, 6:34] += 0.5
    label = np.zeros((48, 40, 12), dtype=np.uint8)
    for z in range(3, 10):
        label[16 : 26 - abs(z - 6), 16:26, z] = 1
    prediction = label.copy()
    prediction[:, :, 8] = 0
    return image, label, prediction


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_picture_is_the_transposed_slice_enlarged(flair: np.ndarray, scale: int) -> None:
    picture = bare(flair, None, None, scale)
    assert picture.shape == (30 * scale, 40 * scale, 3)
    assert picture.dtype == np.uint8


def test_without_masks_the_picture_is_the_windowed_slice(flair: np.ndarray) -> None:
    low, high = intensity_window(flair)
    expected = np.clip((flair.T - low) / (high - low), 0, 1) * 255
    assert np.abs(bare(flair, None, None, 1)[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("role", ["label", "prediction"])
def test_outlines_land_on_the_edge_of_the_mask(flair: np.ndarray, mask: np.ndarray, scale: int, role: str) -> None:
    picture = bare(flair, mask if role == "label" else None, mask if role == "prediction" else None, scale)
    rows, columns = np.nonzero(coloured(picture))
    # The voxel x = 10 covers the columns from 10 * scale; the outline is centred on that border.
    borders = np.array([8, 14, 10, 26]) * scale
    found = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1])
    assert np.abs(found - borders).max() <= 0.5 * overlays.LABEL_WIDTH * scale + 1
    inner = coloured(picture)[10 * scale : 12 * scale, 13 * scale : 23 * scale]
    assert not inner.any()


def test_the_band_is_centred_on_the_border_between_voxels() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[6:14, 5:15] = True
    coverage = outline_coverage(mask, 4, width=4)
    profile = coverage[:, 40]  # through the middle, across the upper and the lower edge
    rows = np.arange(80) + 0.5
    upper, lower = profile * (rows < 40), profile * (rows > 40)
    assert (upper @ rows) / upper.sum() == pytest.approx(6 * 4, abs=0.35)
    assert (lower @ rows) / lower.sum() == pytest.approx(14 * 4, abs=0.35)
    assert upper.sum() == pytest.approx(4, abs=0.7)


def test_an_outline_at_the_border_of_the_slice_is_closed(flair: np.ndarray) -> None:
    assert coloured(bare(flair, np.ones_like(flair), None)).any(axis=0).all()


def test_both_outlines_show_where_they_coincide(flair: np.ndarray, mask: np.ndarray) -> None:
    picture = bare(flair, mask, mask).astype(int)
    green = coloured(picture) & (picture[..., 1] > picture[..., 0] + 60)
    magenta = coloured(picture) & (picture[..., 0] > picture[..., 1] + 60)
    assert green.sum() > 30
    assert magenta.sum() > 30


def test_the_prediction_is_solid_where_it_is_alone(flair: np.ndarray, mask: np.ndarray) -> None:
    alone = bare(flair, np.zeros_like(mask), mask)
    assert np.array_equal(alone, bare(flair, None, mask))
    # Every row between the upper and the lower edge is crossed.
    assert coloured(alone)[18:27].any(axis=1).all()
    assert coloured(alone)[:, 22:51].any(axis=0).all()


def test_label_and_prediction_have_different_colours(flair: np.ndarray, mask: np.ndarray) -> None:
    assert not np.array_equal(bare(flair, mask, None), bare(flair, None, mask))


def test_empty_masks_draw_nothing(flair: np.ndarray, mask: np.ndarray) -> None:
    assert np.array_equal(bare(flair, 0 * mask, 0 * mask), bare(flair, None, None))


def test_a_constant_slice_is_drawn() -> None:
    assert bare(np.zeros((9, 7)), None, None).max() == 0


def test_strips_of_title_and_legend_leave_the_slice_alone(flair: np.ndarray, mask: np.ndarray) -> None:
    plain = bare(flair, mask, None)
    framed = draw_overlay(flair, mask, None, title="TCGA_CS_4941 slice 3")
    assert framed.shape[0] == plain.shape[0] + 2 * overlays.STRIP
    assert np.array_equal(framed[overlays.STRIP : -overlays.STRIP], plain)
    assert framed[: overlays.STRIP].max() > 150
    assert coloured(framed[-overlays.STRIP :]).any()


def test_a_stamp_changes_the_slice_itself() -> None:
    flair = np.random.default_rng(0).random((120, 100))
    plain, stamped = bare(flair, None, None), draw_overlay(flair, None, None, stamp="PHANTOM", legend=False)
    changed = (plain != stamped).any(axis=2)
    assert plain.shape == stamped.shape
    assert 0.01 < changed.mean() < 0.2
    assert not changed[:100].any()
    assert changed[:, 120:].any()


def test_a_panel_shows_the_largest_and_the_most_wrong_slice() -> None:
    _, label, prediction = volume()
    chosen = choose_slices(label > 0, prediction > 0, 4)
    assert len(chosen) == 4
    assert {6, 8} <= set(chosen)
    assert chosen == sorted(chosen)
    assert all(label[:, :, z].any() for z in chosen)


def test_a_false_positive_slice_is_shown_if_it_is_the_worst() -> None:
    _, label, _ = volume()
    prediction = label.copy()
    prediction[5:30, 5:30, 0] = 1
    assert 0 in choose_slices(label > 0, prediction > 0, 4)


@pytest.mark.parametrize("count", [2, 3, 8, 50])
def test_the_number_of_slices_is_bounded(count: int) -> None:
    _, label, prediction = volume()
    chosen = choose_slices(label > 0, prediction > 0, count)
    assert len(chosen) == len(set(chosen)) == min(count, 7)


def test_without_tumour_the_prediction_or_else_the_volume_is_shown() -> None:
    nothing, prediction = np.zeros((4, 4, 20), dtype=bool), np.zeros((4, 4, 20), dtype=bool)
    prediction[1, 1, 5:9] = True
    assert choose_slices(nothing, prediction, 8) == [5, 6, 7, 8]
    spread = choose_slices(nothing, nothing, 8)
    assert len(spread) == 8
    assert max(np.diff(spread)) <= 3


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_panel_of_a_patient(columns: int) -> None:
    image, label, prediction = volume()
    sheet = patient_panel(image, label, prediction, "TCGA_CS_1", columns=columns)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    assert coloured(sheet).any()
    assert np.array_equal(sheet, patient_panel(image, label[None], prediction[None], "TCGA_CS_1", columns=columns))
    stamped = patient_panel(image, label, prediction, "TCGA_CS_1", "PHANTOM", columns=columns)
    assert stamped.shape == sheet.shape
    assert (stamped != sheet).any(axis=2).mean() > 0.01


def test_a_panel_of_nothing() -> None:
    nothing = np.zeros((48, 40, 1))
    sheet = patient_panel(np.zeros((3, 48, 40, 1)), nothing, nothing)
    assert not coloured(sheet[: -overlays.STRIP]).any()


def test_best_median_and_worst_are_three_patients() -> None:
    rows = [
        {"patient": name, "volume_dice": dice} for name, dice in zip("abcde", [0.5, 0.9, 0.1, 0.7, 0.8], strict=True)
    ]
    chosen = select_best_median_worst(rows)
    assert {key: row["patient"] for key, row in chosen.items()} == {"best": "b", "median": "d", "worst": "c"}
    equal = select_best_median_worst([{"patient": name, "volume_dice": 1.0} for name in "bca"])
    assert {row["patient"] for row in equal.values()} == {"a", "b", "c"}


def test_fewer_than_three_patients() -> None:
    rows = [{"patient": "a", "volume_dice": 0.5}, {"patient": "b", "volume_dice": 0.6}]
    assert {row["patient"] for row in select_best_median_worst(rows).values()} == {"a", "b"}
    assert select_best_median_worst(rows[:1])["median"] == rows[0]
    assert select_best_median_worst([]) == {}


def test_a_png_holds_the_picture_exactly(flair: np.ndarray, mask: np.ndarray, tmp_path: Path) -> None:
    picture = bare(flair, mask, None)
    save_png(tmp_path / "new" / "picture.png", picture)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "picture.png")), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]
