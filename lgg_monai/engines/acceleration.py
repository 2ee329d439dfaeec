"""What can make the same network faster on some machines: memory layout and compilation."""

from __future__ import annotations

import os
import shutil

import torch

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
