"""The mean IoU of tumour slices is MONAI's."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import MeanIoUHandler, from_engine
from monai.metrics import MeanIoU

from lgg_monai.engines import TumourSliceIoU, TumourSliceIoUHandler


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    true = (torch.rand(8, 1, 9, 7, generator=generator) > 0.6).float()
    predicted = (torch.rand(8, 1, 9, 7, generator=generator) > 0.5).float()
    true[:3] = 0
    predicted[2:5] = 0  # nothing in either; something missed altogether
    return predicted, true


def test_each_slice_has_the_iou_that_monai_gives_it(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    ours, theirs = TumourSliceIoU()(*masks), MeanIoU()(*masks)
    torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=0, atol=0)
    assert ours.isnan().flatten().tolist() == [True] * 3 + [False] * 5


def test_the_handler_records_the_mean_over_an_epoch(masks: tuple[torch.Tensor, torch.Tensor]) -> None:
    engine = Engine(lambda engine, batch: {"pred": batch[0], "label": batch[1]})
    TumourSliceIoUHandler(from_engine(["pred", "label"])).attach(engine, "ours")  # type: ignore[arg-type]
    MeanIoUHandler(output_transform=from_engine(["pred", "label"]), save_details=False).attach(engine, "theirs")  # type: ignore[arg-type]
    engine.state.metric_details = {}  # type: ignore[attr-defined]
    engine.run([tuple(mask[start : start + 3] for mask in masks) for start in (0, 3, 6)])
    assert engine.state.metrics["ours"] == engine.state.metrics["theirs"] > 0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shapes"):
        TumourSliceIoU()(torch.ones(2, 1, 4, 4), torch.ones(2, 1, 4, 5))
