"""Aggregates: pooling, intervals, undefined values, table and text."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import METRICS, format_summary, summarise, write_patients_csv
from lgg_monai.errors import LggError

NAMES = [
    "volume_dice",
    "volume_iou",
    "pooled_iou",
    "tumour_slice_iou",
    "all_slice_iou",
    "false_positive_slices",
    "hd95_px",
    "surface_dice_2px",
    "sensitivity",
    "precision",
]
POOLED = ("pooled_iou", "tumour_slice_iou", "all_slice_iou", "false_positive_slices")


def volume_pair(seed: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.random((6, 6, slices)) > 0.7
    label[:, :, rng.random(slices) > 0.5] = False
    return label ^ (rng.random(label.shape) > 0.995), label


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [volume_pair(seed, slices=4 + 3 * seed) for seed in range(8)]


@pytest.fixture(scope="module")
def rows(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, Any]]:
    return [
        {
            "patient": f"TCGA_{'CS' if number < 5 else 'DU'}_{number}",
            "site": "CS" if number < 5 else "DU",
            "part": "test",
        }
        | score_volume(*pair)
        for number, pair in enumerate(pairs)
    ]


def test_every_metric_of_the_conventions_is_there(rows: list[dict[str, Any]]) -> None:
    summary = summarise(rows, resamples=50)
    assert list(METRICS) == NAMES
    keys = {"mean", "median", "ci95", "median_ci95", "std", "n", "undefined", "min", "max", "definition"}
    for name in NAMES:
        assert set(summary[name]) == keys
        assert summary[name]["definition"].endswith(".")


def test_pooling_equals_scoring_all_slices_as_one_patient(
    rows: list[dict[str, Any]], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    together = score_volume(*(np.concatenate(masks, axis=2) for masks in zip(*pairs, strict=True)))
    summary = summarise(rows, resamples=50)
    assert summary["pooled_iou"]["mean"] == pytest.approx(together["volume_iou"])
    for name in POOLED[1:]:
        assert summary[name]["mean"] == pytest.approx(together[name])
        assert summary[name]["mean"] != pytest.approx(np.mean([row[name] for row in rows]), abs=1e-6)
    assert summary["patients"] == len(pairs)
    assert summary["slices"] == together["slices"]
    assert summary["tumour_slices"] == together["tumour_slices"]


def test_patient_metrics_are_plain_statistics_over_patients(rows: list[dict[str, Any]]) -> None:
    entry = summarise(rows, resamples=50)["volume_dice"]
    dice = np.array([row["volume_dice"] for row in rows])
    expected = {"mean": dice.mean(), "median": np.median(dice), "std": dice.std(ddof=1), "min": dice.min()}
    assert {key: entry[key] for key in expected} == pytest.approx(expected)
    assert (entry["n"], entry["undefined"], entry["max"]) == (8, 0, dice.max())


def test_a_pooled_metric_has_no_statistics_of_single_patients(rows: list[dict[str, Any]]) -> None:
    summary = summarise(rows, resamples=50)
    assert all(summary[name][key] is None for name in POOLED for key in ("median", "median_ci95", "std", "min", "max"))


def test_the_same_seed_gives_the_same_intervals(rows: list[dict[str, Any]]) -> None:
    assert summarise(rows, seed=3) == summarise(rows, seed=3)
    assert summarise(rows, seed=3)["volume_dice"]["ci95"] != summarise(rows, seed=4)["volume_dice"]["ci95"]


def test_intervals_enclose_their_estimates(rows: list[dict[str, Any]]) -> None:
    summary = summarise(rows)
    for name in NAMES:
        low, high = summary[name]["ci95"]
        assert low <= summary[name]["mean"] <= high
    low, high = summary["volume_dice"]["median_ci95"]
    assert low <= summary["volume_dice"]["median"] <= high


def test_the_median_interval_is_the_bootstrap_of_numpy_medians(rows: list[dict[str, Any]]) -> None:
    rows = [dict(row) for row in rows]
    rows[2]["hd95_px"] = math.nan
    drawn = np.random.default_rng(1).integers(0, len(rows), size=(200, len(rows)))
    values = np.array([row["hd95_px"] for row in rows])
    expected = np.percentile(np.nanmedian(values[drawn], axis=1), [2.5, 97.5])
    assert summarise(rows, resamples=200, seed=1)["hd95_px"]["median_ci95"] == pytest.approx(list(expected))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    template = score_volume(*volume_pair(0, 4))
    covered = 0
    for trial in range(60):
        rows = [
            {"patient": str(number), **template, "volume_dice": value} for number, value in enumerate(rng.random(30))
        ]
        low, high = summarise(rows, resamples=200, seed=trial)["volume_dice"]["ci95"]
        covered += low <= 0.5 <= high
    assert 0.85 <= covered / 60 <= 1.0


def test_patients_are_resampled_and_not_slices() -> None:
    # Two kinds of patients with many equal slices: resampling slices would give a far narrower interval.
    rows = []
    for number in range(10):
        label = np.ones((2, 2, 50), dtype=bool)
        rows.append({"patient": str(number), **score_volume(label if number % 2 else ~label, label)})
    low, high = summarise(rows)["tumour_slice_iou"]["ci95"]
    assert high - low > 0.4


def test_undefined_values_are_left_out_and_counted(rows: list[dict[str, Any]]) -> None:
    changed = [dict(row) for row in rows]
    changed[0]["hd95_px"], changed[1]["hd95_px"] = math.nan, None
    entry = summarise(changed)["hd95_px"]
    assert (entry["n"], entry["undefined"]) == (6, 2)
    assert entry["mean"] == pytest.approx(np.mean([row["hd95_px"] for row in rows[2:]]))


def test_one_patient_has_no_interval(rows: list[dict[str, Any]]) -> None:
    summary = summarise(rows[:1])
    assert all(summary[name]["ci95"] is None and summary[name]["median_ci95"] is None for name in NAMES)
    assert summary["volume_dice"]["mean"] == pytest.approx(rows[0]["volume_dice"])
    assert summary["volume_dice"]["std"] is None


def test_nothing_there_and_nothing_predicted() -> None:
    nothing = np.zeros((3, 3, 2))
    rows = [{"patient": name, **score_volume(nothing, nothing)} for name in "ab"]
    summary = summarise(rows)
    assert summary["pooled_iou"]["mean"] == 1.0
    assert summary["pooled_iou"]["ci95"] == [1.0, 1.0]
    for name in ("tumour_slice_iou", "sensitivity", "precision"):
        assert (summary[name]["mean"], summary[name]["ci95"], summary[name]["undefined"]) == (None, None, 2)


def test_a_summary_is_valid_json(rows: list[dict[str, Any]]) -> None:
    nothing = {"patient": "x", "site": "CS", "part": "test"} | score_volume(np.zeros((3, 3, 2)), np.zeros((3, 3, 2)))
    summary = summarise([*rows, nothing])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_sites(rows: list[dict[str, Any]]) -> None:
    by_site = summarise(rows)["by_site"]
    dice = [row["volume_dice"] for row in rows]
    assert by_site["CS"] == pytest.approx({"n": 5, "mean": np.mean(dice[:5]), "median": np.median(dice[:5])})
    assert by_site["DU"]["n"] == 3
    assert "by_site" not in summarise([{**row, "site": ""} for row in rows])


def test_no_rows_are_refused() -> None:
    with pytest.raises(LggError, match="no patient was scored"):
        summarise([])


def test_the_table_of_patients(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    changed = [{**rows[0], "hd95_px": math.nan}, rows[1]]
    write_patients_csv(tmp_path / "patients.csv", changed)
    with (tmp_path / "patients.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:3] == ["patient", "site", "part"]
    assert table[0]["hd95_px"] == ""
    assert table[1]["volume_dice"] == f"{rows[1]['volume_dice']:.6f}"
    assert table[1]["slices"] == str(rows[1]["slices"])
    assert [path.name for path in tmp_path.iterdir()] == ["patients.csv"]


def test_the_text_is_aligned_and_names_every_metric(rows: list[dict[str, Any]]) -> None:
    summary = summarise(rows)
    header, *lines, counts = format_summary(summary).splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert {len(line) for line in lines} == {len(header)}
    assert f"{summary['volume_dice']['mean']:.3f}" in lines[0]
    assert counts.startswith("8 patients")
    assert " to " not in format_summary(summarise(rows[:1]))


def test_a_pooled_interval_is_the_bootstrap_of_the_pooled_quotient(rows: list[dict[str, Any]]) -> None:
    drawn = np.random.default_rng(1).integers(0, len(rows), size=(200, len(rows)))
    summary = summarise(rows, resamples=200, seed=1)
    for name, above, below in (
        ("pooled_iou", "intersection", "union"),
        ("false_positive_slices", "false_positive_slice_count", "empty_slices"),
    ):
        upper, lower = (np.array([float(row[key]) for row in rows])[drawn].sum(axis=1) for key in (above, below))
        assert summary[name]["ci95"] == pytest.approx(list(np.percentile(upper / lower, [2.5, 97.5])))


def test_scans_of_one_person_are_drawn_together(rows: list[dict[str, Any]]) -> None:
    """Copies of every scan made intervals narrower, as if they were other patients."""
    visits = [{**row, "patient": f"{row['patient']}_2001010{day}"} for row in rows for day in range(1, 5)]
    alone, together = summarise(rows), summarise(visits)
    assert (together["patients"], together["people"], alone["people"]) == (32, 8, 8)
    for name in NAMES:
        assert together[name]["ci95"] == pytest.approx(alone[name]["ci95"])
        assert together[name]["median_ci95"] == pytest.approx(alone[name]["median_ci95"])
    assert "32 patients (scans of 8 people by their names)" in format_summary(together)
    one = summarise(visits[:4])
    assert (one["patients"], one["people"], one["volume_dice"]["ci95"]) == (4, 1, None)
    assert "4 patients (scans of 1 person by their names)" in format_summary(one)
    assert format_summary(one).endswith("; one person allows no interval")
    assert "\n1 patient, " in format_summary(summarise(rows[:1]))


def test_the_bootstrap_over_people_is_that_of_numpy(rows: list[dict[str, Any]]) -> None:
    names = ["a_20010101", "b", "a_20020101", "c", "d", "a_20030101", "c_20010101", "e"]
    values = np.array([row["hd95_px"] for row in rows])
    persons = [[0, 2, 5], [1], [3, 6], [4], [7]]
    drawn = np.random.default_rng(0).integers(0, 5, size=(2000, 5))
    samples = [values[[place for person in row for place in persons[person]]] for row in drawn]
    summary = summarise([{**row, "patient": name} for row, name in zip(rows, names, strict=True)])
    for key, statistic in (("ci95", np.mean), ("median_ci95", np.median)):
        expected = np.percentile([statistic(sample) for sample in samples], [2.5, 97.5])
        assert summary["hd95_px"][key] == pytest.approx(list(expected))
