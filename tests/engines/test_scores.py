"""Scores of one patient: known values, MONAI's metrics, empty masks and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, MeanIoU, compute_hausdorff_distance, compute_surface_dice

from lgg_monai.engines.scores import mask_dice, score_volume, surface_scores
from lgg_monai.errors import LggError


@pytest.fixture
def random_pair() -> tuple[np.ndarray, np.ndarray]:
    """Two blocky overlapping masks with empty slices at both ends, one touching the volume's border."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.random((6, 6, 4)) > 0.6, np.ones((4, 4, 1))).astype(np.uint8)
    prediction = np.where(rng.random(label.shape) > 0.9, 1 - label, label).astype(np.uint8)
    label[:, :, [0, 3]] = 0
    prediction[:, :, 0] = 0
    return prediction, label


def empty() -> np.ndarray:
    return np.zeros((8, 8, 3), dtype=np.uint8)


def cube() -> np.ndarray:
    mask = empty()
    mask[2:5, 2:5, 1] = 1
    return mask


def test_values_computed_by_hand() -> None:
    label, prediction = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    label[0:2, 0:2, 0] = 1  # 4 voxels, of which 2 are found, and 1 is found elsewhere
    prediction[0, 0:2, 0] = prediction[3, 3, 0] = 1
    label[0, 0, 1] = 1  # missed
    prediction[0, 0, 2] = 1  # false positive on a tumour-free slice; the slice 3 is empty in both
    scores = score_volume(prediction, label)
    expected = {
        "slices": 4,
        "tumour_slices": 2,
        "empty_slices": 2,
        "tumour_voxels": 5,
        "predicted_voxels": 4,
        "intersection": 2,
        "union": 7,
        "volume_dice": 4 / 9,
        "volume_iou": 2 / 7,
        "sensitivity": 2 / 5,
        "precision": 2 / 4,
        "tumour_slice_iou": (2 / 5 + 0) / 2,
        "all_slice_iou": (2 / 5 + 0 + 0 + 1) / 4,
        "false_positive_slices": 1 / 2,
        "false_positive_slice_count": 1,
    }
    assert {key: scores[key] for key in expected} == pytest.approx(expected)


def test_a_shift_by_three_voxels_is_the_hausdorff_distance() -> None:
    label, prediction = np.zeros((20, 20, 3), bool), np.zeros((20, 20, 3), bool)
    label[5, 5, 1] = prediction[8, 5, 1] = True
    scores = score_volume(prediction, label)
    assert scores["hd95_px"] == pytest.approx(3.0)
    assert scores["surface_dice_2px"] == 0.0


def test_the_tolerance_of_the_surface_dice_is_two_voxels() -> None:
    label, prediction = np.zeros((20, 20, 3), bool), np.zeros((20, 20, 3), bool)
    label[5, 5, 1] = prediction[7, 5, 1] = True
    scores = score_volume(prediction, label)
    assert (scores["hd95_px"], scores["surface_dice_2px"]) == (2.0, 1.0)


def test_overlap_agrees_with_monai(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    tensors = [torch.from_numpy(mask).float()[None, None] for mask in random_pair]

    def aggregate(metric: DiceMetric | MeanIoU) -> float:
        metric(*tensors)
        return torch.as_tensor(metric.aggregate()).item()

    scores = score_volume(*random_pair)
    assert scores["volume_dice"] == pytest.approx(aggregate(DiceMetric()), abs=1e-6)
    assert scores["volume_iou"] == pytest.approx(aggregate(MeanIoU()), abs=1e-6)


def test_slice_iou_agrees_with_monai_on_slices(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    slices = [torch.from_numpy(mask).float().permute(2, 0, 1)[:, None] for mask in random_pair]

    def slice_iou(ignore_empty: bool) -> float:
        metric = MeanIoU(ignore_empty=ignore_empty)
        metric(*slices)
        return torch.as_tensor(metric.aggregate()).item()

    scores = score_volume(*random_pair)
    assert scores["tumour_slice_iou"] == pytest.approx(slice_iou(True), abs=1e-6)
    assert scores["all_slice_iou"] == pytest.approx(slice_iou(False), abs=1e-6)


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        (
            empty(),
            empty(),
            {"volume_dice": 1, "volume_iou": 1, "hd95_px": 0, "surface_dice_2px": 1, "all_slice_iou": 1}
            | {
                "sensitivity": math.nan,
                "precision": math.nan,
                "tumour_slice_iou": math.nan,
                "false_positive_slices": 0,
            },
        ),
        (
            cube(),
            empty(),
            {"volume_dice": 0, "volume_iou": 0, "hd95_px": math.nan, "surface_dice_2px": 0, "all_slice_iou": 2 / 3}
            | {"sensitivity": math.nan, "precision": 0, "tumour_slice_iou": math.nan, "false_positive_slices": 1 / 3},
        ),
        (
            empty(),
            cube(),
            {"volume_dice": 0, "volume_iou": 0, "hd95_px": math.nan, "surface_dice_2px": 0, "all_slice_iou": 2 / 3}
            | {"sensitivity": 0, "precision": math.nan, "tumour_slice_iou": 0, "false_positive_slices": 0},
        ),
    ],
    ids=["both empty", "label empty", "prediction empty"],
)
def test_empty_masks(prediction: np.ndarray, label: np.ndarray, expected: dict[str, float]) -> None:
    scores = score_volume(prediction, label)
    assert {key: scores[key] for key in expected} == pytest.approx(expected, nan_ok=True)


def test_false_positive_slices_are_undefined_without_a_tumour_free_slice() -> None:
    full = np.ones((4, 4, 2))
    assert math.isnan(score_volume(full, full)["false_positive_slices"])


def test_a_perfect_prediction(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score_volume(random_pair[1], random_pair[1])
    perfect = ["volume_dice", "volume_iou", "tumour_slice_iou", "all_slice_iou", "sensitivity", "precision"]
    assert all(scores[key] == 1.0 for key in [*perfect, "surface_dice_2px"])
    assert scores["hd95_px"] == scores["false_positive_slices"] == 0.0


@pytest.mark.parametrize("border", [False, True], ids=["inside", "at the border"])
@pytest.mark.parametrize("seed", range(4))
def test_the_crop_changes_nothing(seed: int, border: bool) -> None:
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, 24, 20, 9), dtype=bool)
    start = (0, 0, 0) if border else (7, 5, 2)
    for mask in masks:
        x, y, z = rng.integers(0, 3, size=3) + start
        mask[x : x + 9, y : y + 6, z : z + 3] = rng.random((9, 6, 3)) > 0.3
        if border:
            mask[0, 0, 0] = True
    whole = [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in masks]
    hausdorff = compute_hausdorff_distance(*whole, include_background=True, percentile=95)
    surface_dice = compute_surface_dice(*whole, [2.0], include_background=True)
    assert surface_scores(masks[0], masks[1]) == (float(hausdorff), float(surface_dice))


def test_padding_the_volume_changes_no_volume_score(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    plain = score_volume(*random_pair)
    padded = score_volume(*(np.pad(mask, ((3, 5), (2, 0), (0, 0))) for mask in random_pair))
    assert padded == pytest.approx(plain)


def test_flips_and_transposition_change_nothing(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    plain = score_volume(*random_pair)
    turned = score_volume(*(mask.transpose(1, 0, 2)[::-1, :, ::-1] for mask in random_pair))
    assert turned == pytest.approx(plain)


def test_swapping_the_masks_swaps_sensitivity_and_precision(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores, swapped = score_volume(*random_pair), score_volume(*random_pair[::-1])
    assert swapped["sensitivity"] == scores["precision"]
    for key in ("volume_dice", "volume_iou", "all_slice_iou", "hd95_px", "surface_dice_2px"):
        assert swapped[key] == pytest.approx(scores[key])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_the_type_of_the_masks_does_not_matter(random_pair: tuple[np.ndarray, np.ndarray], dtype: type) -> None:
    assert score_volume(*(mask.astype(dtype) for mask in random_pair)) == score_volume(*random_pair)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_different_shape_is_refused(axis: int) -> None:
    with pytest.raises(LggError, match=r"shape \(.*\) differs from the label's"):
        score_volume(np.delete(cube(), 0, axis), cube())


@pytest.mark.parametrize("value", [2.0, 0.5, -1.0, math.nan, 255.0])
def test_other_values_than_0_and_1_are_refused(value: float) -> None:
    mask = cube().astype(float)
    mask[0, 0, 0] = value
    with pytest.raises(LggError, match=f"the prediction holds the value {value}"):
        score_volume(mask, cube())
    with pytest.raises(LggError, match=f"the label holds the value {value}"):
        score_volume(cube(), mask)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 3), (8, 8, 0)])
def test_other_than_three_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LggError, match=r"give one patient's mask as \[X, Y, Z\]"):
        score_volume(np.zeros(shape), np.zeros(shape))


def test_hd95_leaves_out_the_farthest_twentieth_of_the_surface() -> None:
    label = np.zeros((30, 30, 3), bool)
    label[5:15, 5:15, 1] = True
    prediction = label.copy()
    prediction[25, 25, 1] = True  # one voxel of a hundred and one
    assert score_volume(prediction, label)["hd95_px"] == 0


def test_the_dice_of_masks(random_pair: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = (mask.astype(bool) for mask in random_pair)
    assert mask_dice(one, other) == pytest.approx(score_volume(*random_pair)["volume_dice"])
    one, other = np.zeros(8, dtype=bool), np.zeros(8, dtype=bool)
    assert mask_dice(one, other) == 1
    one[:4], other[2:6] = True, True
    assert mask_dice(one, other) == 0.5
