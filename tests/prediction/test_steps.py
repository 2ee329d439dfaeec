"""What is said of parts that are removed from a mask."""

from __future__ import annotations

import numpy as np
import pytest
from scans import scan, segmenter

from lgg_monai.prediction.steps import Drawn, assess, draw


def drawn(*sides: int) -> Drawn:
    """Draw a mask of cubes, apart from each other."""
    probability = np.zeros((48, 40, 12))
    for number, side in enumerate(sides):
        probability[16 * number : 16 * number + side, 10 : 10 + side, 1 : 1 + side] = 0.9
    prepared = segmenter().prepare(scan())
    return draw(lambda _: probability, prepared)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sides", "removed", "warned"), [((10,), 0, False), ((10, 4), 64, False), ((10, 6), 216, True)]
)
def test_what_is_removed_beside_the_largest_part_is_warned_of(
    sides: tuple[int, ...], removed: int, warned: bool
) -> None:
    found = drawn(*sides)
    assert (found.specks, int(found.mask.sum())) == (removed, 1000)
    text = f"parts of {removed} voxels in all were removed beside the largest: look for a second one"
    assert (text in assess(found).warnings) is warned


def test_two_parts_of_like_size_stay() -> None:
    found = drawn(10, 9)
    assert (found.specks, int(found.mask.sum())) == (0, 1729)


def test_a_mask_of_specks_alone_is_warned_of() -> None:
    found = drawn(5, 4)
    assert not found.mask.any()
    assert "all that was found are 189 voxels in specks, which were removed" in assess(found).warnings
