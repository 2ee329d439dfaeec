"""Checkpoints of a run: written whole or not at all, best and last, and loaded with a clear word on what is wrong."""

from __future__ import annotations

import logging
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import replacing

logger = logging.getLogger(__name__)

BEST = "best.pt"
LAST = "last.pt"
SHIPPED = Path("models") / "model.pt"  # in the bundle's folder
# What a schedule of the learning rate remembers of the past; the rest is how it goes on.
SCHEDULE_STEPS = ("last_epoch", "_step_count", "_last_lr")


class RunCheckpoints:
    """Write ``best.pt`` and ``last.pt`` after every validated epoch, and continue from ``last.pt``.

    ``best.pt`` is a plain state dictionary of the model to share. ``last.pt`` holds everything that training goes on
    from. MONAI's CheckpointSaver writes in place, so an interruption leaves a damaged file, and forgets the best score
    on resuming; hence this one.

    Args:
        folder: of the checkpoints.
        state: what is saved and restored, by name; each has ``state_dict`` and ``load_state_dict``.
        best_model: the network that ``best.pt`` holds.
        evaluator: validates; its ``key_metric_name`` decides which epoch is best (higher is better).
        validated: False where there are no validation patients: ``best.pt`` is then of the last epoch.
    """

    def __init__(
        self,
        folder: str,
        state: dict[str, Any],
        best_model: torch.nn.Module,
        evaluator: Engine,
        validated: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.state = state
        self.best_model = best_model
        self.evaluator = evaluator
        self.validated = validated
        self.best_metric = -math.inf
        self.best_epoch = 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after validation and history."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    @exits_with_one_line
    def restore(self, engine: Engine) -> None:
        """Load ``last.pt`` into everything that is named in ``state``, and set the trainer's epoch."""
        path = self.folder / LAST
        if not path.is_file():
            logger.info("nothing to resume in %s: starting at epoch 1", self.folder)
            return
        saved = read_checkpoint(path)
        missing = [name for name in (*self.state, "progress") if name not in saved]
        if missing:
            raise LggError(f"the checkpoint {path} lacks {missing[0]}, so it is not one to resume from")
        for name, item in self.state.items():
            content = saved[name]
            if isinstance(item, torch.optim.lr_scheduler.LambdaLR):
                # MONAI's schedule saves its length too: with the old one, more --max_epochs would raise the rate again.
                content = item.state_dict() | {key: content[key] for key in SCHEDULE_STEPS if key in content}
            try:
                item.load_state_dict(content)
            except (RuntimeError, ValueError, KeyError) as error:
                message = (
                    f"the checkpoint {path} does not fit this run's {name}: resume with the settings it began with"
                )
                raise LggError(message) from error
        progress = saved["progress"]
        self.best_metric, self.best_epoch = progress["best_metric"], progress["best_epoch"]
        state: Any = engine.state  # MONAI adds attributes that Ignite's types do not know
        state.epoch, state.iteration = progress["epoch"], progress["iteration"]
        if state.epoch >= state.max_epochs:
            logger.info("%s already has its %d epochs: nothing left to train", self.folder, state.epoch)
        else:
            logger.info("resuming after epoch %d of %d", state.epoch, state.max_epochs)

    def save(self, engine: Engine) -> None:
        """Write the checkpoints of the epoch that ended."""
        if self._is_best(engine.state.epoch):
            self.best_epoch = engine.state.epoch
            save_checkpoint(self.folder / BEST, self.best_model.state_dict())
        content = {name: item.state_dict() for name, item in self.state.items()}
        content["progress"] = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
        }
        save_checkpoint(self.folder / LAST, content)

    def _is_best(self, epoch: int) -> bool:
        if not self.validated:
            return True
        state: Any = self.evaluator.state
        metric = validation_metrics(self.evaluator, epoch).get(state.key_metric_name)
        if metric is None or not float(metric) > self.best_metric:  # NaN is no improvement
            return False
        self.best_metric = float(metric)
        return True


class Restore:
    """Continue a run from its last checkpoint, ahead of every other handler.

    Args:
        checkpoints: of the run.
        resume: do so; otherwise the run starts at its first epoch.
    """

    def __init__(self, checkpoints: RunCheckpoints, resume: bool = False) -> None:
        self.checkpoints = checkpoints
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer as its first handler."""
        if self.resume:
            engine.add_event_handler(Events.STARTED, self.checkpoints.restore)


class EarlyStopping:
    """End training when the best validated epoch is ``patience`` epochs ago.

    It reads the checkpoints' best epoch, so it goes on counting when a run is resumed.

    Args:
        checkpoints: of the run.
        patience: in epochs.
    """

    def __init__(self, checkpoints: RunCheckpoints, patience: int) -> None:
        self.checkpoints = checkpoints
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the checkpoints."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Stop where there was no progress for long."""
        best = self.checkpoints.best_epoch
        if best and engine.state.epoch - best >= self.patience:
            logger.info("no better validation since epoch %d: stopping (early_stop)", best)
            engine.terminate()


def validation_metrics(evaluator: Engine, epoch: int) -> dict[str, float]:
    """Return the evaluator's metrics where it validated this epoch; else nothing, as they would be of an older one."""
    # MONAI's Evaluator.run(epoch) sets max_epochs to the trainer's epoch.
    fresh = evaluator.state.iteration > 0 and evaluator.state.max_epochs == epoch
    return dict(evaluator.state.metrics) if fresh else {}


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the one before."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors; pickled code is never run.

    Raises:
        LggError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LggError(f"no checkpoint {path}: train first, or name one with --checkpoint") from error
    except Exception as error:  # torch raises many kinds on a file that is no checkpoint
        # What torch.save writes is a zip archive; text or rubbish may start like a pickle and be refused as one.
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            message = f"the checkpoint {path} holds more than weights, so it is not loaded (weights_only)"
            raise LggError(message) from error
        raise LggError(f"cannot read the checkpoint {path}: it is damaged or not a PyTorch file") from error
    if not isinstance(content, dict):
        raise LggError(f"the checkpoint {path} holds a {type(content).__name__}, not a state dictionary")
    return content


def default_checkpoint(output_dir: str, bundle_root: str) -> str:
    """Name the weights to use where the user named none: the run's best, else those that are shipped with the bundle.

    Args:
        output_dir: the run folder.
        bundle_root: folder of the bundle, whose ``models/model.pt`` are its trained weights.

    Returns:
        A path; that of the run where neither is there, so that the message on the missing file says to train.
    """
    trained, shipped = Path(output_dir) / "checkpoints" / BEST, Path(bundle_root) / SHIPPED
    if trained.is_file() or not shipped.is_file():
        return str(trained)
    logger.info("no trained run in %s: using the weights shipped with the bundle, %s", output_dir, shipped)
    return str(shipped)


@exits_with_one_line
def load_weights(network: torch.nn.Module, checkpoint: str) -> torch.nn.Module:
    """Load a network's weights from ``best.pt``, ``last.pt`` (its averaged weights) or a bundle's ``model.pt``.

    Returns:
        The network itself.

    Raises:
        SystemExit: with one line, where the file cannot be read or is of another network.
    """
    content = read_checkpoint(Path(checkpoint))
    for name in ("averaged_model", "model"):
        if isinstance(content.get(name), dict):
            content = content[name]
            break
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
    network.load_state_dict(content)
    return network
