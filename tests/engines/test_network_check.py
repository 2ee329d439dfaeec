"""Networks, losses and data that do not fit each other are found before a training begins."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.losses import DeepSupervisionLoss, DiceCELoss, DiceLoss, SSIMLoss
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, FlexibleUNet, SegResNetDS, UNet
from monai.utils import optional_import

from lgg_monai.engines.network_check import check_loss, check_patch
from lgg_monai.engines.slicewise import SlicewiseInferer
from lgg_monai.engines.training import AugmentedBatch
from lgg_monai.networks import PSPNet

PARTS = {
    "imports": ["$import lgg_monai.engines as engines"],
    "network_def": {"_target_": "lgg_monai.networks.EfficientUNet", "encoder": "efficientnet-lite0"},
}


def unet(**arguments: Any) -> UNet:
    return UNet(
        **{"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": (4, 8), "strides": (2,)} | arguments
    )


@pytest.mark.parametrize("training", [True, False])
def test_a_patch_is_shown_to_the_network_and_leaves_it_as_it_was(training: bool) -> None:
    config = ConfigParser({**PARTS, "size": 48, "patch": "$engines.check_patch(@network_def, @size)"})
    network = config.get_parsed_content("network_def").train(training)
    before = copy.deepcopy(network.state_dict())
    config.get_parsed_content("patch")
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("definition", "size", "message"),
    [
        ({"_target_": "lgg_monai.networks.PSPNet", "in_channels": 3, "out_channels": 1}, 48, "64"),
        ({"_target_": "UNet", "channels": [4, 8, 8], "strides": [2, 2]}, 50, "Sizes of tensors must match"),
    ],
)
def test_a_patch_that_the_network_cannot_take_is_one_line(definition: dict, size: int, message: str) -> None:
    unet = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1} if definition["_target_"] == "UNet" else {}
    content = {**PARTS, "network_def": definition | unet, "patch": f"$engines.check_patch(@network_def, {size})"}
    with pytest.raises(SystemExit, match=rf"no patches of {size} pixels \(.*{message}.*\): give another") as caught:
        ConfigParser(content).get_parsed_content("patch")
    assert "\n" not in str(caught.value)


def check_patch_of(network: torch.nn.Module) -> None:
    content = {"imports": PARTS["imports"], "network": network, "patch": "$engines.check_patch(@network, 64)"}
    ConfigParser(content).get_parsed_content("patch")


def test_a_package_that_the_network_lacks_is_named() -> None:
    class Needy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rearrange, _ = optional_import("no_such_package.of_ours", name="rearrange")
            return rearrange(x)

    with pytest.raises(SystemExit, match=r"a package that is not installed \(no_such_package\): install it") as caught:
        check_patch_of(Needy())
    assert "\n" not in str(caught.value)
    assert "patch_size" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: BasicUNetPlusPlus(2, 3, 1, features=[4] * 6), "gives a list when it is evaluated, not one logit"),
        (lambda: UNet(2, 3, 2, channels=(4, 8), strides=(2,)), r"gives \[1, 2, 64, 64\] for one patch of 64 pixels"),
        (lambda: torch.nn.Conv2d(3, 1, 2, stride=2), r"gives \[1, 1, 32, 32\] for one patch of 64 pixels"),
    ],
)
def test_a_network_without_one_logit_a_pixel_is_refused(network: Callable[[], torch.nn.Module], message: str) -> None:
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: the network {message}") as caught:
        check_patch_of(network())
    assert "\n" not in str(caught.value)


def test_a_network_may_give_several_outputs_while_it_learns() -> None:
    network = PSPNet(features=8)
    assert isinstance(network(torch.zeros(2, 3, 64, 64)), list)
    check_patch_of(network)


def test_slices_are_padded_to_what_the_configs_network_halves() -> None:
    content = {**PARTS, "divisor": "$engines.slice_divisor()"}
    assert ConfigParser(content).get_parsed_content("divisor") == 16
    content["network_def"] = {"_target_": "UNet", "strides": [2, 2, 2, 2, 2]}
    assert ConfigParser(content).get_parsed_content("divisor") == 32
    content["network_def"] = "$torch.nn.Identity()"
    assert ConfigParser(content).get_parsed_content("divisor") == 16


@pytest.mark.parametrize(
    "definition",
    [
        # As nnU-Net writes it: a stride for each axis, the first one halves nothing.
        {"_target_": "DynUNet", "kernel_size": [3] * 6, "strides": [[1, 1], [2, 2], [2, 2], [2, 1], [2, 2], [2, 2]],
         "upsample_kernel_size": [[2, 2], [2, 2], [2, 1], [2, 2], [2, 2]], "filters": [4] * 6},
        {"_target_": "SegResNet", "init_filters": 8, "blocks_down": [1] * 6, "blocks_up": [1] * 5},
    ],
)  # fmt: skip
def test_slices_of_any_size_fit_a_deep_network(definition: dict) -> None:
    network = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1} | definition
    config = ConfigParser({**PARTS, "network_def": network, "divisor": "$engines.slice_divisor()"})
    assert config.get_parsed_content("divisor") == 32
    inferer = SlicewiseInferer(divisor=config.get_parsed_content("divisor"))
    output = inferer(torch.zeros(1, 3, 72, 88, 1), config.get_parsed_content("network_def").eval())
    assert output.shape == (1, 1, 72, 88, 1)


INFERERS = {"train": "validate#inferer", "evaluate": "evaluation#evaluator#inferer", "inference": "inferer"}


@pytest.mark.parametrize("config", INFERERS)
def test_volumes_narrower_than_the_network_takes_are_padded(config: str, in_repository: Path) -> None:
    parser = ConfigParser()
    parser.read_config(["bundles/pspnet.yaml", *([] if config == "train" else [f"configs/{config}.yaml"])])
    parser["device"], parser["precision"] = "cpu", "fp32"
    parser["network_def"] = {"_target_": "lgg_monai.networks.PSPNet", "features": 8}
    inferer, network = (parser.get_parsed_content(key) for key in (INFERERS[config], "network_def"))
    with torch.no_grad():
        assert inferer(torch.zeros(1, 3, 40, 72, 2), network.eval()).shape == (1, 1, 40, 72, 2)


def test_a_network_in_three_dimensions_is_not_blamed_on_the_patch() -> None:
    with pytest.raises(
        SystemExit, match=r"the network is three-dimensional, .*: give spatial_dims: 2 in --network_def$"
    ):
        check_patch(unet(spatial_dims=3), 64)


def test_the_size_that_is_proposed_is_one_that_the_network_halves_to() -> None:
    deep = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    deep |= {"channels": [4] * 7, "strides": [2] * 6, "norm": "batch"}
    content = {**PARTS, "network_def": deep, "patch": "$engines.check_patch(@network_def, 160)"}
    with pytest.raises(SystemExit, match=r"no patches of 160 pixels .*: give another --patch_size, such as 192$"):
        ConfigParser(content).get_parsed_content("patch")


DICE = DiceCELoss(sigmoid=True, batch=True)


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (unet, DICE),
        (unet, torch.nn.BCEWithLogitsLoss()),
        (unet, torch.nn.MSELoss()),
        (lambda: PSPNet(features=8), DeepSupervisionLoss(DICE, weights=[1.0, 0.4])),
        (lambda: SegResNetDS(2, 8, 3, 1, dsdepth=3), DeepSupervisionLoss(DICE)),
    ],
)
def test_a_loss_that_takes_what_the_network_gives_passes(network: Callable, loss: Callable) -> None:
    shown = network().eval()
    before = copy.deepcopy(shown.state_dict())
    assert check_loss(shown, loss, 64, 8) is None
    assert not shown.training
    assert all(torch.equal(value, before[name]) for name, value in shown.state_dict().items())


def dyn_unet() -> DynUNet:
    sizes = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3, "filters": [4] * 4}
    return DynUNet(2, 3, 1, **sizes, deep_supervision=True, deep_supr_num=2)


@pytest.mark.parametrize(
    ("network", "loss", "message"),
    [
        (dyn_unet, DICE, r"the network gives \[2, 3, 1, 64, 64\] while it learns, .* such as its deep supervision$"),
        (
            lambda: SegResNetDS(2, 8, 3, 1, dsdepth=2),
            DICE,
            "cannot compute the loss .*, such as by DeepSupervisionLoss",
        ),
        (unet, DiceLoss(sigmoid=True, reduction="none"), r"the loss gives \[2, 1, 1, 1\], not one number"),
        (unet, lambda output, mask: 0.5, "the loss gives float, not one number"),
        (unet, torch.nn.BCELoss(), "cannot compute the loss of masks .*: correct --loss$"),
        (unet, torch.nn.CrossEntropyLoss(), "the loss of right masks is not below that of wrong ones"),
        (unet, DiceLoss(), "the loss of right masks falls without end: correct --loss, such as by sigmoid: true"),
    ],
)
def test_a_network_that_cannot_learn_by_its_loss_is_one_line(network: Callable, loss: Callable, message: str) -> None:
    with pytest.raises(SystemExit, match=f"^lgg-monai: error: {message}") as caught:
        check_loss(network(), loss, 64, 8)
    assert "\n" not in str(caught.value)


def test_a_batch_that_norms_cannot_learn_from_is_one_line() -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 1, 1))
    with pytest.raises(SystemExit, match=r"cannot learn from 1 patch\(es\) of 64 x 64 pixels .*--batch_size"):
        check_loss(network, DICE, 64, 1)


class Slices(Dataset):
    """Slices of two volumes of different sizes."""

    def slice_sizes(self) -> set[tuple[int, int]]:
        return {(64, 64), (64, 72)}


def slices_check(
    network: torch.nn.Module,
    augmentation: Callable | None = None,
    loss: Callable = DICE,
    in_channels: int = 3,
    keys: tuple[str, str] = ("image", "label"),
) -> None:
    data = Slices([dict(zip(keys, (torch.zeros(3, 64, 64), torch.zeros(1, 64, 64)), strict=True))] * 3)
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, DataLoader(data, batch_size=3), network, torch.optim.SGD(network.parameters()), loss,
        prepare_batch=AugmentedBatch(augmentation),
    )  # fmt: skip
    evaluator = SupervisedEvaluator(
        torch.device("cpu"), DataLoader(data), copy.deepcopy(network), inferer=SlicewiseInferer(divisor=16)
    )
    content = {**PARTS, "trainer": trainer, "evaluator": evaluator}
    content["network_def"] = {"_target_": "UNet", "in_channels": in_channels}
    ConfigParser({**content, "check": "$engines.check_slices(@trainer, @evaluator)"}).get_parsed_content("check")


def test_a_network_that_fits_the_slices_passes_and_stays_as_it_was() -> None:
    network = unet(norm="batch")
    before = copy.deepcopy(network.state_dict())
    slices_check(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def bad_step(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return image[:, 5], label


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": FlexibleUNet(3, 1, "resnet18", spatial_dims=2)}, "takes no whole slices of 64 x 72 pixels"),
        (
            {"network": unet(), "augmentation": bad_step},
            r"cannot augment a batch \[2, 3, 64, 64\] .*: correct --augmenta",
        ),
        (
            {"network": unet(), "loss": SSIMLoss(2)},
            "cannot compute the loss of masks .*validation computes it of whole",
        ),
        ({"network": unet(), "in_channels": 1}, "in_channels is 1, .* 3 channels: give --network_def#in_channels 3$"),
        ({"network": unet(), "augmentation": lambda image, label: (image[:, :2], label)}, "cannot learn from 2 patch"),
        (
            {"network": unet(), "augmentation": lambda image, label: (image, label[:, 0])},
            r"become images of torch.float32 with masks \[2, 64, 64\], not torch.float32 and \[2, 1, 64, 64\]",
        ),
        (
            {"network": unet(), "augmentation": lambda *both: [one.half() for one in both]},
            "images of torch.float16",
        ),
        (
            {"network": unet(), "keys": ("picture", "mask")},
            r"cannot draw a batch with image and label \(KeyError: 'image'\): correct train#dataloader",
        ),
    ],
)
def test_what_does_not_fit_the_slices_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemExit, match=message) as caught:
        slices_check(**arguments)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_loss_of_ones_own_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text("def loss(output, mask):\n    return output.mean() / masks.sum()\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("my_losses")
    with pytest.raises(SystemExit, match=r"\(NameError in my_losses.py, line 2: name 'masks' is not defined\)"):
        check_loss(unet(), own.loss, 64, 8)
