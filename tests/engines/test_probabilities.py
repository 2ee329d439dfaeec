"""Probability maps on the disk: the threshold survives, and damage is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from lgg_monai.engines.probabilities import ProbabilityWriter, read_probability, write_probability
from lgg_monai.errors import LggError


def test_a_map_is_kept_to_half_a_step_and_never_crosses_one_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probability = np.concatenate([rng.random(997), [0.0, 1.0, 0.5, np.nextafter(0.5, 0), 0.499]]).reshape(1, 2, -1)
    write_probability(tmp_path / "new" / "a.npz", probability)
    kept = read_probability(tmp_path / "new" / "a.npz")
    assert kept.dtype == np.float32
    assert kept.shape == probability.shape
    assert np.abs(kept - probability).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(kept[probability >= 0.5] > 0.5, True)
    np.testing.assert_array_equal(kept[probability < 0.499] < 0.5, True)


def test_a_damaged_or_missing_map_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LggError, match="evaluate again with --probabilities True"):
        read_probability(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK rubbish")
    with pytest.raises(LggError, match=r"cannot read the probabilities .*bad\.npz"):
        read_probability(tmp_path / "bad.npz")


def test_maps_appear_when_all_patients_are_done_and_replace_older_ones(tmp_path: Path) -> None:
    old = tmp_path / "evaluation" / "probabilities" / "old.npz"
    write_probability(old, np.zeros((2, 2, 2)))
    logits = [torch.full((1, 1, 2, 2, 2), value) for value in (-1.0, 2.0)]
    engine = Engine(lambda engine, batch: {"logits": logits[engine.state.iteration - 1]})
    writer = ProbabilityWriter(str(tmp_path), {"patients": [{"patient": "a"}, {"patient": "b"}]})
    writer.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
    with pytest.raises(RuntimeError, match="power cut"):
        engine.run([0, 1])
    assert old.is_file()
    assert [path.name for path in old.parent.iterdir()] == ["old.npz"]

    engine = Engine(lambda engine, batch: {"logits": logits[engine.state.iteration - 1]})
    ProbabilityWriter(str(tmp_path), {"patients": [{"patient": "a"}, {"patient": "b"}]}).attach(engine)
    engine.run([0, 1])
    assert sorted(path.name for path in old.parent.iterdir()) == ["a.npz", "b.npz"]
    np.testing.assert_allclose(read_probability(old.parent / "b.npz"), 0.8808, atol=0.5 / 255)


def interrupt() -> None:
    raise RuntimeError("power cut")
