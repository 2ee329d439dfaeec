"""Several predictions made one: a slice and its mirror image, and the networks of several checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import MeanEnsemble

from lgg_monai.engines.checkpoints import load_weights
from lgg_monai.errors import LggError, exits_with_one_line

# Beyond this a probability is as good as 0 or 1, and its logit would soon be infinite.
SMALLEST_PROBABILITY = 1e-6


def mean_logit(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Give the logit of the mean probability of several logits of one shape, as float32.

    Probabilities are averaged, not logits: one member's certainty cannot outvote all the others. The result is a logit
    again, so that thresholds and losses stay as they are.
    """
    probability = MeanEnsemble()([torch.sigmoid(part.float()) for part in logits])
    return torch.logit(torch.as_tensor(probability), eps=SMALLEST_PROBABILITY)


class FlipInferer(Inferer):
    """Run another inferer on the image and on its left-right mirror image, and average the probabilities.

    MONAI's ``TestTimeAugmentation`` draws random transforms and needs a dataset of its own; one mirror image needs
    neither.

    Args:
        inferer: does the work; its output is one tensor of logits on the image's grid.
        enabled: False passes on what the other inferer returns.
        axis: the axis of ``[B, C, X, Y, ...]`` that is mirrored.
    """

    def __init__(self, inferer: Inferer, enabled: bool = True, axis: int = 2) -> None:
        super().__init__()
        self.inferer = inferer
        self.enabled = enabled
        self.axis = axis

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> Any:
        """Return the logit of the mean probability, of the shape that the other inferer returns."""
        logits = self.inferer(inputs, network, *args, **kwargs)
        if not self.enabled:
            return logits
        mirrored = self.inferer(inputs.flip(self.axis), network, *args, **kwargs)
        return mean_logit([logits, mirrored.flip(self.axis)])


class Ensemble(torch.nn.Module):
    """Several networks as one, which returns the logit of their mean probability.

    MONAI's ``EnsembleEvaluator`` wants another evaluator and other post-processing than a single network; a network
    that holds the members serves every engine, inferer and export as it is.

    Args:
        members: networks of one kind, each with logits as output.
    """

    def __init__(self, members: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``[B, K, X, Y]`` for an image ``[B, C, X, Y]``; of auxiliary outputs, the main one alone."""
        outputs = [member(image) for member in self.members]
        return mean_logit([output[0] if isinstance(output, list | tuple) else output for output in outputs])


@exits_with_one_line
def load_ensemble(network: torch.nn.Module, checkpoint: str | Sequence[str]) -> torch.nn.Module:
    """Load one checkpoint into the network, or several into an ensemble of copies of it.

    Args:
        network: as the config defines it.
        checkpoint: a file, or a list of files of the same network.

    Returns:
        The network itself for one file, else an :class:`Ensemble`.

    Raises:
        SystemExit: with one line, where a file cannot be read or is of another network, or none is given.
    """
    files = [checkpoint] if isinstance(checkpoint, str) else [str(file) for file in checkpoint]
    if not files:
        raise LggError("no checkpoint to load: give a file, or a list such as \"['a.pt','b.pt']\", with --checkpoint")
    if len(files) == 1:
        return load_weights(network, files[0])
    return Ensemble([load_weights(copy.deepcopy(network), file) for file in files])
