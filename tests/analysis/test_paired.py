"""Paired differences on patients whose scores are known, and what the findings make of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from lgg_monai.analysis.findings import quality_sentence
from lgg_monai.analysis.paired import is_clear, paired_difference, paired_differences


def rows(*dice: float) -> list[dict]:
    return [{"patient": str(number), "volume_dice": value} for number, value in enumerate(dice)]


BASE = (0.5, 0.6, 0.7, 0.8, 0.55, 0.65, 0.75, 0.85)


def test_a_constant_gain_has_an_interval_of_no_width() -> None:
    entry = paired_difference("volume_dice", rows(*BASE), rows(*(value + 0.1 for value in BASE)))
    assert entry["difference"] == pytest.approx(0.1)
    assert entry["ci95"] == pytest.approx([0.1, 0.1])
    assert (entry["higher"], entry["lower"], entry["equal"]) == (8, 0, 0)
    assert entry["wilcoxon_p"] == pytest.approx(2 / 2**8)  # all eight signs alike
    assert is_clear(entry)


def test_the_numbers_are_those_of_scipy_and_reproducible() -> None:
    each = np.array([0.03, -0.01, 0.05, 0.02, -0.04, 0.06, 0.01, -0.02])
    entry = paired_difference("volume_dice", rows(*BASE), rows(*(np.array(BASE) + each)))
    assert entry == paired_difference("volume_dice", rows(*BASE), rows(*(np.array(BASE) + each)))
    assert entry["difference"] == pytest.approx(each.mean())
    assert entry["median"] == pytest.approx(np.median(each))
    assert entry["wilcoxon_p"] == pytest.approx(wilcoxon(each).pvalue)
    low, high = entry["ci95"]
    assert low < 0 < high
    assert not is_clear(entry)


def test_equal_runs_have_no_test_and_no_winner() -> None:
    entry = paired_difference("volume_dice", rows(*BASE), rows(*BASE))
    assert entry["wilcoxon_p"] is None
    assert entry["ci95"] == [0.0, 0.0]
    assert not is_clear(entry)


def test_a_patient_undefined_in_one_run_is_left_out_of_both() -> None:
    entry = paired_difference("volume_dice", rows(0.5, 0.5, float("nan")), rows(0.6, float("nan"), 0.9))
    assert entry["n"] == 1
    assert entry["difference"] == pytest.approx(0.1)
    assert entry["ci95"] is None


def test_a_pooled_metric_is_pooled_before_it_is_subtracted() -> None:
    first = [
        {"patient": "a", "intersection": 1.0, "union": 2.0},
        {"patient": "b", "intersection": 90.0, "union": 100.0},
    ]
    other = [
        {"patient": "a", "intersection": 2.0, "union": 2.0},
        {"patient": "b", "intersection": 50.0, "union": 100.0},
    ]
    entry = paired_difference("pooled_iou", first, other)
    assert entry["difference"] == pytest.approx(52 / 102 - 91 / 102)
    assert entry["wilcoxon_p"] is None


def test_a_patient_without_tumour_free_slices_has_no_false_positive_ones() -> None:
    first, other = (
        [
            {"patient": "a", "false_positive_slice_count": count, "empty_slices": 10},
            {"patient": "b", "false_positive_slice_count": 0, "empty_slices": 0},
        ]
        for count in (4, 1)
    )
    entry = paired_difference("false_positive_slices", first, other)
    assert entry["n"] == 1
    assert entry["difference"] == pytest.approx(-0.3)


def test_patients_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="same patients"):
        paired_differences(rows(0.5), [{"patient": "other", "volume_dice": 0.5}])


def entry(low: float, high: float, n: int = 20, p: float | None = 0.01) -> dict:
    return {"n": n, "people": n, "difference": (low + high) / 2, "ci95": [low, high], "wilcoxon_p": p}


def test_no_winner_where_the_interval_includes_zero() -> None:
    for low, high in ((-0.01, 0.05), (0.0, 0.05), (-0.05, 0.0)):
        sentence = quality_sentence("unet", "pspnet", (0.8, 0.82), entry(low, high, p=0.3))
        assert "do not tell which" in sentence
        assert "better than" not in sentence


def test_most_patients_better_and_a_few_much_worse_is_said_as_it_is() -> None:
    """It read "the patients do not tell which is better" beside p < 0.001."""
    first, other = rows(*[0.8] * 20), rows(*[0.81] * 19, 0.4)
    found = paired_difference("volume_dice", first, other)
    sentence = quality_sentence("unet", "pspnet", (0.8, 0.79), found)
    assert "pspnet draws 19 of the 20 patients better" in sentence
    assert "includes zero" in sentence
    assert "better than" not in sentence
    mirrored = quality_sentence("pspnet", "unet", (0.79, 0.8), paired_difference("volume_dice", other, first))
    assert "pspnet draws 19 of the 20 patients better" in mirrored


def test_the_winner_is_the_one_with_the_higher_score() -> None:
    assert "pspnet is better than unet" in quality_sentence("unet", "pspnet", (0.8, 0.83), entry(0.01, 0.05))
    assert "unet is better than pspnet" in quality_sentence("unet", "pspnet", (0.83, 0.8), entry(-0.05, -0.01))


def test_no_winner_on_few_patients_or_against_the_test() -> None:
    for doubtful in (entry(0.01, 0.05, n=5), entry(0.01, 0.05, p=0.2), {**entry(0.01, 0.05, n=1), "ci95": None}):
        assert "better than" not in quality_sentence("unet", "pspnet", (0.8, 0.83), doubtful)


def test_scans_of_one_person_are_drawn_together_and_one_value_to_the_test() -> None:
    """Ten scans of five people gave the interval and the p of ten."""
    each = (0.03, -0.01, 0.05, 0.02, 0.04, 0.06, 0.01)
    first, other = rows(*[0.5] * 7), rows(*(0.5 + value for value in each))
    expected = paired_difference("volume_dice", first, other)
    visits = [[{**row, "patient": f"sub-{row['patient']}_ses-{visit}"} for row in scans for visit in (1, 2, 3)]
              for scans in (first, other)]  # fmt: skip
    found = paired_difference("volume_dice", *visits)
    assert (found["n"], found["people"], found["higher"]) == (21, 7, 18)
    assert (expected["n"], expected["people"], expected["higher"]) == (7, 7, 6)
    for key in ("difference", "ci95", "wilcoxon_p", "median"):
        assert found[key] == pytest.approx(expected[key])
    # Of scans that differ, the person's mean.
    means = np.array([0.02, 0.05, 0.03, -0.01, 0.04, 0.06, 0.07])
    apart = np.array([[mean - 0.2, mean + 0.2] for mean in means]).ravel()
    scans = [{"patient": f"p{number // 2}_2001010{number % 2 + 1}", "volume_dice": 0.5} for number in range(14)]
    entry = paired_difference("volume_dice", scans, [{"volume_dice": 0.5 + value} for value in apart])
    assert entry["wilcoxon_p"] == pytest.approx(wilcoxon(means).pvalue)
    assert (entry["higher"], entry["lower"]) == (7, 7)


def test_many_scans_of_few_people_make_no_winner() -> None:
    scans = [{"patient": f"p{number // 4}_2001010{number % 4 + 1}", "volume_dice": 0.5} for number in range(20)]
    found = paired_difference("volume_dice", scans, [{"volume_dice": 0.6}] * 20)
    assert found["ci95"] == pytest.approx([0.1, 0.1])
    assert not is_clear(found)
    sentence = quality_sentence("unet", "pspnet", (0.5, 0.6), found)
    assert "On 20 test patients (scans of 5 people by their names)" in sentence
    assert "5 patients are too few" in sentence
    alone = paired_difference("volume_dice", scans[:4], [{"volume_dice": 0.6}] * 4)
    assert alone["ci95"] is None
    assert "one patient allows no interval" in quality_sentence("unet", "pspnet", (0.5, 0.6), alone)
