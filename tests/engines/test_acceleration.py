"""Compiled and channels-last networks are the same networks, to checkpoints, averaging and the numbers alike."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNet

from lgg_monai.engines.acceleration import fuse_batch_norms, prepare_network
from lgg_monai.engines.checkpoints import load_weights, save_checkpoint
from lgg_monai.engines.training import AugmentedBatch, WeightAveraging
from lgg_monai.networks import EfficientUNet, PSPNet

NETWORKS = {
    "unet": lambda: UNet(2, 3, 1, channels=(4, 8, 8), strides=(2, 2), num_res_units=2, norm="batch"),
    "pspnet": lambda: PSPNet(2, 3, 1, backbone="resnet18", norm="batch", features=8),
}


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETWORKS[request.param]()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without writing C++, which takes a minute; what is traced and how it is called stays."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: original(module, backend="eager"))


def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def steps(network: torch.nn.Module, batch: torch.Tensor, count: int = 2) -> torch.Tensor:
    """Train a few steps; return the loss of each."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        output = network(batch)
        loss = sum(part.square().mean() for part in (output if isinstance(output, list | tuple) else [output]))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.usefixtures("traced")
def test_compiled_networks_learn_the_same_and_checkpoints_know_nothing_of_it(tmp_path: Path) -> None:
    network = NETWORKS["unet"]().train()
    plain = copy.deepcopy(network)
    names = list(network.state_dict())
    compiled = prepare_network(network, compile=True)
    assert compiled is network
    torch.testing.assert_close(steps(compiled, image()), steps(plain, image()))
    assert list(compiled.state_dict()) == names
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
    save_checkpoint(tmp_path / "best.pt", compiled.state_dict())
    loaded = load_weights(NETWORKS["unet"](), str(tmp_path / "best.pt"))
    load_weights(compiled, str(tmp_path / "best.pt"))
    torch.testing.assert_close(loaded.state_dict(), compiled.state_dict())


@pytest.mark.usefixtures("traced")
def test_averaged_copies_are_not_compiled(network: torch.nn.Module) -> None:
    averaging = WeightAveraging(prepare_network(network, compile=True))
    assert network._compiled_call_impl is not None
    assert averaging.ema_model._compiled_call_impl is None
    assert list(averaging.ema_model.state_dict()) == list(network.state_dict())
    torch.testing.assert_close(averaging.ema_model.eval()(image()), network.eval()(image()))


def test_channels_last_networks_learn_the_same(network: torch.nn.Module) -> None:
    plain = copy.deepcopy(network).train()
    last = prepare_network(copy.deepcopy(network).train(), channels_last=True)
    batch, label = AugmentedBatch(channels_last=True)({"image": image(), "label": torch.zeros(2, 1, 64, 64)})
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert label.shape == (2, 1, 64, 64)
    assert any(
        value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()
        for value in last.parameters()
        if value.ndim == 4
    )
    torch.manual_seed(2)
    expected = steps(plain, image())
    torch.manual_seed(2)
    torch.testing.assert_close(steps(last, batch), expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_changed_without_being_asked(network: torch.nn.Module) -> None:
    before = copy.deepcopy(network)
    assert prepare_network(network) is network
    assert network._compiled_call_impl is None
    for one, other in zip(network.parameters(), before.parameters(), strict=True):
        assert one.stride() == other.stride()


def test_a_missing_compiler_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SystemExit) as caught:
        prepare_network(torch.nn.Conv2d(3, 1, 1), compile=True)
    assert str(caught.value) == (
        "lgg-monai: error: compile is true but there is no C++ compiler 'no-such-compiler': "
        "install it, or leave --compile away"
    )


FUSED = {
    **NETWORKS,
    "efficient_unet": lambda: EfficientUNet(decoder_channels=(16, 16, 8, 8, 8)),
    "efficient_pspnet": lambda: PSPNet(backbone="efficientnet-lite0", features=16),
    "sigmoid_between": lambda: torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.Sigmoid(), torch.nn.BatchNorm2d(4)
    ),
}


@pytest.mark.parametrize(
    ("name", "left"),  # of the plain UNet those of transposed convolutions
    [("unet", 2), ("pspnet", 0), ("efficient_unet", 0), ("efficient_pspnet", 0), ("sigmoid_between", 1)],
)
@pytest.mark.parametrize("gradients", [True, False])
def test_batch_norms_within_convolutions_change_nothing(name: str, left: int, gradients: bool) -> None:
    torch.manual_seed(0)
    network = FUSED[name]().eval()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for value, low in ((norm.running_mean, -1), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -1)):
            torch.nn.init.uniform_(value, low, low + 1)
    with torch.set_grad_enabled(gradients):
        expected = network(image())
        fused = fuse_batch_norms(network)(image())
    torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-4)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()) == left


def test_batch_norms_that_still_learn_are_left() -> None:
    network = FUSED["unet"]().train()
    before = copy.deepcopy(network.state_dict())
    torch.testing.assert_close(fuse_batch_norms(network).state_dict(), before)
