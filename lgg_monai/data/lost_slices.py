"""Slices that lost a sequence which the slices around them have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lgg_monai.data.sequences import FLAIR, OTHERS, SEQUENCES

PAIRS = (*((channel, FLAIR) for channel in OTHERS), OTHERS)


def lost_slices(image: np.ndarray, first: int = 1) -> list[str]:
    """Say which slices lack a sequence: one value between slices with content, or a copy of another sequence.

    Slices without content at either end of a volume are none of them: sequences that cover less of the head than the
    others end so when they are registered, in the data set up to nine slices early.

    Args:
        image: ``[3, X, Y, Z]``, finite.
        first: number of the first slice.

    Returns:
        A phrase for each sequence and way in which it is lost, such as ``post of slice 5 is of one single value``.
    """
    blank = image.min(axis=(1, 2)) == image.max(axis=(1, 2))
    found = []
    for sequence, without in zip(SEQUENCES, blank, strict=True):
        content = np.flatnonzero(~without)
        if len(content):
            between = content[0] + np.flatnonzero(without[content[0] : content[-1]])
            found += _phrase(sequence, between + first, "of one single value, unlike those around")
    for one, other in PAIRS:
        shown = ~(blank[one] | blank[other])
        same = (image[one] == image[other]).all(axis=(0, 1))
        if not same[shown].all():  # else the whole sequence was not acquired
            what = f"the same as {SEQUENCES[other]}, unlike others"
            found += _phrase(SEQUENCES[one], np.flatnonzero(same & shown) + first, what)
    return found


def written_runs(runs: Iterable[tuple[int, int]]) -> str:
    """Write the first and last numbers of runs as ``3, 5-6``."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _phrase(sequence: str, numbers: np.ndarray, what: str) -> list[str]:
    if not len(numbers):
        return []
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    which = written_runs((int(run[0]), int(run[-1])) for run in runs)
    return [f"{sequence} of slice{'s' if len(numbers) > 1 else ''} {which} is {what}"]
