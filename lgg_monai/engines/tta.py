"""Several predictions made one: a slice and its mirror image, and the networks of several checkpoints."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from lgg_monai.engines.checkpoints import load_weights
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.networks.ensemble import Ensemble

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


@exits_with_one_line
def load_ensemble(network: torch.nn.Module, checkpoint: str | Sequence[str]) -> torch.nn.Module:
    """Load one checkpoint into the network, or several into an ensemble of copies of it.

    MONAI's ``EnsembleEvaluator`` wants another evaluator and other post-processing than a single network; a network
    that holds the members serves every engine, inferer and export as it is.

    Args:
        network: as the config defines it.
        checkpoint: a file, or a list of files of the same network.

    Returns:
        The network itself for one file, else a :class:`lgg_monai.networks.Ensemble`.

    Raises:
        SystemExit: with one line, where a file cannot be read or is of another network, or none is given.
    """
    several = checkpoint if isinstance(checkpoint, list | tuple) else [checkpoint]
    files = [str(file) for file in several if isinstance(file, str | os.PathLike)]
    if not files or len(files) < len(several):
        raise LggError("no checkpoint to load: give a file, or a list such as \"['a.pt','b.pt']\", with --checkpoint")
    if len(files) == 1:
        return load_weights(network, files[0])
    return Ensemble([load_weights(copy.deepcopy(network), file) for file in files])
