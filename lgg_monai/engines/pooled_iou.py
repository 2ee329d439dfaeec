"""Pooled IoU: one intersection over one union of all voxels seen, as a MONAI metric and as a handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric


class PooledIoU(CumulativeIterationMetric):
    """Divide the summed intersections by the summed unions of all batches (``pooled_iou``).

    A large tumour weighs more than a small one and an empty slice weighs nothing, unless something is predicted there.
    Each call adds one row ``[intersection, union]`` to the buffer without waiting for the device; the rows of all
    processes are gathered at the end, so that a distributed run gives the very number of a single one.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """Count one batch.

        Args:
            y_pred: binary prediction ``[B, 1, ...]``.
            y: binary label of the same shape.
            kwargs: unused; MONAI hands on what it was called with.

        Returns:
            Intersection and union in voxels, int64 ``[1, 2]``.

        Raises:
            ValueError: no label is given, the shapes differ, or there is more than one channel.
        """
        if y is None or y_pred.shape != y.shape:
            raise ValueError(
                f"y_pred and y should have same shapes, got {y_pred.shape} and {getattr(y, 'shape', None)}."
            )
        if y_pred.ndim < 2 or y_pred.shape[1] != 1:
            raise ValueError(f"y_pred and y should be binary with one channel [B, 1, ...], got {tuple(y_pred.shape)}.")
        return _count(y_pred, y)

    def _compute_list(
        self, y_pred: torch.Tensor | Sequence[torch.Tensor], y: Any = None, **kwargs: Any
    ) -> torch.Tensor | list[torch.Tensor | Sequence[torch.Tensor]]:
        """Count a decollated batch: a list of ``[1, ...]`` that may differ in size, joined into one line of voxels."""
        if y is None or [item.shape for item in y_pred] != [item.shape for item in y]:
            raise ValueError("y_pred and y should be lists of tensors of the same shapes.")
        if any(item.shape[0] != 1 for item in y_pred):
            raise ValueError("y_pred and y should be binary with one channel, lists of [1, ...].")
        return _count(*(torch.cat([_plain(item).reshape(-1) for item in items]) for items in (y_pred, y)))

    def aggregate(self) -> torch.Tensor:
        """Divide what was summed since ``reset``, over all processes.

        Returns:
            A scalar tensor; 1 where nothing was predicted and nothing was there.

        Raises:
            ValueError: nothing was counted yet.
        """
        counts = self.get_buffer()
        if not isinstance(counts, torch.Tensor):
            raise ValueError("the data to aggregate must be PyTorch Tensor.")
        # Sums stay integers: float32 loses single voxels beyond 2**24, about 256 slices of 256 x 256.
        intersection, union = counts.sum(dim=0)
        return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


class PooledIoUHandler(IgniteMetricHandler):
    """Record the pooled IoU of an epoch in ``engine.state.metrics``."""

    def __init__(self, output_transform: Callable = lambda x: x, save_details: bool = False) -> None:
        """Set the handler up; ``attach`` comes from Ignite.

        Args:
            output_transform: makes ``(y_pred, y)``, binary and batch-first or lists of channel-first tensors, from
                ``engine.state.output``, such as ``from_engine(["pred", "label"])``.
            save_details: keep the ``[intersection, union]`` rows in ``engine.state.metric_details``. They are one a
                batch, not one an image, so `MetricsSaver` cannot pair them with file names: off by default.
        """
        super().__init__(metric_fn=PooledIoU(), output_transform=output_transform, save_details=save_details)


def _count(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    predicted, true = _plain(y_pred) > 0.5, _plain(y) > 0.5
    return torch.stack([(predicted & true).sum(), (predicted | true).sum()])[None]


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Drop the metadata, which makes every operation slower."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor.detach()
