"""Weights of a byte each: small, plain, and nearly those they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lgg_monai.engines.checkpoints import load_weights
from lgg_monai.engines.compact_weights import SCALE, compact, expand
from lgg_monai.errors import LggError
from lgg_monai.networks import PSPNet


@pytest.fixture(scope="module")
def network() -> PSPNet:
    torch.manual_seed(0)
    return PSPNet()


def test_weights_come_back_within_half_a_step(network: PSPNet) -> None:
    state = network.state_dict()
    state["main_head.0.weight"][3] = 0  # a dead channel
    assert all((scale > 0).all() for name, scale in compact(state).items() if name.endswith(SCALE))
    back = expand(compact(state))
    assert back.keys() == state.keys()
    for name, value in state.items():
        if value.ndim == 4:
            step = value.abs().amax((1, 2, 3), keepdim=True) / 127
            assert ((back[name] - value).abs() <= 0.5001 * step + 1e-12).all()
        else:
            assert torch.equal(back[name], value)


def test_a_quarter_of_the_file_that_loads_like_any_other(network: PSPNet, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "full.pt")
    torch.save(compact(network.state_dict()), tmp_path / "compact.pt")
    size = (tmp_path / "compact.pt").stat().st_size
    assert size < 0.26 * (tmp_path / "full.pt").stat().st_size
    assert size < 25e6  # what the repository takes of a model
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network.eval()(image)
        found = load_weights(PSPNet(), str(tmp_path / "compact.pt")).eval()(image)
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.999
    assert not torch.equal(found, expected)


def test_other_integers_are_left_alone() -> None:
    state = {"count": torch.tensor(3), "table": torch.zeros(2, dtype=torch.int8)}
    assert expand(state) is state


def test_what_is_not_finite_is_refused(network: PSPNet) -> None:
    state = network.state_dict() | {"main_head.0.weight": torch.full((1, 1, 1, 1), float("nan"))}
    with pytest.raises(LggError, match=r"main_head\.0\.weight holds values that are not finite"):
        compact(state)
