"""The main output of a network that also returns auxiliary ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform


class MainOutputd(MapTransform):
    """Keep the first element of a list of outputs, such as PSPNet's [main, auxiliary] while training.

    A tensor passes unchanged, so the same post-processing serves training and evaluation. Put it first.

    Args:
        keys: items to work on, usually "pred".
        allow_missing_keys: pass over a missing key in place of raising KeyError.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` in which each item of `keys` is one output."""
        result = dict(data)
        for key in self.key_iterator(result):
            if isinstance(result[key], list | tuple):
                result[key] = result[key][0]
        return result
