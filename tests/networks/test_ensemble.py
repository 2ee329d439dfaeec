"""Several networks as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from monai.networks import convert_to_torchscript
from monai.networks.nets import UNet
from torch import nn

from lgg_monai.engines.tta import mean_probability
from lgg_monai.errors import LggError
from lgg_monai.networks import Ensemble, PSPNet

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def members() -> list[nn.Module]:
    torch.manual_seed(0)
    unet = UNet(2, 3, 1, channels=(4, 8), strides=(2,), num_res_units=1, norm="batch")
    return [unet.eval(), PSPNet(features=8).eval()]


@torch.no_grad()
def test_the_mean_is_of_probabilities(members: list[nn.Module]) -> None:
    x = torch.randn(2, 3, 64, 80)
    found = Ensemble(members).eval()(x)
    assert found.dtype == torch.float32
    mean = mean_probability([member(x) for member in members])
    torch.testing.assert_close(found.double().sigmoid(), mean, rtol=1e-5, atol=1e-7)
    assert torch.equal(found > 0, mean > 0.5)


def test_certain_members_give_finite_logits_and_do_not_outvote() -> None:
    class Constant(nn.Module):
        def __init__(self, logit: float) -> None:
            super().__init__()
            self.logit = logit

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, self.logit)

    x = torch.zeros(1, 1, 2, 2)
    certain = Ensemble([Constant(-1000.0), Constant(-1000.0)])(x)
    assert torch.isfinite(certain).all()
    torch.testing.assert_close(certain, torch.full_like(x, -1000.0))
    assert (Ensemble([Constant(-1000.0), Constant(1.0), Constant(1.0)])(x) < 0).all()  # (0 + 2 * 0.73) / 3
    assert (Ensemble([Constant(-1000.0), Constant(2.0), Constant(2.0)])(x) > 0).all()  # (0 + 2 * 0.88) / 3


def test_what_a_member_returns_beside_its_main_output_is_left_out(members: list[nn.Module]) -> None:
    ensemble = Ensemble(members).train()
    assert isinstance(members[1](torch.randn(2, 3, 64, 64)), list)
    output = ensemble(torch.randn(2, 3, 64, 64))
    assert output.shape == (2, 1, 64, 64)
    output.mean().backward()
    assert all(parameter.grad is not None for parameter in members[0].parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@torch.no_grad()
def test_torchscript_agrees(members: list[nn.Module], tmp_path: Path) -> None:
    ensemble = Ensemble(members).eval()
    convert_to_torchscript(ensemble, str(tmp_path / "model.ts"))
    scripted = torch.jit.load(str(tmp_path / "model.ts"))
    with torch.jit.optimized_execution(False):
        x = torch.randn(1, 3, 64, 96)
        torch.testing.assert_close(scripted(x), ensemble(x), rtol=1e-5, atol=1e-5)


def test_one_network_is_refused(members: list[nn.Module]) -> None:
    with pytest.raises(LggError, match="an Ensemble of 1 networks: give two or more"):
        Ensemble(members[:1])


def test_the_bundles_pspnet_is_that_of_its_own_bundle() -> None:
    ensemble = yaml.safe_load((REPOSITORY / "bundles/ensemble.yaml").read_text())["network_def"]
    own = yaml.safe_load((REPOSITORY / "bundles/pspnet.yaml").read_text())["network_def"]
    assert ensemble["networks"][1] == own | {"aux": False}
