"""Patient volumes in the least memory that loses nothing: one byte a voxel where the source has 256 grey values."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

CODES = 256
"""Values of a channel that one byte can tell apart."""


@dataclass(frozen=True)
class CompactVolume:
    """One patient's image and mask, slices first and contiguous, so that one slice is one block of memory.

    Normalisation maps each of a channel's 256 grey values to one number. The volume holds the grey values' codes and,
    for every channel, the table of those numbers: half the memory of float16, and exactly its values. What has more
    values, such as a 12-bit NIfTI volume, is held as it is, without tables.

    Args:
        image: ``[Z, C, X, Y]``, codes (uint8) or values.
        label: ``[Z, 1, X, Y]``.
        tables: ``[C, 256]``, the value of each code; ``[C, 0]`` where ``image`` holds the values themselves.
        background: ``[C, 1, 1]``, the smallest of each channel, as a code or a value.
        has_tumour: ``[Z]``, which slices have a mask that is not empty.
    """

    image: torch.Tensor
    label: torch.Tensor
    tables: torch.Tensor
    background: torch.Tensor
    has_tumour: torch.Tensor

    @property
    def is_coded(self) -> bool:
        """Whether ``image`` holds codes."""
        return self.tables.shape[1] > 0

    def values(self, z: int | slice = slice(None)) -> torch.Tensor:
        """Return the image's values of slice ``z`` ``[C, X, Y]``, or of several ``[N, C, X, Y]``."""
        if not self.is_coded:
            return self.image[z]
        offsets = torch.arange(len(self.tables), device=self.image.device) * CODES
        return decode(self.image[z], self.tables, offsets)

    def to(self, device: torch.device) -> CompactVolume:
        """Return the volume on a device."""
        return CompactVolume(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what the volume consists of, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def encode(image: torch.Tensor, label: torch.Tensor) -> CompactVolume:
    """Hold a normalised volume compactly.

    Args:
        image: ``[C, X, Y, Z]``.
        label: ``[1, X, Y, Z]``.
    """
    image = image.movedim(-1, 0).contiguous()
    label = label.movedim(-1, 0).contiguous()
    # A plain bool: any() of uint8 is uint8.
    has_tumour = label.flatten(1).any(dim=1).bool()
    coded = [_codes(image[:, channel]) for channel in range(image.shape[1])]
    channels = [pair for pair in coded if pair is not None]
    if len(channels) == image.shape[1]:
        codes = torch.stack([codes for codes, _ in channels], dim=1)
        tables = torch.stack([table for _, table in channels])
        background = tables.argmin(dim=1).to(torch.uint8)
    else:
        codes, tables = image, image.new_empty((image.shape[1], 0))
        background = image.amin(dim=(0, 2, 3))
    return CompactVolume(codes, label, tables, background[:, None, None], has_tumour)


def decode(codes: torch.Tensor, tables: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Look codes up.

    Args:
        codes: ``[..., C, X, Y]`` uint8.
        tables: any number of tables of 256 values, one after the other.
        offsets: ``[..., C]``, where the table of each channel starts.

    Returns:
        Values, of the shape of ``codes`` and the type of ``tables``.
    """
    places = codes.int() + offsets[..., None, None].int()
    return tables.flatten().index_select(0, places.flatten()).reshape(codes.shape)


def _codes(channel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Give codes and table of one channel, or None where it has too many values, or values of another width."""
    if channel.element_size() != 2:
        return None
    # By bit patterns: exact for every value there is, and without sorting millions of them.
    patterns = channel.contiguous().view(torch.int16).numpy().view(np.uint16)
    seen = np.zeros(1 << 16, dtype=bool)
    seen[patterns.reshape(-1)] = True
    found = np.flatnonzero(seen)
    if len(found) > CODES:
        return None
    code_of = np.zeros(1 << 16, dtype=np.uint8)
    code_of[found] = np.arange(len(found))
    # The last value is repeated in the codes that nothing uses, so that a table holds real values alone.
    table = np.pad(found, (0, CODES - len(found)), mode="edge").astype(np.uint16)
    values = torch.from_numpy(table.view(np.int16)).view(channel.dtype)
    return torch.from_numpy(code_of[patterns]), values
