"""Several networks as one, so that their mean probability fits wherever one network does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from lgg_monai.errors import LggError


class Ensemble(nn.Module):
    """Give the logit of the mean probability of several networks.

    Probabilities are averaged, not logits: one member's certainty cannot outvote all the others. What a member returns
    beside its main output while training is left out.

    `lgg-monai weights A.pt B.pt --bundle ensemble` joins the members' weights; `lgg-monai predict --bundle A --bundle
    B` averages whole bundles without joining them.

    Args:
        networks: two or more, each from [B, C, H, W] to logits [B, out_channels, H, W], or to a list that begins with
            these.

    Raises:
        LggError: fewer than two networks.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(networks) < 2:
            raise LggError(f"an Ensemble of {len(networks)} networks: give two or more")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B, out_channels, H, W], float32, of `x` [B, C, H, W]."""
        tumour, other = [], []
        for network in self.networks:
            output = network(x)
            main = output if isinstance(output, torch.Tensor) else output[0]
            # The logarithms of p and 1 - p. Not by logsigmoid, of which ONNX makes a sigmoid first, exact to 1e-7 only.
            tumour.append(-F.softplus(-main.float()))
            other.append(-F.softplus(main.float()))
        # log(mean p) - log(mean(1 - p)): in single precision the logit of a probability near 1 has few digits left.
        return torch.stack(tumour).logsumexp(0) - torch.stack(other).logsumexp(0)
