"""What can make the same network faster: memory layout, compilation, and batch norms within convolutions."""

from __future__ import annotations

import itertools
import os
import shutil

import torch
from monai.networks.blocks import ADN, Convolution
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lgg_monai.errors import LggError, exits_with_one_line


@exits_with_one_line
def prepare_network(network: torch.nn.Module, channels_last: bool = False, compile: bool = False) -> torch.nn.Module:
    """Prepare a network for training, in place.

    Compiling in place leaves the names in the state dictionary as they are, so checkpoints, the averaging of weights
    and resuming know nothing of it; copies of the network, such as the averaged one, are not compiled.

    Args:
        network: to be trained, on its device.
        channels_last: lay the weights out with channels last; the batches have to be as well.
        compile: let PyTorch compile the forward and backward pass at the first step, which takes a minute or more.

    Returns:
        The network itself.

    Raises:
        SystemExit: with one line, where there is no compiler to compile with.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compile:
        require_compiler()
        network.compile()
    return network


def fuse_batch_norms(network: nn.Module) -> nn.Module:
    """Compute each batch norm within the convolution before it, in place, for inference: a pass over memory less.

    That is done where a `Sequential` or a block of MONAI's has the two one after the other, so that nothing else can
    come between them; others stay as they are. The outputs stay the same but for rounding.

    Args:
        network: in evaluation mode; not to be trained further.

    Returns:
        The network itself.
    """
    for block in [module for module in network.modules() if type(module) in (nn.Sequential, Convolution)]:
        children = list(block.named_children())
        for (_, conv), (other, follower) in itertools.pairwise(children):
            inside = isinstance(block, Convolution) and isinstance(follower, ADN) and len(follower) > 0
            place, key = (follower, next(follower.named_children())[0]) if inside else (block, other)
            norm = place.get_submodule(key)
            if (
                isinstance(conv, nn.Conv2d)
                and isinstance(norm, nn.BatchNorm2d)
                and norm.running_mean is not None
                and not norm.training
            ):
                fused = fuse_conv_bn_eval(conv, norm)
                conv.weight, conv.bias = fused.weight, fused.bias
                place.set_submodule(key, nn.Identity())
    return network


def require_compiler() -> None:
    """Stop early where PyTorch would fail at the first step, some thirty lines deep.

    Raises:
        LggError: no C++ compiler was found.
    """
    compiler = os.environ.get("CXX", "cl" if os.name == "nt" else "g++")
    if shutil.which(compiler) is None:
        raise LggError(
            f"compile is true but there is no C++ compiler {compiler!r}: install it, or leave --compile away"
        )
