"""What a network's definition in a config says of the slices that it can take."""

from __future__ import annotations

import math
from typing import Any

MEMBERS = "networks"
"""Of an ensemble: the argument that holds the definitions of its networks."""
SMALLEST_DIVISOR = 16
SMALLEST_SIDES = {"PSPNet": 64}
"""By the network's class; its own module, which would not fit into every package, says the same."""
DIVISORS = {"FlexibleUNet": 32, "SwinUNETR": 32}
"""Of MONAI's networks that halve a fixed number of times, by the network's class."""


def divisor(network_def: dict[str, Any]) -> int:
    """Return what sides of a slice are padded to a multiple of: 16, or more for a deeper network.

    MONAI's networks name what they halve in two ways: ``strides``, a number each or, as in DynUNet, one for each axis;
    and SegResNet's ``blocks_down``, which halves before every level but the first. Others do not name it.
    """
    strides = [_largest(stride) for stride in network_def.get("strides") or []]
    levels = network_def.get("blocks_down")
    halved = 2 ** (len(levels) - 1) if isinstance(levels, list | tuple) and levels else 1
    members = (divisor(member) for member in member_definitions(network_def))
    return math.lcm(SMALLEST_DIVISOR, DIVISORS.get(_class(network_def), 1), math.prod(strides), halved, *members)


def smallest_side(network_def: dict[str, Any]) -> int:
    """Return the pixels that a side of a slice is padded to at least, as PSPNet has no room for its bins in fewer."""
    members = (smallest_side(member) for member in member_definitions(network_def))
    return max(SMALLEST_DIVISOR, SMALLEST_SIDES.get(_class(network_def), 0), *members)


def member_definitions(network_def: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the definitions of an ensemble's networks; of any other network none."""
    given = network_def.get(MEMBERS)
    named = isinstance(given, list) and all(isinstance(item, dict) and "_target_" in item for item in given)
    return given if named and given is not None else []


def _class(network_def: dict[str, Any]) -> str:
    return str(network_def.get("_target_", "")).rpartition(".")[2]


def _largest(stride: Any) -> int:
    """Return the largest of a stride's numbers; 1 of what is none, such as a reference."""
    given = stride if isinstance(stride, list | tuple) else [stride]
    return max((number for number in given if isinstance(number, int)), default=1)
