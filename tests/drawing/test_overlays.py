"""Overlays: geometry of the outlines, stamps and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgg_monai.drawing import overlays
from lgg_monai.drawing.overlays import (
    broadened,
    draw_overlay,
    intensity_window,
    outline_coverage,
    save_png,
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


@pytest.mark.parametrize(("shape", "wanted"), [((3, 40, 2), (10, 40, 2)), ((40, 7), (40, 10)), ((12, 40), (12, 40))])
def test_slender_slices_are_padded_on_both_sides(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    slices = np.random.default_rng(0).random(shape)
    padded = broadened(slices, -1)
    assert padded.shape == wanted
    assert (padded == -1).sum() == padded.size - slices.size
    left, top = ((new - old) // 2 for new, old in zip(wanted[:2], shape[:2], strict=True))
    assert np.array_equal(padded[left : left + shape[0], top : top + shape[1]], slices)


def test_a_stamp_changes_the_slice_itself() -> None:
    flair = np.random.default_rng(0).random((120, 100))
    plain, stamped = bare(flair, None, None), draw_overlay(flair, None, None, stamp="PHANTOM", legend=False)
    changed = (plain != stamped).any(axis=2)
    assert plain.shape == stamped.shape
    assert 0.01 < changed.mean() < 0.2
    assert not changed[:100].any()
    assert changed[:, 120:].any()


def test_a_png_holds_the_picture_exactly(flair: np.ndarray, mask: np.ndarray, tmp_path: Path) -> None:
    picture = bare(flair, mask, None)
    save_png(tmp_path / "new" / "picture.png", picture)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "picture.png")), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]
