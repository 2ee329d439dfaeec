"""What a network has to take and to give, found out before a training that would end with a traceback."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import monai
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from lgg_monai.data.ahead import AheadDataLoader
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.engines.config_check import effective_config
from lgg_monai.engines.parts_check import missing_package, root_cause
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.networks.strides import SMALLEST_DIVISOR, divisor, smallest_side

USUAL_PATCH = 160
SHOWN = 2
"""Slices of a batch that a network is shown: batch norms need more than one."""
CERTAIN = 20.0
"""A logit that is as good as certain."""


@exits_with_one_line
def check_patch(network: nn.Module, patch_size: int) -> None:
    """Show the network one patch of zeros before data are read: not every network takes every size.

    Args:
        network: in training; neither its mode nor its statistics change.
        patch_size: pixels.

    Raises:
        SystemExit: with one line, where it cannot take such a patch, lacks a package, or does not give one logit a
            pixel when it is evaluated.
    """
    patch = _zeros(network, 1, patch_size)
    training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(patch)
    except Exception as error:  # whatever a network may raise
        _refuse_a_lack(error)
        if any(isinstance(module, nn.Conv3d) for module in network.modules()):
            message = "the network is three-dimensional, but learns from slices: give spatial_dims: 2 in --network_def"
            raise LggError(message) from error
        fitting = USUAL_PATCH + -USUAL_PATCH % slice_divisor()
        message = f"the network takes no patches of {patch_size} pixels ({_reason(error)})"
        raise LggError(f"{message}: give another --patch_size, such as {fitting}") from error
    finally:
        network.train(training)
    if not isinstance(output, torch.Tensor):
        raise LggError(
            f"the network gives a {type(output).__name__} when it is evaluated, not one logit a pixel: "
            "give another --network_def"
        )
    if output.shape != (1, 1, patch_size, patch_size):
        raise LggError(
            f"the network gives {list(output.shape)} for one patch of {patch_size} pixels, not one logit a pixel "
            f"({[1, 1, patch_size, patch_size]}): correct --network_def, such as its out_channels"
        )


@exits_with_one_line
def check_loss(network: nn.Module, loss: Callable, patch_size: int, batch_size: int) -> None:
    """Compute the loss of patches of zeros before data are read: while it learns, a network may give several outputs.

    Args:
        network: to be trained; it does not change.
        loss: of its output and a mask.
        patch_size: pixels.
        batch_size: of the training.

    Raises:
        SystemExit: with one line, where the network cannot learn from such a batch, or not with this loss.
    """
    images = _zeros(network, min(batch_size, SHOWN), patch_size)
    _require_loss(network, loss, images, images[:, :1])
    mask = images[:, :1].clone()
    mask[..., : patch_size // 2] = 1
    right = CERTAIN * (2 * mask - 1)
    certain = _computed(loss, right, mask)
    if not certain < _computed(loss, -right, mask):  # such as a cross entropy of classes, of which there is one
        raise LggError("the loss of right masks is not below that of wrong ones: correct --loss, it is given one logit")
    if _computed(loss, 2 * right, mask) < certain - 0.5:  # such as a Dice of logits that nothing made probabilities
        raise LggError("the loss of right masks falls without end: correct --loss, such as by sigmoid: true")


@exits_with_one_line
def check_slices(trainer: SupervisedTrainer, evaluator: SupervisedEvaluator) -> None:
    """Show a network what it will be shown when all is read: patches as they are augmented, and slices of every size.

    Args:
        trainer: its network learns from slices of its data; nothing of it changes.
        evaluator: its inferer predicts whole volumes.

    Raises:
        SystemExit: with one line, where the network does not fit the patches or the slices.
    """
    loader: Any = trainer.data_loader
    try:
        drawn: dict[str, torch.Tensor] = next(loader.drawn() if isinstance(loader, AheadDataLoader) else iter(loader))
        batch = {key: drawn[key][:SHOWN] for key in ("image", "label")}
    except Exception as error:  # whatever a loader may raise
        reason = f"{type(error).__name__}: {_reason(error)}"
        message = f"cannot draw a batch with image and label ({reason}): correct train#dataloader"
        raise LggError(f"{message}, such as by the collate_fn that configs/train.yaml has") from error
    channels = batch["image"].shape[1]
    expected = _in_channels()
    if expected is not None and expected != channels:
        raise LggError(
            f"network_def#in_channels is {expected}, but the volumes have {channels} channels: "
            f"give --network_def#in_channels {channels}"
        )
    try:
        image, label = trainer.prepare_batch(batch, trainer.state.device)
    except Exception as error:  # whatever a transform may raise
        shape = list(batch["image"].shape)
        raise LggError(f"cannot augment a batch {shape} ({_reason(error)}): correct --augmentation") from error
    wanted = [len(image), 1, *image.shape[2:]]
    if image.dtype != torch.float32 or list(label.shape) != wanted:
        raise LggError(
            f"batches become images of {image.dtype} with masks {list(label.shape)}, not torch.float32 and {wanted}: "
            "correct --augmentation, or train#prepare_batch of a --train of your own"
        )
    _require_loss(trainer.network, trainer.loss_function, image, label)
    loaders: list[Any] = [trainer.data_loader, evaluator.data_loader]
    if len(loaders[1].dataset):
        volume = image.new_zeros(1, 1, *image.shape[2:], SHOWN)
        _computed(trainer.loss_function, volume, volume, "; validation computes it of whole volumes")
    network = evaluator.network.eval()
    for size in dict.fromkeys(size for loader in loaders for size in loader.dataset.slice_sizes()):
        try:
            with torch.no_grad():
                evaluator.inferer(image.new_zeros(1, channels, *size, 1), network)
        except Exception as error:  # whatever a network may raise
            message = f"the network takes no whole slices of {_sides(size)} pixels ({_reason(error)})"
            raise LggError(f"{message}: give another --network_def") from error


def slice_divisor() -> int:
    """Return what the sides of the config's slices are padded to a multiple of, so that its network can take them."""
    definition = _definition()
    return divisor(definition) if definition else SMALLEST_DIVISOR


def slice_smallest() -> int:
    """Return the pixels that sides of the config's slices are padded to at least, so that its network can take them."""
    definition = _definition()
    return smallest_side(definition) if definition else SMALLEST_DIVISOR


def _definition() -> dict[str, Any]:
    """Return what the config defines the network by; nothing, where that is an expression or there is no config."""
    definition = effective_config().get("network_def")
    return definition if isinstance(definition, dict) else {}


def _in_channels() -> int | None:
    """Return the channels that the network takes, where its definition says so."""
    channels = _definition().get("in_channels")
    return channels if isinstance(channels, int) else None


def _zeros(network: nn.Module, count: int, side: int) -> torch.Tensor:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return torch.zeros(count, _in_channels() or len(SEQUENCES), side, side, device=device)


def _require_loss(network: nn.Module, loss: Callable, images: torch.Tensor, labels: torch.Tensor) -> None:
    learner = copy.deepcopy(network).train()  # the statistics of its norms change
    try:
        output = learner(images)
    except Exception as error:  # whatever a network may raise
        _refuse_a_lack(error)
        patches = f"{len(images)} patch(es) of {_sides(images.shape[2:])} pixels"
        message = f"the network cannot learn from {patches} ({_reason(error)})"
        raise LggError(f"{message}: give another --batch_size, --patch_size or --network_def") from error
    several = isinstance(output, list | tuple)
    main = output[0] if several else output
    given = list(main.shape) if isinstance(main, torch.Tensor) else type(main).__name__
    if given != list(labels.shape):
        message = f"the network gives {given} while it learns, not one logit a pixel ({list(labels.shape)})"
        raise LggError(f"{message}: correct --network_def, such as its deep supervision")
    way = ", such as by DeepSupervisionLoss, for the several outputs that the network gives while it learns"
    value = _computed(loss, output, labels, way if several else "")
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        what = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise LggError(f"the loss gives {what}, not one number that a network can learn by: correct --loss")


def _computed(loss: Callable, output: Any, labels: torch.Tensor, advice: str = "") -> Any:
    try:
        return loss(output, labels)
    except Exception as error:  # whatever a loss may raise
        message = f"cannot compute the loss of masks {list(labels.shape)} ({_reason(error)})"
        raise LggError(f"{message}: correct --loss{advice}") from error


def _sides(size: Iterable[int]) -> str:
    return " x ".join(map(str, size))


def _refuse_a_lack(error: Exception) -> None:
    """Name the package that the network lacks, where that is why it failed: MONAI asks for some at the first use."""
    if isinstance(error, ImportError):
        package = missing_package(error) or _reason(error)
        raise LggError(
            f"the network needs a package that is not installed ({package}): install it, or give another --network_def"
        ) from error


def _reason(error: Exception) -> str:
    """Tell what an error says; of code of the user's own its kind and line too, as there is no traceback."""
    cause = root_cause(error)
    text = " ".join(str(cause).split())[:200]
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(cause.__traceback__)]
    own = [(file, line) for file, line in places if file.is_file() and not _is_known(file)]
    return f"{type(cause).__name__} in {own[-1][0].name}, line {own[-1][1]}: {text}" if own else text


def _is_known(file: Path) -> bool:
    """Tell whether a file is Python's, of this package, or installed beside PyTorch or MONAI."""
    known = [Path(os.__file__).parent, *(Path(name).parents[1] for name in (__file__, torch.__file__, monai.__file__))]
    return any(folder in file.parents for folder in known)
