"""One seed for every epoch of every seed, shared by all that draws random numbers by epoch."""

from __future__ import annotations


def epoch_seed(seed: int, epoch: int) -> int:
    """Mix the run's seed with the number of an epoch (or of another repetition), so that runs do not share epochs."""
    return seed * 1_000_003 + epoch
