"""Errors of known kinds; what mending them brings; labels that are not those of the evaluation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lgg_monai.engines.scores import score_volume
from lgg_monai.robustness.error_report import error_table
from lgg_monai.robustness.error_types import (
    GROUPS,
    KINDS,
    TYPES,
    count_parts,
    error_types,
    mended,
    neighbour_dice,
)

SHAPE = (40, 40, 8)


def block(*box: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[box] = True
    return mask


TUMOUR = block(slice(10, 20), slice(10, 20), slice(2, 5))


def counts(prediction: np.ndarray, label: np.ndarray) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in error_types(prediction, label).items() if mask.any()}


def row(prediction: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    masks = error_types(prediction, label)
    return (
        {"patient": "P", "site": "AA"} | score_volume(prediction, label) | {k: int(m.sum()) for k, m in masks.items()}
    )


def test_equal_masks_have_no_errors() -> None:
    assert counts(TUMOUR, TUMOUR) == {}
    assert counts(np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)) == {}


def test_a_part_that_the_other_does_not_touch() -> None:
    second = block(slice(30, 34), slice(30, 34), slice(2, 4))
    assert counts(TUMOUR, TUMOUR | second) == {"missed_part": 32}
    assert counts(TUMOUR | second, TUMOUR) == {"added_part": 32}
    assert counts(np.zeros(SHAPE, bool), TUMOUR) == {"missed_part": 300}
    found = {"label_parts": 2, "missed_parts": 1, "predicted_parts": 1, "added_parts": 0}
    assert count_parts(TUMOUR, TUMOUR | second) == found


def test_slices_at_the_end_of_a_tumour() -> None:
    longer = block(slice(10, 20), slice(10, 20), slice(2, 7))
    assert counts(TUMOUR, longer) == {"missed_slice": 200}
    assert counts(longer, TUMOUR) == {"added_slice": 200}


def test_a_false_part_does_not_make_a_slice_found() -> None:
    longer = block(slice(10, 20), slice(10, 20), slice(2, 6))
    speck = block(slice(30, 32), slice(30, 32), slice(5, 6))
    assert counts(TUMOUR | speck, longer) == {"missed_slice": 100, "added_part": 4}


def test_the_rim_is_two_pixels_wide_within_the_slice() -> None:
    wider = block(slice(10, 25), slice(10, 20), slice(2, 5))  # five columns more
    assert counts(TUMOUR, wider) == {"missed_rim": 2 * 10 * 3, "missed_area": 3 * 10 * 3}
    assert counts(wider, TUMOUR) == {"added_rim": 2 * 10 * 3, "added_area": 3 * 10 * 3}


def test_each_voxel_that_differs_has_one_type() -> None:
    rng = np.random.default_rng(0)
    prediction, label = (rng.random(SHAPE) < share for share in (0.02, 0.03))
    masks = error_types(prediction | TUMOUR, label | np.roll(TUMOUR, 4, axis=0))
    stacked = np.stack([masks[name] for name in TYPES])
    assert (stacked.sum(axis=0) == ((prediction | TUMOUR) ^ (label | np.roll(TUMOUR, 4, axis=0)))).all()
    assert sum(mask.any() for mask in masks.values()) >= 6


def test_mending_is_scoring_the_mended_mask() -> None:
    rng = np.random.default_rng(1)
    label = np.roll(TUMOUR, 4, axis=0) | (rng.random(SHAPE) < 0.03)
    prediction = TUMOUR | (rng.random(SHAPE) < 0.02)
    masks, scored = error_types(prediction, label), row(prediction, label)
    for types in GROUPS.values():
        wrong = np.any([masks[name] for name in types], axis=0)
        assert mended(scored, types) == pytest.approx(score_volume(prediction ^ wrong, label)["volume_dice"])
    assert mended(scored, TYPES) == 1
    assert mended(row(np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)), TYPES) == 1


def test_the_table_pools_voxels_and_averages_dice_over_patients() -> None:
    longer = block(slice(10, 20), slice(10, 20), slice(2, 7))
    rows = [row(TUMOUR, TUMOUR), row(TUMOUR, longer)]
    table = {line["errors"]: line for line in error_table(rows)}
    assert set(table) == {*TYPES, *KINDS}
    line = table["missed_slice"]
    assert (line["voxels"], line["share"], line["patients"]) == (200, 1.0, 1)
    assert line["gain"] == pytest.approx((1 - 600 / 800) / 2)
    assert line["mean_dice_mended"] == 1
    assert table["slice"]["gain"] == line["gain"]
    assert table["rim"]["gain"] == 0
    assert line["certain_share"] is None  # no probabilities are known
    for own in rows:
        own |= {f"certain_{name}": own[name] // 4 for name in TYPES}
    assert {r["errors"]: r for r in error_table(rows)}["missed_slice"]["certain_share"] == 0.25


def test_neighbouring_slices_of_a_label() -> None:
    every = TUMOUR.any(axis=(0, 1))
    assert neighbour_dice(TUMOUR, every) == 1
    jumping = TUMOUR.copy()
    jumping[..., 3] = np.roll(jumping[..., 3], 5, axis=0)  # half of it beside its neighbours
    assert neighbour_dice(jumping, every) == pytest.approx(0.5)
    assert math.isnan(neighbour_dice(TUMOUR, np.zeros(8, bool)))
    single = block(slice(3, 5), slice(3, 5), slice(2, 3))
    assert math.isnan(neighbour_dice(single, single.any(axis=(0, 1))))


def test_parts_that_touch_by_a_corner_are_one() -> None:
    label = TUMOUR | block(slice(20, 24), slice(20, 24), slice(4, 5))
    assert "missed_part" not in counts(TUMOUR, label)
    assert "added_part" not in counts(label, TUMOUR)
