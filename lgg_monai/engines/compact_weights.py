"""Weights as one byte each, for networks whose float32 weights are too large for the repository.

`lgg-monai weights --compact` writes them.

A convolution's weights are held as int8 with a float32 scale for each output channel; all else stays as it is.
PyTorch's own quantized tensors are deprecated (2.13), so the two are plain tensors, and any reader may load them.
"""

from __future__ import annotations

import torch

from lgg_monai.errors import LggError

SCALE = ".scale"  # after the name of the weights
LARGEST = 127
_SMALLEST_SCALE = 1e-12


def compact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Hold the weights of convolutions ``[out, in, H, W]`` as int8 and a scale ``[out]``.

    Raises:
        LggError: a weight is not finite.
    """
    small = {}
    for name, value in state.items():
        if value.ndim != 4 or not value.is_floating_point():
            small[name] = value
            continue
        if not torch.isfinite(value).all():
            raise LggError(f"{name} holds values that are not finite: take the weights of another epoch")
        scale = value.float().abs().amax((1, 2, 3)).clamp_min(_SMALLEST_SCALE) / LARGEST
        small[name] = (value.float() / scale[:, None, None, None]).round().to(torch.int8).contiguous()
        small[name + SCALE] = scale
    return small


def expand(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `compact`, to within half a scale of each weight; a state without compact weights is returned as it is."""
    held = {name for name, value in state.items() if getattr(value, "dtype", None) == torch.int8}
    if not all(name + SCALE in state for name in held):
        return state
    scales = {name + SCALE for name in held}
    return {
        name: value.float() * state[name + SCALE][:, None, None, None] if name in held else value
        for name, value in state.items()
        if name not in scales
    }
