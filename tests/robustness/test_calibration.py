"""Calibration error against known probabilities; uncertainty against known failures."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from lgg_monai.robustness.calibration import BINS, calibration, count_voxels, head_of
from lgg_monai.robustness.uncertainty import judge, uncertainties

SHAPE = (40, 40, 10)


def names(count: int) -> list[str]:
    """Patients of whom nobody was scanned twice."""
    return [f"patient {number}" for number in range(count)]


def drawn(seed: int, power: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and a truth that is drawn with them (or with them bent by a power)."""
    rng = np.random.default_rng(seed)
    probability = rng.random(SHAPE)
    return probability, rng.random(SHAPE) < probability**power


def counts(seed: int, power: float = 1.0) -> Any:
    probability, label = drawn(seed, power)
    return count_voxels(probability, label, np.ones(SHAPE, dtype=bool))["head"]


def test_probabilities_that_come_true_are_calibrated() -> None:
    result = calibration([counts(seed) for seed in range(5)], names(5))
    assert result["ece"] < 0.01
    assert abs(result["bias"]) < 0.01
    assert result["brier"] == pytest.approx(1 / 6, abs=0.01)
    assert result["voxels"] == 5 * math.prod(SHAPE)


def test_the_error_is_the_distance_between_what_is_said_and_what_happens() -> None:
    # What is said to have p happens with p squared: the mean distance of p - p^2 over [0, 1] is 1/6.
    result = calibration([counts(seed, power=2) for seed in range(5)], names(5))
    assert result["ece"] == pytest.approx(1 / 6, abs=0.01)
    assert result["bias"] == pytest.approx(1 / 6, abs=0.01)
    low, high = result["ece_ci95"]
    assert low <= result["ece"] <= high
    for own in result["bins"]:
        assert own["from"] <= own["mean_probability"] <= own["to"]
        assert own["tumour_share"] == pytest.approx(own["mean_probability"] ** 2, abs=0.05)


def test_errors_of_both_signs_add_up_but_bias_cancels() -> None:
    probability = np.full(SHAPE, 0.3)
    probability[20:] = 0.7
    label = np.zeros(SHAPE, dtype=bool)
    label[20:] = True
    result = calibration([count_voxels(probability, label, np.ones(SHAPE, dtype=bool))["head"]], names(1))
    assert result["ece"] == pytest.approx(0.3)
    assert result["bias"] == pytest.approx(0)
    assert result["ece_ci95"] is None  # one patient


def test_the_band_leaves_out_what_is_certain_and_the_head_what_is_air() -> None:
    probability, label = np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool)
    probability[:4], probability[4:6], probability[6] = 1.0, 0.5, 0.999
    label[:5] = True
    head = np.zeros(SHAPE, dtype=bool)
    head[:10] = True
    found = count_voxels(probability, label, head)
    assert found["head"].voxels.sum() == 10 * 400
    assert found["band"].voxels.sum() == 2 * 400
    assert found["band"].tumour.sum() == 400
    assert calibration([found["band"]], names(1))["ece"] == pytest.approx(0)


def test_an_empty_region_is_undefined_and_no_crash() -> None:
    nothing = count_voxels(np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool))["band"]
    result = calibration([nothing, nothing], names(2))
    assert (result["ece"], result["ece_ci95"], result["brier"]) == (None, None, None)
    assert len(result["bins"]) == BINS
    json.dumps(result, allow_nan=False)


def test_head_is_told_from_air_in_any_sequence() -> None:
    image = np.random.default_rng(0).normal(3, 1, (3, *SHAPE)).clip(0)
    image[:, 10:30, 10:30] += 100
    image[1, 10:20, 10:30] -= 100  # dark in one sequence only
    head = head_of(image)
    assert head[10:30, 10:30].all()
    assert head.sum() == 20 * 20 * 10
    assert head_of(np.zeros((3, *SHAPE))).all()


def test_uncertainty_is_none_where_all_agree_for_sure() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:5] = True
    found = uncertainties(mask.astype(float), mask, [mask, mask], [mask, mask])
    assert list(found) == ["flip_disagreement", "checkpoint_disagreement", "expected_error", "entropy"]
    assert list(found.values()) == pytest.approx([0, 0, 0, 0], abs=1e-6)


def test_uncertainties_are_what_they_are_defined_as() -> None:
    probability, mask = np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool)
    probability[:10], mask[:10] = 0.75, True
    moved = np.roll(mask, 5, axis=0)
    found = uncertainties(probability, mask, [mask], [moved])
    assert found["flip_disagreement"] == pytest.approx(0.5)
    assert "checkpoint_disagreement" not in found
    assert found["expected_error"] == pytest.approx(1 - 2 * 0.75 / 1.75)
    assert found["entropy"] == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) / 0.75, rel=1e-3)
    assert uncertainties(probability, mask, [mask, moved], [mask, moved])["checkpoint_disagreement"] == pytest.approx(
        0.5
    )


def test_missing_everything_with_a_hint_of_probability_is_uncertain() -> None:
    empty = np.zeros(SHAPE, dtype=bool)
    assert uncertainties(np.full(SHAPE, 0.3), empty, [empty], [empty])["expected_error"] == 1
    assert uncertainties(np.zeros(SHAPE), empty, [empty], [empty])["expected_error"] == 0
    hint = np.zeros(SHAPE)
    hint[0, 0, 0] = 1e-3  # far less than a voxel of tumour: next to nothing is unsure
    assert uncertainties(hint, empty, [empty], [empty])["entropy"] == pytest.approx(0.0114, abs=1e-4)


def test_a_perfect_uncertainty_finds_the_failures() -> None:
    dice = np.linspace(0.2, 0.95, 20)
    result = judge(1 - dice, dice, names(20))
    assert result["rank_correlation"] == pytest.approx(-1)
    assert result["referred"] == 2
    assert result["mean_dice_after"] == pytest.approx(dice[2:].mean())
    assert result["rise"] == pytest.approx(dice[2:].mean() - dice.mean())
    assert result["rise"] == pytest.approx(result["rise_best_possible"])
    assert result["curve"][0] == pytest.approx({"share": 0, "mean_dice": dice.mean(), "best_possible": dice.mean()})


def test_a_useless_uncertainty_gains_nothing() -> None:
    rng = np.random.default_rng(0)
    result = judge(rng.random(200), rng.random(200), names(200))
    low, high = result["rank_correlation_ci95"]
    assert low < 0 < high
    low, high = result["rise_ci95"]
    assert low < 0 < high
    assert result["rise_best_possible"] > 0.04


def test_the_rank_correlation_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(1)
    uncertainty, dice = rng.integers(0, 4, 30), rng.random(30)
    result = judge(uncertainty, dice, names(30))
    assert result["rank_correlation"] == pytest.approx(spearmanr(uncertainty, dice).statistic)
    assert judge(uncertainty, dice, names(30)) == result


def test_few_or_equal_patients_are_no_crash() -> None:
    one = judge([0.1], [0.8], names(1))
    assert (one["rank_correlation"], one["mean_dice_after"], one["rise"], one["rise_ci95"]) == (None, None, None, None)
    assert judge([0.1, 0.2], [0.9, 0.8], names(2))["rank_correlation"] is None  # of two it says nothing
    alike = judge([0.1] * 5, [0.8] * 5, names(5))
    assert alike["rank_correlation"] is None
    json.dumps([one, alike], allow_nan=False)


def test_copies_of_a_persons_scan_make_nothing_surer() -> None:
    few = [counts(seed, power=2) for seed in range(4)]
    expected = calibration(few, names(4))
    scans = [f"{name}_{day}" for name in names(4) for day in range(20010101, 20010104)]
    copied = calibration([own for own in few for _ in range(3)], scans)
    for key in ("ece", "bias", "ece_ci95", "bias_ci95"):
        assert copied[key] == pytest.approx(expected[key])
    rng = np.random.default_rng(0)
    uncertainty, dice = rng.random(10), rng.random(10)
    scans = [f"{name}_ses-{visit}" for name in [f"sub-{number:02}" for number in range(10)] for visit in (1, 2)]
    one, two = judge(uncertainty, dice, names(10)), judge(uncertainty.repeat(2), dice.repeat(2), scans)
    for key in ("rank_correlation_ci95", "rise_ci95"):
        assert two[key] == pytest.approx(one[key])


def test_resamples_with_scans_of_some_people_alone_are_those_of_scipy_and_numpy() -> None:
    uncertainty, dice = np.array([0.9, 0.1, 0.4, 0.3, 0.2]), np.array([0.2, 0.9, 0.5, 0.8, 0.6])
    scans = ["a_20010101", "a_20020101", "b", "c", "d"]
    persons = [[0, 1], [2], [3], [4]]
    drawn = np.random.default_rng(0).integers(0, 4, size=(2000, 4))
    correlations, rises = [], []
    for own in ([place for person in row for place in persons[person]] for row in drawn):
        order = sorted(own, key=lambda place: -uncertainty[place])[math.ceil(0.1 * len(own)) :]
        rises.append(dice[order].mean() - dice[own].mean())
        if len(set(own)) > 1:
            correlations.append(spearmanr(uncertainty[own], dice[own]).statistic)
    result = judge(uncertainty, dice, scans)
    assert result["rise_ci95"] == pytest.approx(list(np.percentile(rises, [2.5, 97.5])))
    assert result["rank_correlation_ci95"] == pytest.approx(list(np.percentile(correlations, [2.5, 97.5])))
