"""MONAI's mean IoU over the slices that show tumour, for use at every step of a training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.handlers import MeanIoUHandler
from monai.metrics import MeanIoU


class TumourSliceIoU(MeanIoU):
    """:class:`monai.metrics.MeanIoU` that never makes a GPU wait.

    MONAI's puts a number on the device at every call, and waits for all that was launched before.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Compute the IoU of each sample.

        Args:
            y_pred: binary prediction ``[B, C, X, Y]``.
            y: binary label of the same shape.

        Returns:
            ``[B, C]``; NaN, which is left out of the mean, where the label is empty.

        Raises:
            ValueError: the shapes differ.
        """
        if y_pred.shape != y.shape:
            raise ValueError(f"y_pred and y should have same shapes, got {y.shape} and {y_pred.shape}.")
        axes = list(range(2, y.ndim))
        intersection, true = (y * y_pred).sum(axes), y.sum(axes)
        union = true + y_pred.sum(axes) - intersection
        return (intersection / union).masked_fill(true == 0, torch.nan)


class TumourSliceIoUHandler(MeanIoUHandler):
    """Record the mean IoU of an epoch's slices that show tumour in ``engine.state.metrics``."""

    def __init__(self, output_transform: Callable = lambda x: x) -> None:
        """Set the handler up; ``attach`` comes from Ignite.

        Args:
            output_transform: makes ``(y_pred, y)``, binary ``[B, 1, X, Y]``, from ``engine.state.output``.
        """
        super().__init__(output_transform=output_transform, save_details=False)
        self.metric_fn = TumourSliceIoU()
