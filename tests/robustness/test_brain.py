"""Brain extraction for the table of degradations: rough, but brain stays and scalp goes."""

from __future__ import annotations

import numpy as np
import torch

from lgg_monai.robustness.brain import StripSkull, brain_mask

SIDE = 160
FROM_MIDDLE = np.hypot(*np.meshgrid(np.arange(SIDE) - 79.5, np.arange(SIDE) - 79.5))
BRAIN = FROM_MIDDLE < 50


def flair(noise: float = 5.0) -> np.ndarray:
    """Brain in a dark skull and a bright scalp, and a slice of air above, ``[X, Y, 3]``."""
    head = np.select([BRAIN, FROM_MIDDLE < 56, FROM_MIDDLE < 64], [100.0, 15.0, 200.0], 0.0)
    volume = np.stack([head, head, np.zeros_like(head)], axis=-1)
    return np.clip(volume + np.random.default_rng(0).normal(0, noise, volume.shape), 0, None)


def test_brain_stays_and_scalp_goes() -> None:
    for noise in (0.0, 5.0, 10.0):
        found = brain_mask(flair(noise))
        for z in (0, 1):
            assert found[BRAIN, z].mean() > 0.99
            assert not found[FROM_MIDDLE > 57, z].any()
        assert not found[..., 2].any()


def test_a_bright_tumour_at_the_surface_stays() -> None:
    scan = flair()
    tumour = np.hypot(*np.meshgrid(np.arange(SIDE) - 79.5, np.arange(SIDE) - 118)) < 11
    assert BRAIN[tumour].all()
    scan[tumour] = 220
    assert brain_mask(scan)[tumour, :2].all()


def test_all_sequences_become_air_outside_the_brain_and_stay_within() -> None:
    scan = flair()
    image = torch.from_numpy(np.stack([scan + 1, scan, scan + 2])).float()
    stripped, inside = StripSkull()(image), torch.from_numpy(brain_mask(scan))
    assert torch.equal(stripped[:, inside], image[:, inside])
    assert not stripped[:, ~inside].any()


def test_air_alone_is_no_brain() -> None:
    assert not brain_mask(np.zeros((SIDE, SIDE, 2))).any()
