"""Boxes around what is in an array."""

from __future__ import annotations

import numpy as np

from lgg_monai.boxes import bounding_box


def test_bounding_box_stops_at_the_border() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[0, 3] = mask[2, 4] = True
    assert bounding_box(mask) == (slice(0, 3), slice(3, 5))
    assert bounding_box(mask, margin=2) == (slice(0, 5), slice(1, 6))
    assert bounding_box(np.zeros((5, 6), dtype=bool)) == (slice(0, 5), slice(0, 6))
