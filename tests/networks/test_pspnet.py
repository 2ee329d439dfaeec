"""PSPNet against the paper's arithmetic, and what is its own."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.losses import DeepSupervisionLoss
from monai.transforms import Activationsd, AsDiscreted, Compose
from torch import nn
from torch.nn import functional as F

from lgg_monai.errors import LggError
from lgg_monai.networks import PSPNet
from lgg_monai.networks.pspnet import PyramidPooling, pooling_matrix
from lgg_monai.networks.resnet import DilatedResNet
from lgg_monai.transforms.main_output import MainOutputd

SMALL: dict[str, Any] = {"features": 32}

# Parameters without the classifier of the networks of He et al., as torchvision counts them.
PLAIN_RESNET = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def conv(inputs: int, outputs: int, kernel: int) -> int:
    """Count a convolution's weights, without bias, and the two per channel of its batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


@pytest.mark.parametrize("backbone", PLAIN_RESNET)
def test_parameters_are_those_of_the_paper(backbone: str) -> None:
    network = PSPNet(backbone=backbone)
    stem = conv(3, 64, 3) + conv(64, 64, 3) + conv(64, 128, 3) - conv(3, 64, 7)
    # The deep stem gives 128 channels, not 64, to stage 1, whose first block and shortcut grow with it.
    if backbone == "resnet50":
        first_block, stage3, stage4 = 64 * 64 + 64 * 256, 1024, 2048
    else:
        first_block, stage3, stage4 = 64 * 64 * 9 + conv(128, 64, 1), 256, 512
    pyramid = 4 * conv(stage4, stage4 // 4, 1)
    assert count(network.backbone) == PLAIN_RESNET[backbone] + stem + first_block
    assert count(network.pyramid) == pyramid
    # The paper's 512 of 2048 channels and 256 of 1024: a quarter.
    assert count(network.main_head) == conv(2 * stage4, stage4 // 4, 3) + stage4 // 4 + 1
    assert count(network.aux_head) == conv(stage3, stage3 // 4, 3) + stage3 // 4 + 1
    parts = [network.backbone, network.pyramid, network.main_head, network.aux_head]
    assert count(network) == sum(count(part) for part in parts)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_features_have_output_stride_8(backbone: str) -> None:
    network = DilatedResNet(backbone, in_channels=2).eval()
    with torch.no_grad():
        stage3, stage4 = network(torch.rand(1, 2, 64, 97))
    assert stage3.shape == (1, network.channels[0], 8, 13)
    assert stage4.shape == (1, network.channels[1], 8, 13)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50"])
def test_stage_3_has_dilation_2_and_stage_4_dilation_4(backbone: str) -> None:
    network = DilatedResNet(backbone)
    for stage, dilation in [(network.layer1, 1), (network.layer2, 1), (network.layer3, 2), (network.layer4, 4)]:
        convs = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
        assert {module.dilation for module in convs if module.kernel_size == (3, 3)} == {(dilation, dilation)}
        strided = [module for module in convs if module.stride == (2, 2)]
        assert len(strided) == (2 if stage is network.layer2 else 0)  # a 3x3 convolution and the shortcut


def test_pooling_matrices_are_adaptive_average_pooling() -> None:
    bins = [1, 2, 3, 6, 7]
    cell = torch.cat([torch.arange(n) for n in bins])
    number = torch.cat([torch.full((n,), n) for n in bins])
    for height in [*range(7, 41), 64, 97, 128]:
        width = 3 * height // 2 + 1
        x = torch.rand(2, 3, height, width, dtype=torch.float64)
        rows, columns = (pooling_matrix(size, cell, number).double() for size in (height, width))
        pooled = rows @ x @ columns.T
        first = 0
        for n in bins:
            block = pooled[..., first : first + n, first : first + n]
            torch.testing.assert_close(block, F.adaptive_avg_pool2d(x, n), atol=1e-7, rtol=1e-6)
            first += n


def test_pyramid_passes_the_features_on_and_adds_their_averages() -> None:
    pyramid = PyramidPooling(8, [1, 2], "batch").eval()
    x = torch.rand(2, 8, 9, 11)
    with torch.no_grad():
        y = pyramid(x)
        grid = pyramid.levels[1](F.adaptive_avg_pool2d(x, 2))
    assert y.shape == (2, pyramid.out_channels, 9, 11) == (2, 16, 9, 11)
    assert torch.equal(y[:, :8], x)
    assert torch.all(y[:, 8:12] == y[:, 8:12, :1, :1])  # one cell: the same everywhere
    torch.testing.assert_close(y[:, 12:, ::8, ::10], grid)  # corners stay corners


@pytest.mark.parametrize(("height", "width"), [(72, 73), (73, 80), (70, 66)])
def test_padding_repeats_the_border(height: int, width: int) -> None:
    network = PSPNet(**SMALL).eval()
    x = torch.randn(1, 3, height, width) - 1  # air is negative: zeros beside it would be an edge
    padded = F.pad(x, [0, (1 - width) % 8, 0, (1 - height) % 8], mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(padded)[..., :height, :width], atol=0, rtol=0)


def test_logits_lie_on_the_pixels_that_their_features_are_centred_on() -> None:
    network = PSPNet(**SMALL).eval()
    seen: list[torch.Tensor] = []
    network.main_head.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        for size in [64, 65, 100]:
            main = network(torch.rand(1, 3, size, size))[..., ::8, ::8]
            cells = main.shape[-1]
            torch.testing.assert_close(main, seen.pop()[..., :cells, :cells], atol=1e-4, rtol=1e-4)


def test_auxiliary_output_comes_only_in_training() -> None:
    network = PSPNet(**SMALL)
    x = torch.rand(1, 3, 67, 70)
    prediction = network.train()(x)
    assert isinstance(prediction, list)
    assert [output.shape for output in prediction] == [(1, 1, 67, 70)] * 2
    with torch.no_grad():
        assert network.eval()(x).shape == (1, 1, 67, 70)


def test_without_aux_the_head_is_frozen_and_weights_fit_both_ways() -> None:
    network = PSPNet(**SMALL, aux=False).train()
    prediction = network(torch.rand(2, 3, 64, 64))
    assert isinstance(prediction, torch.Tensor)
    prediction.mean().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in network.parameters())
    PSPNet(**SMALL).load_state_dict(network.state_dict())


def test_1x1_level_uses_running_statistics_for_a_batch_of_one() -> None:
    network = PSPNet(**SMALL).train()

    def batches_seen() -> list[int]:
        state = network.state_dict()
        return [int(state[f"pyramid.levels.{index}.1.num_batches_tracked"]) for index in range(4)]

    network(torch.rand(1, 3, 64, 64))
    assert batches_seen() == [0, 1, 1, 1]
    network(torch.rand(2, 3, 64, 64))
    assert batches_seen() == [1, 2, 2, 2]


def test_every_batch_norm_converts_for_several_processes() -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(PSPNet(**SMALL))
    norms = {type(module) for module in network.modules() if "BatchNorm" in type(module).__name__}
    assert norms == {nn.SyncBatchNorm}


def test_supervised_trainer_weighs_the_auxiliary_loss_by_0_4_and_keeps_the_main_output() -> None:
    torch.manual_seed(0)
    network = PSPNet(**SMALL, dropout=0.0)
    image, label = torch.rand(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float()
    main, aux = network.train()(image)
    expected = F.binary_cross_entropy_with_logits(main, label) + 0.4 * F.binary_cross_entropy_with_logits(aux, label)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": image, "label": label}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=DeepSupervisionLoss(nn.BCEWithLogitsLoss(), weights=[1.0, 0.4]),
        postprocessing=Compose(
            [MainOutputd(keys="pred"), Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]
        ),
    )
    trainer.run()
    items = trainer.state.output
    assert items[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)
    for index, item in enumerate(items):
        assert item["pred"].shape == (1, 64, 64)
        assert torch.equal(item["pred"] > 0, main[index].detach() >= 0)


def test_main_output_leaves_a_tensor_alone() -> None:
    x = torch.rand(1, 4, 4)
    data: dict[Hashable, Any] = {"pred": [x, x + 1], "other": x}
    result = MainOutputd(keys=["pred", "other"])(data)
    assert result["pred"] is x
    assert result["other"] is x
    assert isinstance(data["pred"], list)  # the input is not changed


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "error::torch.jit.TracerWarning")
@pytest.mark.parametrize("zoom", [1, 1.5])
def test_a_trace_serves_other_sizes_without_a_warning(zoom: float) -> None:
    network = PSPNet(**SMALL, zoom=zoom).eval()
    traced = torch.jit.trace(network, torch.rand(1, 3, 64, 64), check_trace=False)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        for x in [torch.rand(1, 3, 256, 256), torch.rand(2, 3, 100, 77)]:
            torch.testing.assert_close(traced(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # inside PyTorch's exporter
@pytest.mark.parametrize(("size", "zoom"), [((256, 256), 1), ((101, 120), 1), ((101, 120), 1.5)])
def test_onnx_agrees(size: tuple[int, int], zoom: float, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    network = PSPNet(**SMALL, zoom=zoom).eval()
    x = torch.rand(1, 3, *size)
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(network, (x,), path, input_names=["image"], output_names=["pred"])
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"image": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(result), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet20"}, "Unknown backbone 'resnet20' .* resnet18, resnet34, resnet50, efficientnet-lite0"),
        ({"spatial_dims": 3}, "spatial_dims is 3 .* use 2"),
        ({"bins": []}, r"bins is \[\] .* positive whole numbers"),
        ({"bins": [1, 0]}, r"bins is \[1, 0\] .* positive whole numbers"),
        ({"in_channels": 0}, "in_channels 0, .* each must be 1 or more"),
        ({"zoom": 0.5}, "zoom is 0.5 in PSPNet: give a factor from 1 to 4"),
        ({"dropout": 1.0}, "dropout is 1.0 .* from 0 to below 1"),
        ({"norm": "bath"}, "Norm 'bath' does not work .* use \"batch\""),
        ({"norm": ("group", {"num_groups": 7})}, "Norm .* for 64 channels .* num_groups"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LggError, match=message) as caught:
        PSPNet(**arguments)
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_zoom_sees_the_enlarged_slice_and_draws_on_its_own_pixels() -> None:
    torch.manual_seed(0)
    network = PSPNet(**SMALL, zoom=2).eval()
    x = torch.rand(2, 3, 65, 101)  # 129 and 201 pixels enlarged: those of x are every second one
    zoomed = network(x)
    network.zoom_eighths = 8
    enlarged = network(F.interpolate(x, size=(129, 201), mode="bilinear", align_corners=True))
    torch.testing.assert_close(zoomed, enlarged[..., ::2, ::2], rtol=1e-4, atol=1e-4)


def test_input_below_64_pixels_is_refused() -> None:
    with pytest.raises(LggError, match="Input of 64 x 63 pixels in PSPNet: pad it to 64 x 64 or more"):
        PSPNet(**SMALL)(torch.rand(1, 3, 64, 63))


@torch.no_grad()
@pytest.mark.parametrize(("zoom", "side", "enlarged"), [(1.5, 256, 385), (1.5, 100, 153), (2, 65, 129)])
def test_zoom_enlarges_to_the_next_size_of_whole_cells(zoom: float, side: int, enlarged: int) -> None:
    network = PSPNet(**SMALL, zoom=zoom).eval()
    seen: list[torch.Size] = []
    network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[2:]))
    network(torch.rand(1, 3, side, side))
    assert [tuple(size) for size in seen] == [(enlarged, enlarged)]
