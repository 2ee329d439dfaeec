"""What a network's definition in a config says of the slices that it can take."""

from __future__ import annotations

import math
from typing import Any

MEMBERS = "networks"
"""Of an ensemble: the argument that holds the definitions of its networks."""
SMALLEST_DIVISOR = 16


def divisor(network_def: dict[str, Any]) -> int:
    """Return what sides of a slice are padded to a multiple of: 16, or more for a deeper UNet."""
    strides = [stride for stride in network_def.get("strides") or [] if isinstance(stride, int)]
    return math.lcm(
        SMALLEST_DIVISOR, math.prod(strides), *(divisor(member) for member in member_definitions(network_def))
    )


def member_definitions(network_def: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the definitions of an ensemble's networks; of any other network none."""
    given = network_def.get(MEMBERS)
    named = isinstance(given, list) and all(isinstance(item, dict) and "_target_" in item for item in given)
    return given if named and given is not None else []
