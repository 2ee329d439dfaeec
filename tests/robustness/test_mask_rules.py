"""Rules for masks are scored as evaluations score, and judged on patients that did not choose them."""

from __future__ import annotations

import numpy as np
import pytest

from lgg_monai.engines.scores import score_volume
from lgg_monai.robustness.mask_rules import PRESENT, RULES, MaskRule, cross_fitted, rule_scores
from lgg_monai.transforms.components import without_specks

SHAPE = (24, 24, 8)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with parts of many sizes, and a label that shares some of them."""
    rng = np.random.default_rng(seed)
    probability, label = 0.29 * rng.random(SHAPE), np.zeros(SHAPE, bool)
    for number, side in enumerate((9, 6, 4, 2, 1)):
        x, y = rng.integers(0, SHAPE[0] - side, size=2)
        box = (slice(x, x + side), slice(y, y + side), slice(number, number + 3))
        probability[box] = rng.uniform(0.2, 1)
        label[box] |= rng.random() < 0.6
    return probability, label


@pytest.mark.parametrize("seed", range(4))
def test_rules_score_as_the_evaluation_does(seed: int) -> None:
    probability, label = blobs(seed)
    found = rule_scores(probability, label, RULES)
    for rule, dice in zip(RULES, found, strict=True):
        mask = without_specks(probability >= rule.threshold, rule.smallest_component, rule.smallest_share)
        assert dice == pytest.approx(score_volume(mask, label)["volume_dice"]), rule
    assert len(set(found)) > 3  # so that the comparison means something


def test_parts_of_just_the_smallest_size_go_as_in_the_evaluation() -> None:
    probability = np.zeros(SHAPE)
    probability[0:4, 0:5, 0], probability[10:12, 0:5, 0] = 1, 1  # 20 and 10 voxels
    label = probability > 0
    for rule in (MaskRule(0.5, 10, 0), MaskRule(0.5, 0, 0.5), MaskRule(0.5, 9, 0), MaskRule(0.5, 0, 0.45)):
        mask = without_specks(label, rule.smallest_component, rule.smallest_share)
        assert rule_scores(probability, label, [rule]) == [score_volume(mask, label)["volume_dice"]]


def test_empty_masks_have_a_score() -> None:
    nothing = np.zeros(SHAPE)
    assert rule_scores(nothing, nothing > 0, [PRESENT]) == [1.0]
    assert rule_scores(nothing, nothing == 0, [PRESENT]) == [0.0]


def test_the_present_rule_is_first_and_is_what_the_configs_say() -> None:
    assert RULES[0] == PRESENT == MaskRule()
    assert len(set(RULES)) == len(RULES) == 100


def test_a_fold_does_not_choose_its_own_rule() -> None:
    # Rule 1 is by far the best for fold 0 alone, rule 2 for the others.
    scores = np.array([[0.5, 1.0, 0.5], [0.5, 0.5, 0.6], [0.5, 0.4, 0.6]])
    assert cross_fitted(scores, np.array([0, 1, 2])).tolist() == [2, 1, 1]
    assert cross_fitted(np.full((3, 3), 0.7), np.array([0, 1, 2])).tolist() == [0, 0, 0]  # the first of equals
