"""Several predictions made one: of several networks, and of a slice and its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

LEFT_RIGHT = 2  # axis of [B, C, X, Y, ...]
# Beyond this a probability is as good as 0 or 1, and its logit would soon be infinite.
SMALLEST_PROBABILITY = 1e-6


def mean_probability(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Give the mean probability of several logits of one shape, as float64.

    Probabilities are averaged, not logits: one member's certainty cannot outvote all the others. In double precision
    0.5 is crossed where a single logit crosses 0, to the voxel.
    """
    return torch.stack([part.double().sigmoid() for part in logits]).mean(0)


def mean_logit(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Give the logit of the mean probability as float32, so that thresholds and losses stay as they are."""
    return torch.logit(mean_probability(logits), eps=SMALLEST_PROBABILITY).float()


def both_ways(predict: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """Predict an image and its left-right mirror image, and mirror the latter's prediction back.

    Args:
        predict: returns a tensor on the image's grid.
        image: ``[B, C, X, Y, ...]``.
    """
    return [predict(image), predict(image.flip(LEFT_RIGHT)).flip(LEFT_RIGHT)]


class FlipInferer(Inferer):
    """Run another inferer on the image and on its left-right mirror image, and average the probabilities.

    MONAI's ``TestTimeAugmentation`` draws random transforms and needs a dataset of its own; one mirror image needs
    neither.

    Args:
        inferer: does the work; its output is one tensor of logits on the image's grid.
        enabled: False passes on what the other inferer returns.
    """

    def __init__(self, inferer: Inferer, enabled: bool = True) -> None:
        super().__init__()
        self.inferer = inferer
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return the logit of the mean probability, of the shape that the other inferer returns."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        return mean_logit(both_ways(lambda image: self.inferer(image, network, *args, **kwargs), inputs))
