"""The channels of an image volume."""

from __future__ import annotations

SEQUENCES = ("pre", "flair", "post")
"""Channels of an image volume, in order. A sequence that was not acquired is a copy of FLAIR."""
FLAIR = SEQUENCES.index("flair")
OTHERS = tuple(channel for channel in range(len(SEQUENCES)) if channel != FLAIR)
"""Channels of the sequences beside FLAIR, which a scan may lack."""


def shown_channel(channels: int) -> int:
    """Return the channel to look at: FLAIR, or the last one where a preprocessing of one's own keeps fewer."""
    return min(FLAIR, channels - 1)
