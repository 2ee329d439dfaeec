"""A temperature that takes back exactly what certainty is too much."""

from __future__ import annotations

import numpy as np
import pytest

from lgg_monai.robustness.calibration import calibration, count_voxels
from lgg_monai.robustness.temperature import at_temperature, choose_temperature, count_logits, judge_temperature

SHAPE = (40, 40, 20)
EVERYWHERE = np.ones(SHAPE, dtype=bool)


def drawn(seed: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too certain by a temperature, and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, SHAPE)
    label = rng.random(SHAPE) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-logits * temperature)), label


def counts(seed: int, temperature: float = 1.0) -> np.ndarray:
    return count_logits(*drawn(seed, temperature), EVERYWHERE)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.2])
def test_the_temperature_that_spoilt_the_probabilities_is_found(temperature: float) -> None:
    assert choose_temperature(counts(0, temperature)) == pytest.approx(temperature, rel=0.07)


def test_probabilities_are_calibrated_afterwards() -> None:
    parts = [counts(seed, 2.5) for seed in range(6)]
    before = calibration([at_temperature(part, 1.0)["head"] for part in parts], "012345")
    result = judge_temperature(parts, "012345", "aabbcc")
    assert result is not None
    assert before["ece"] > 0.05
    assert result["calibration"]["head"]["ece"] < 0.01
    assert result["lowest"] <= result["value"] <= result["highest"]


@pytest.mark.parametrize(("wrong", "warned"), [(0.0, True), (0.01, False), (0.5, True)])
def test_an_end_of_the_search_is_not_taken_for_the_best(
    caplog: pytest.LogCaptureFixture, wrong: float, warned: bool
) -> None:
    # Without a mistake no certainty is too much, and with as many mistakes as hits none is too little.
    rng = np.random.default_rng(0)
    label = rng.random(SHAPE) < 0.5
    probability = np.where(label != (rng.random(SHAPE) < wrong), 0.99, 0.01)
    result = judge_temperature([count_logits(probability, label, EVERYWHERE)] * 2, "01", "aa")
    assert result is not None
    assert ("so the best lies beyond or nowhere" in caplog.text) == warned


def test_a_temperature_of_one_changes_nothing() -> None:
    probability, label = drawn(3)
    exact = count_voxels(probability, label, EVERYWHERE)
    binned = at_temperature(count_logits(probability, label, EVERYWHERE), 1.0)
    for region in ("head", "band"):
        assert binned[region].voxels.sum() == pytest.approx(exact[region].voxels.sum(), rel=0.01)
        ece = [calibration([part[region]], "0")["ece"] for part in (exact, binned)]
        assert ece[1] == pytest.approx(ece[0], abs=0.002)
        assert binned[region].squared == pytest.approx(exact[region].squared, rel=0.01)


def test_the_band_holds_the_same_voxels_at_every_temperature() -> None:
    part = counts(4)
    sizes = {at_temperature(part, temperature)["band"].voxels.sum() for temperature in (0.5, 1.0, 4.0)}
    assert len(sizes) == 1
    assert 0 < sizes.pop() < EVERYWHERE.size


def test_a_patients_temperature_is_chosen_on_others() -> None:
    # One run of three is far too certain: the others know nothing of it, and it is judged by what suits them.
    parts, runs = [counts(0, 4.0), counts(1), counts(2)], ["x", "y", "z"]
    result = judge_temperature(parts, "012", runs)
    assert result is not None
    assert result["lowest"] == pytest.approx(1, rel=0.04)
    alone = calibration([at_temperature(parts[0], 1.0)["head"]], "0")["ece"]
    own = calibration([at_temperature(parts[0], 4.0)["head"]], "0")["ece"]
    assert own < 0.01 < alone
    assert result["calibration"]["head"]["ece"] > 0.02


def test_one_run_is_judged_patient_by_patient_and_one_patient_not_at_all() -> None:
    parts = [counts(0, 2.0), counts(1, 2.0)]
    result = judge_temperature(parts, "01", ["run", "run"])
    assert result is not None
    assert [result["lowest"], result["highest"]] == sorted(choose_temperature(part) for part in parts)
    assert judge_temperature(parts[:1], "0", ["run"]) is None


def test_of_one_run_a_temperature_is_chosen_on_other_people_not_on_other_scans() -> None:
    parts = [counts(0, 4.0), counts(1, 4.0), counts(2)]
    result = judge_temperature(parts, ["a_20010101", "a_20020101", "b_20010101"], ["run"] * 3)
    assert result is not None
    assert result["lowest"] == choose_temperature(parts[2])
    assert result["highest"] == choose_temperature(parts[0] + parts[1])
    assert judge_temperature(parts[:2], ["a_20010101", "a_20020101"], ["run"] * 2) is None


def test_certain_voxels_and_voxels_elsewhere_are_counted_rightly() -> None:
    probability, label = np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool)
    probability[0], label[:2] = 1.0, True
    region = EVERYWHERE.copy()
    region[20:] = False
    found = count_logits(probability, label, region)
    assert found.sum() == 20 * 800
    assert (found[1, -1], found[1, 0], found[0, 0]) == (800, 800, 18 * 800)
