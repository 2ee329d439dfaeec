"""Inference on the part of a volume that shows the head: air costs as much as brain, and holds no tumour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn import functional

from lgg_monai.data.sequences import shown_channel

NO_TUMOUR = -20.0
"""The logit given to voxels outside: a probability of 2e-9."""
THRESHOLD = 0.1
"""Share of FLAIR's range above which a voxel is of the head."""
SHARE = 0.01
"""Of head voxels that a row or column of the volume needs to count, so that noise does not widen the box."""


class HeadInferer(Inferer):
    """Run another inferer on the box around the head, and call everything outside of it tumour-free.

    The box is that of the whole volume, so all slices keep one size. It begins and ends at multiples of the network's
    strides: anywhere else, strided layers would sample other pixels and predict a little differently all over the head.
    Near its edges a network sees padding where it would have seen air, so predictions there differ still.

    Args:
        inferer: does the work; its output has the image's grid.
        enabled: False passes on what the other inferer returns for the whole volume.
        margin: voxels of air kept on every side, at least.
        divisor: the product of the network's strides; that of the bundles' deepest encoder by default.
    """

    def __init__(
        self,
        inferer: Inferer,
        enabled: bool = True,
        margin: int = 4,
        divisor: int = 32,
    ) -> None:
        super().__init__()
        self.inferer = inferer
        self.enabled = enabled
        self.margin = margin
        self.divisor = divisor

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Infer volumes.

        Args:
            inputs: ``[B, C, X, Y, Z]``, one or several volumes, which share a box.
            network: see the inferer.
            args: passed on.
            kwargs: passed on.

        Returns:
            Logits ``[B, K, X, Y, Z]``.
        """
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        (left, right), (top, bottom) = self.box(inputs)
        logits = self.inferer(inputs[:, :, left:right, top:bottom], network, *args, **kwargs)
        width, height = inputs.shape[2:4]
        outside = (0, 0, top, height - bottom, left, width - right)
        return functional.pad(logits, outside, value=NO_TUMOUR)

    def box(self, inputs: torch.Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Find the head.

        Returns:
            First index and one past the last, of X and of Y; all of an axis where there is no head to be seen.
        """
        flair = inputs[:, shown_channel(inputs.shape[1])]
        low, high = flair.amin(dim=(1, 2, 3), keepdim=True), flair.amax(dim=(1, 2, 3), keepdim=True)
        head = (flair > low + THRESHOLD * (high - low)).float()
        along_x, along_y = head.mean(dim=(2, 3)).amax(dim=0), head.mean(dim=(1, 3)).amax(dim=0)
        return self._range(along_x), self._range(along_y)

    def _range(self, profile: torch.Tensor) -> tuple[int, int]:
        found = torch.nonzero(profile > SHARE).flatten()
        if len(found) == 0:
            return 0, len(profile)
        first, last = int(found[0]) - self.margin, int(found[-1]) + 1 + self.margin
        return max(first // self.divisor * self.divisor, 0), min(-(-last // self.divisor) * self.divisor, len(profile))
