"""What every network of a bundle must do; a new network is one more line in `NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.losses import DeepSupervisionLoss
from monai.networks.nets import AttentionUnet, SegResNet, UNet
from monai.networks.utils import convert_to_torchscript
from torch import nn

from lgg_monai.networks import EfficientUNet, PSPNet


def unet() -> nn.Module:
    return UNet(2, 3, 1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2, norm="batch")


# name: (network, input channels, takes sizes that are no multiple of 16)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "unet": (unet, 3, False),
    "pspnet_resnet18": (lambda: PSPNet(), 3, True),
    "pspnet_resnet34": (lambda: PSPNet(backbone="resnet34", features=64), 3, True),
    "pspnet_efficientnet": (lambda: PSPNet(backbone="efficientnet-lite0", features=64), 3, True),
    "pspnet_zoom": (lambda: PSPNet(backbone="efficientnet-lite2", features=64, zoom=1.5), 3, True),
    "pspnet_group_norm": (lambda: PSPNet(in_channels=1, norm=("group", {"num_groups": 8}), features=64), 1, True),
    "pspnet_instance_norm": (lambda: PSPNet(in_channels=4, norm="instance", features=64), 4, True),
    "pspnet_resnet18_1_channel": (lambda: PSPNet(in_channels=1, features=64), 1, True),
    "efficient_unet": (lambda: EfficientUNet(), 3, True),
    "efficient_unet_lite2": (lambda: EfficientUNet(encoder="efficientnet-lite2"), 3, True),
    "efficient_unet_1_channel": (lambda: EfficientUNet(in_channels=1, decoder_channels=(32, 16, 16, 8, 8)), 1, True),
    "segresnet": (lambda: SegResNet(2, init_filters=8, in_channels=3, out_channels=1), 3, False),
    "attention_unet": (lambda: AttentionUnet(2, 3, 1, channels=(8, 16, 32), strides=(2, 2)), 3, False),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, int, bool]:
    """One network, its number of input channels, and whether it takes odd sizes."""
    build, channels, odd = NETWORKS[request.param]
    torch.manual_seed(0)
    return build(), channels, odd


def outputs(prediction: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
    return prediction if isinstance(prediction, list) else [prediction]


def test_output_has_the_input_size(case: tuple[nn.Module, int, bool]) -> None:
    network, channels, odd = case
    network.eval()
    for size in [(64, 64), (64, 96)] + [(67, 81)] * odd:
        with torch.no_grad():
            assert network(torch.rand(2, channels, *size)).shape == (2, 1, *size)


def test_batch_of_one_trains_and_gradients_reach_every_parameter(case: tuple[nn.Module, int, bool]) -> None:
    network, channels, _ = case
    network.train().zero_grad(set_to_none=True)
    prediction = network(torch.rand(1, channels, 64, 64))
    assert all(output.shape == (1, 1, 64, 64) for output in outputs(prediction))
    target = (torch.rand(1, 1, 64, 64) > 0.5).float()
    DeepSupervisionLoss(nn.BCEWithLogitsLoss(), weights=[1.0, 0.4])(prediction, target).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # A bias before a norm that subtracts it has gradient zero by nature. A ReLU after it may silence a pooled cell.
        assert parameter.ndim == 1 or parameter.grad.any(), name


def test_evaluation_is_deterministic_and_keeps_the_state(case: tuple[nn.Module, int, bool]) -> None:
    network, channels, _ = case
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        both = network(x)
        assert torch.equal(both, network(x))
        torch.testing.assert_close(network(x[1:]), both[1:], atol=1e-4, rtol=1e-4)  # no slice sees another
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_survive_saving_and_safe_loading(
    case: tuple[nn.Module, int, bool], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    network, channels, _ = case
    build = NETWORKS[request.node.callspec.params["case"]][0]
    network.eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    other = build().eval()
    x = torch.rand(1, channels, 64, 64)
    with torch.no_grad():
        assert not torch.equal(other(x), network(x))
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        assert torch.equal(other(x), network(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_agrees_at_another_size_too(case: tuple[nn.Module, int, bool], tmp_path: Path) -> None:
    network, channels, odd = case
    path = str(tmp_path / "model.ts")
    convert_to_torchscript(network, path)  # as MONAI's ckpt_export does
    scripted = torch.jit.load(path)
    with torch.no_grad(), torch.jit.optimized_execution(False):  # optimising takes longer than it saves here
        for size in [(64, 64), (77, 64) if odd else (96, 64)]:
            x = torch.rand(1, channels, *size)
            torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)
