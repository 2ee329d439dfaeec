"""Files of weights: written whole or not at all, and loaded with a clear word on what is wrong."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lgg_monai.data.seen import DATALIST
from lgg_monai.engines.compact_weights import expand
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import tensor_bytes, write_bytes
from lgg_monai.networks.ensemble import Ensemble

logger = logging.getLogger(__name__)

GO_ON = "the same command with --resume True goes on (cross-validate without)"
FREE_AND_RESUME = f"free space, then {GO_ON}"
BEST = "best.pt"
LAST = "last.pt"
SHIPPED = Path("models") / "model.pt"  # in the bundle's folder


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the one before.

    Raises:
        LggError: it cannot be written, as the disk is full; the one before is still there.
    """
    serialised = tensor_bytes(content)
    try:
        write_bytes(path, serialised)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"cannot write the checkpoint {path} ({reason}): {FREE_AND_RESUME}"
        raise LggError(message) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors; pickled code is never run.

    Raises:
        LggError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LggError(f"no checkpoint {path}: train first, or give the path of another") from error
    except Exception as error:  # torch raises many kinds on a file that is no checkpoint
        # What torch.save writes is a zip archive; text or rubbish may start like a pickle and be refused as one.
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            message = f"the checkpoint {path} holds more than weights, so it is not loaded (weights_only)"
            raise LggError(message) from error
        raise LggError(f"cannot read the checkpoint {path}: it is damaged or not a PyTorch file") from error
    if not isinstance(content, dict):
        raise LggError(f"the checkpoint {path} holds a {type(content).__name__}, not a state dictionary")
    return content


def read_weights(path: Path) -> dict[str, Any]:
    """Read the weights of a checkpoint: the averaged ones where it has both, of a bundle's ``model.pt`` all.

    Raises:
        LggError: as `read_checkpoint`.
    """
    content = read_checkpoint(path)
    state = next(
        (content[name] for name in ("averaged_model", "model") if isinstance(content.get(name), dict)), content
    )
    return expand(state)


def can_resume(output_dir: str) -> bool:
    """Tell whether a run folder holds a checkpoint to go on from."""
    return (Path(output_dir) / "checkpoints" / LAST).is_file()


@exits_with_one_line
def default_checkpoint(output_dir: str, bundle_root: str) -> str:
    """Name the weights to use where the user named none: the run's best, else those that are shipped with the bundle.

    Args:
        output_dir: the run folder.
        bundle_root: folder of the bundle, whose ``models/model.pt`` are its trained weights.

    Returns:
        A path; that of the run where neither is there, so that the message on the missing file says to train.

    Raises:
        SystemExit: with one line, where the run has no validation score or no weights yet: its own are meant then.
    """
    trained, shipped = Path(output_dir) / "checkpoints" / BEST, Path(bundle_root) / SHIPPED
    if trained.is_file():
        return str(trained)
    last = trained.with_name(LAST)
    if last.is_file():
        message = (
            f"the run in {output_dir} has no {BEST}, as no epoch of it gave a validation score: resume it, after its "
            f"last epoch with more --max_epochs and --val_interval 1, or name its last weights with --checkpoint {last}"
        )
        raise LggError(message)
    if not shipped.is_file():
        return str(trained)
    if (Path(output_dir) / DATALIST).is_file():
        # Shipped weights have seen every patient of the data set, those that this run tests on as well.
        message = (
            f"the run in {output_dir} has no weights yet: train it to its first validation (--resume True), or give "
            f"another --output_dir, or name weights with --checkpoint, such as {shipped}"
        )
        raise LggError(message)
    logger.info("no trained run in %s: using the weights shipped with the bundle, %s", output_dir, shipped)
    return str(shipped)


@exits_with_one_line
def load_weights(network: torch.nn.Module, checkpoint: str) -> torch.nn.Module:
    """Load a network's weights from ``best.pt``, ``last.pt`` (its averaged weights) or a bundle's ``model.pt``.

    Returns:
        The network itself.

    Raises:
        SystemExit: with one line, where the file cannot be read, is of another network, or its weights are not finite.
    """
    if isinstance(network, Ensemble) and not Path(checkpoint).exists():
        way = "join those of its networks with `lgg-monai weights`, and name the file with --checkpoint"
        raise LggError(f"no weights of the ensemble in {checkpoint}: {way}")
    content = read_weights(Path(checkpoint))
    expected = network.state_dict()
    strangers = [key for key in content if key not in expected]
    absent = [key for key in expected if key not in content]
    shaped = [k for k in expected if k in content and getattr(content[k], "shape", None) != expected[k].shape]
    for what, keys in (("lacks", absent), ("has an unknown", strangers), ("has another shape for", shaped)):
        if keys:
            message = (
                f"the checkpoint {checkpoint} is of another network: it {what} {keys[0]} "
                f"({len(keys)} such entries); use the config that it was trained with"
            )
            raise LggError(message)
    if not are_finite(content[name] for name, _ in network.named_parameters()):
        raise LggError(
            f"the checkpoint {checkpoint} holds weights that are nan or infinite: take those of another epoch"
        )
    network.load_state_dict(content)
    return network


def are_finite(weights: Iterable[torch.Tensor]) -> bool:
    """Tell whether no weight is nan or infinite.

    To be asked of parameters alone: the buffers of a network of one's own may be infinite by intention, as masks of
    attention are.
    """
    return all(bool(torch.isfinite(each).all()) for each in weights)


@exits_with_one_line
def load_ensemble(network: torch.nn.Module, checkpoint: str | Sequence[str]) -> torch.nn.Module:
    """Load one checkpoint into the network, or several into an ensemble of copies of it.

    MONAI's ``EnsembleEvaluator`` wants another evaluator and other post-processing than a single network; a network
    that holds the members serves every engine, inferer and export as it is.

    Args:
        network: as the config defines it.
        checkpoint: a file, or a list of files of the same network.

    Returns:
        The network itself for one file, else a :class:`lgg_monai.networks.Ensemble`.

    Raises:
        SystemExit: with one line, where a file cannot be read or is of another network, or none is given.
    """
    several = checkpoint if isinstance(checkpoint, list | tuple) else [checkpoint]
    files = [str(file) for file in several if isinstance(file, str | os.PathLike)]
    if not files or len(files) < len(several):
        raise LggError("no checkpoint to load: give a file, or a list such as \"['a.pt','b.pt']\", with --checkpoint")
    if len(files) == 1:
        return load_weights(network, files[0])
    return Ensemble([load_weights(copy.deepcopy(network), file) for file in files])
