"""Panels: choice of patients and slices, and the sheet of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from lgg_monai.drawing.overlays import STRIP
from lgg_monai.drawing.panels import choose_slices, patient_panel, select_best_median_worst, slice_verdict


def coloured(picture: np.ndarray) -> np.ndarray:
    """Where a picture, grey elsewhere, has a colour."""
    return np.ptp(picture.astype(int), axis=2) > 60


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


def test_few_and_narrow_slices_leave_room_for_the_titles() -> None:
    narrow = np.random.default_rng(2).random((3, 6, 200, 1))
    label = np.zeros((6, 200, 1), dtype=bool)
    label[2:5, 90:99] = True
    title = "TCGA_CS_1: median patient, volume Dice 0.912"
    sheet = patient_panel(narrow, label, label, title)
    font = ImageFont.load_default(18)
    assert sheet.shape[1] > font.getlength(title) + 8
    assert sheet.shape[0] < 2000
    assert coloured(sheet[:-STRIP]).any()


def test_a_panel_of_nothing() -> None:
    nothing = np.zeros((48, 40, 1))
    sheet = patient_panel(np.zeros((3, 48, 40, 1)), nothing, nothing)
    assert not coloured(sheet[:-STRIP]).any()


def test_a_slice_without_any_tumour_has_no_dice() -> None:
    one, none = np.eye(4, dtype=bool), np.zeros((4, 4), dtype=bool)
    half = one & (np.arange(4) < 2)
    assert [slice_verdict(one, half), slice_verdict(one, none)] == ["Dice 0.67", "Dice 0.00"]
    assert slice_verdict(none, none) == "both empty"


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
