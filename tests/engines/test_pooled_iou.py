"""Pooled IoU: agreement with counting by hand, whatever the batches, and the Ignite handler."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import from_engine

from lgg_monai.engines.pooled_iou import PooledIoU, PooledIoUHandler


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    y = (torch.rand(12, 1, 8, 8) > 0.7).float()
    y[:5] = 0
    return (torch.rand(12, 1, 8, 8) > 0.6).float(), y


def expected(y_pred: torch.Tensor, y: torch.Tensor) -> float:
    return ((y_pred * y).sum() / torch.maximum(y_pred, y).sum()).item()


@pytest.mark.parametrize("batch", [1, 5, 12])
def test_the_size_of_the_batches_does_not_matter(masks: tuple[torch.Tensor, torch.Tensor], batch: int) -> None:
    metric = PooledIoU()
    for y_pred, y in zip(*(mask.split(batch) for mask in masks), strict=True):
        metric(y_pred, y)
    result = metric.aggregate()
    assert result.shape == ()
    assert result.item() == pytest.approx(expected(*masks))


def test_each_batch_adds_one_row(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    metric = PooledIoU()
    assert metric(*masks).shape == (1, 2)  # type: ignore[union-attr]
    metric(*masks)
    assert metric.get_buffer().shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16])
def test_the_type_does_not_matter(masks: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> None:
    metric = PooledIoU()
    metric(*(mask.to(dtype) for mask in masks))
    assert metric.aggregate().item() == pytest.approx(expected(*masks))


def test_lists_of_images_of_different_sizes(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    y_pred, y = masks
    metric = PooledIoU()
    metric([y_pred[0], y_pred[6, :, :5]], [y[0], y[6, :, :5]])
    joined = [torch.cat([mask[0].flatten(), mask[6, :, :5].flatten()]) for mask in masks]
    assert metric.aggregate().item() == pytest.approx(expected(*joined))
    assert len(metric) == 1


def test_metatensors_count_alike(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    metric = PooledIoU()
    metric(*(MetaTensor(mask) for mask in masks))
    metric(*([MetaTensor(item) for item in mask] for mask in masks))
    assert not isinstance(metric.get_buffer(), MetaTensor)
    assert metric.aggregate().item() == pytest.approx(expected(*masks))


def test_nothing_there_and_nothing_predicted_is_one() -> None:
    metric = PooledIoU()
    metric(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    assert metric.aggregate().item() == 1.0


def test_a_false_positive_on_an_empty_slice_counts(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    metric = PooledIoU()
    metric(masks[1], masks[1])
    assert metric.aggregate().item() == 1.0
    metric(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    assert metric.aggregate().item() == pytest.approx((masks[1].sum() / (masks[1].sum() + 64)).item())


def test_large_counts_stay_exact() -> None:
    metric = PooledIoU()
    metric(torch.ones(1, 1, 4096, 4096, dtype=torch.bool), torch.ones(1, 1, 4096, 4096, dtype=torch.bool))
    metric(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    assert metric.get_buffer().sum(dim=0).tolist() == [2**24, 2**24 + 1]


def test_reset_forgets(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    metric = PooledIoU()
    metric(*masks)
    metric.reset()
    with pytest.raises(ValueError, match="must be PyTorch Tensor"):
        metric.aggregate()
    metric(masks[1], masks[1])
    assert metric.aggregate().item() == 1.0


def test_processes_are_summed(masks: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    # Two processes, simulated where MONAI gathers: the other one has counted the second half, in three batches.
    other = PooledIoU()
    for y_pred, y in zip(*(mask[6:].split(2) for mask in masks), strict=True):
        other(y_pred, y)
    theirs = copy.deepcopy(other.get_buffer())
    gather = "monai.metrics.metric.evenly_divisible_all_gather"
    monkeypatch.setattr(gather, lambda mine, concat: torch.cat([mine, theirs]))
    metric = PooledIoU()
    metric(*(mask[:6] for mask in masks))
    assert metric.aggregate().item() == pytest.approx(expected(*masks))


@pytest.mark.parametrize(
    ("y_pred", "y", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 5), "same shapes"),
        (torch.zeros(2, 1, 4, 4), None, "same shapes"),
        (torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4), "one channel"),
        ([torch.zeros(1, 4)], [torch.zeros(1, 5)], "same shapes"),
        ([torch.zeros(1, 4)], [torch.zeros(1, 4)] * 2, "same shapes"),
        ([torch.zeros(2, 4)], [torch.zeros(2, 4)], "one channel"),
    ],
)
def test_wrong_shapes_are_refused(y_pred: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PooledIoU()(y_pred, y)


@pytest.mark.parametrize("save_details", [False, True])
def test_the_handler_records_each_epoch(masks: tuple[torch.Tensor, torch.Tensor], save_details: bool) -> None:
    engine = Engine(lambda engine, batch: {"pred": batch[0], "label": batch[1]})
    details: dict[str, Any] = {}
    engine.state.metric_details = details  # type: ignore[attr-defined]
    PooledIoUHandler(output_transform=from_engine(["pred", "label"]), save_details=save_details).attach(engine, "iou")
    batches = list(zip(*(mask.split(4) for mask in masks), strict=True))
    engine.run(batches, max_epochs=2)
    assert isinstance(engine.state.metrics["iou"], float)
    assert engine.state.metrics["iou"] == pytest.approx(expected(*masks))
    assert ("iou" in details) is save_details
