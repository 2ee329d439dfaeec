"""Best and last checkpoint of a run: when they are written, resumed from, and end the training."""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler

from lgg_monai.engines.checkpoints import BEST, LAST, are_finite, read_checkpoint, save_checkpoint
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.words import counted

logger = logging.getLogger(__name__)

# What a schedule of the learning rate remembers of the past; the rest is how it goes on.
SCHEDULE_STEPS = ("last_epoch", "_step_count", "_last_lr")
# How long others are, which go on as they began: beyond that the rate would rise again, or there is none.
SCHEDULE_LENGTHS = ("total_steps", "T_max", "total_iters")


class RunCheckpoints:
    """Write ``last.pt`` after every epoch, ``best.pt`` after every better one, and continue from ``last.pt``.

    ``best.pt`` is a plain state dictionary of the model to share; where the weights that training begins with were
    validated, as epoch 0, it holds these until an epoch is better. ``last.pt`` holds everything that training goes on
    from. MONAI's CheckpointSaver writes in place, so an interruption leaves a damaged file, and forgets the best score
    on resuming; hence this one.

    Args:
        folder: of the checkpoints.
        state: what is saved and restored, by name; each has ``state_dict`` and ``load_state_dict``.
        best_model: the network that ``best.pt`` holds.
        evaluator: validates; its ``key_metric_name`` decides which epoch is best (higher is better).
        validated: False where there are no validation patients: ``best.pt`` is then of the last epoch.
        interval: least number of seconds from one ``last.pt`` to the next; that of the last epoch is always written.
            An interrupted training that is resumed computes anew what it did since, to the same numbers. A better
            ``best.pt`` waits for it too: it is never of an epoch that a resumed training knows nothing of.
    """

    def __init__(
        self,
        folder: str,
        state: dict[str, Any],
        best_model: torch.nn.Module,
        evaluator: Engine,
        validated: bool = True,
        interval: float = 0.0,
    ) -> None:
        self.folder = Path(folder)
        self.state = state
        self.best_model = best_model
        self.evaluator = evaluator
        self.validated = validated
        self.best_metric = -math.inf
        self.best_epoch = 0
        self.validated_epoch = 0
        self.interval = interval
        self._written: tuple[int, float] = (0, -math.inf)  # the epoch of `last.pt`, and when
        self._better: dict[str, Any] | None = None  # what `best.pt` is to hold

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after validation and history."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.TERMINATE, self._save_last)
        engine.add_event_handler(Events.COMPLETED, self._end)

    @exits_with_one_line
    def restore(self, engine: Engine) -> None:
        """Load ``last.pt`` into everything that is named in ``state``, and set the trainer's epoch."""
        path = self.folder / LAST
        if not path.is_file():
            logger.info("nothing to resume in %s: starting at epoch 1", self.folder)
            return
        try:
            saved = read_checkpoint(path)
        except LggError as error:
            way_out = (
                f"begin anew without --resume, or in another --output_dir with --initial_weights {self.folder / BEST}"
            )
            raise LggError(f"{error}: {way_out}") from error
        missing = [name for name in (*self.state, "progress") if name not in saved]
        if missing:
            raise LggError(f"the checkpoint {path} lacks {missing[0]}, so it is not one to resume from")
        for name, item in self.state.items():
            content = saved[name]
            if isinstance(item, torch.optim.lr_scheduler.LambdaLR):
                # MONAI's schedule saves its length too: with the old one, more --max_epochs would raise the rate again.
                content = item.state_dict() | {key: content[key] for key in SCHEDULE_STEPS if key in content}
            elif isinstance(item, LRScheduler):
                _require_length(item, content, path)
            try:
                item.load_state_dict(content)
            except (RuntimeError, ValueError, KeyError) as error:
                message = (
                    f"the checkpoint {path} does not fit this run's {name}: resume with the settings it began with"
                )
                raise LggError(message) from error
        progress = saved["progress"]
        steps, before = engine.state.epoch_length, progress.get("epoch_length")
        if before is not None and before != steps:
            # Ignite counts steps: with other ones it would end too early, and the learning rate would be another's.
            message = (
                f"the run of {path} has {before} steps an epoch, and now {steps}: "
                "resume with the --batch_size and --slices_per_epoch that it began with"
            )
            raise LggError(message)
        self.best_metric, self.best_epoch = progress["best_metric"], progress["best_epoch"]
        self.validated_epoch = progress.get("validated_epoch", 0)
        state: Any = engine.state  # MONAI adds attributes that Ignite's types do not know
        state.epoch, state.iteration = progress["epoch"], progress["iteration"]
        if state.epoch >= state.max_epochs:
            logger.info("%s already has its %s: nothing left to train", self.folder, counted(state.epoch, "epoch"))
        else:
            logger.info("resuming after epoch %d of %d", state.epoch, state.max_epochs)

    @exits_with_one_line
    def save(self, engine: Engine) -> None:
        """Write the checkpoints of the epoch that ended.

        Raises:
            SystemExit: with one line, where they cannot be written, or the weights are not finite.
        """
        _require_finite(self.best_model, engine.state.epoch)
        better = self._keep_best(engine.state.epoch)
        if validation_metrics(self.evaluator, engine.state.epoch):
            self.validated_epoch = engine.state.epoch
        if time.monotonic() - self._written[1] >= self.interval or engine.state.epoch == engine.state.max_epochs:
            self._save_last(engine)
        elif better:
            self._better = copy.deepcopy(self._better)  # the next step changes the model itself

    @exits_with_one_line
    def _save_last(self, engine: Engine) -> None:
        self._write_best()  # first: cut off in between, the resumed training finds the same epoch better again
        ended = engine.state.iteration == engine.state.epoch * (engine.state.epoch_length or 0)
        if not ended or self._written[0] == engine.state.epoch:
            return  # within an epoch there is nothing to go on from
        content = {name: item.state_dict() for name, item in self.state.items()}
        content["progress"] = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
            "validated_epoch": self.validated_epoch,
        }
        save_checkpoint(self.folder / LAST, content)
        self._written = (engine.state.epoch, time.monotonic())

    @exits_with_one_line
    def _begin(self, engine: Engine) -> None:
        if engine.state.epoch == 0 and validation_metrics(self.evaluator, 0):
            self._keep_best(0)
            self._write_best()

    def _end(self, engine: Engine) -> None:
        if self.best_epoch == 0 and math.isfinite(self.best_metric):
            logger.warning("no epoch was better than the weights that training began with: %s holds these", BEST)

    def _keep_best(self, epoch: int) -> bool:
        better = self._is_best(epoch)
        if better:
            self.best_epoch = epoch
            self._better = self.best_model.state_dict()
        return better

    def _write_best(self) -> None:
        if self._better is not None:
            save_checkpoint(self.folder / BEST, self._better)
            self._better = None

    def _is_best(self, epoch: int) -> bool:
        if not self.validated:
            return True
        state: Any = self.evaluator.state
        metric = validation_metrics(self.evaluator, epoch).get(state.key_metric_name)
        if metric is None or not float(metric) > self.best_metric:  # NaN is no improvement
            return False
        self.best_metric = float(metric)
        return True


def _require_finite(model: torch.nn.Module, epoch: int) -> None:
    """Refuse weights that an epoch's last step spoilt, whose loss nobody sees: they would replace those of before."""
    if not are_finite(model.parameters()):
        message = f"the weights became nan or infinite in epoch {epoch}: lower --learning_rate"
        raise LggError(f"{message}, or look at the data with `lgg-monai check`")


def _require_length(schedule: LRScheduler, saved: dict[str, Any], path: Path) -> None:
    ours = schedule.state_dict()
    for name in SCHEDULE_LENGTHS:
        before, now = saved.get(name), ours.get(name)
        if before != now:
            message = f"the learning rate's schedule of {path} has a {name} of {before}, and now {now}"
            raise LggError(f"{message}: resume with the --max_epochs that it began with")


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

    It reads the checkpoints' best epoch, so it goes on counting when a run is resumed, and ends one at once that had
    ended so.

    Args:
        checkpoints: of the run.
        patience: in epochs.

    Raises:
        SystemExit: with one line, where nothing is validated.
    """

    @exits_with_one_line
    def __init__(self, checkpoints: RunCheckpoints, patience: int) -> None:
        if not checkpoints.validated:
            raise LggError(f"early_stop is {patience}, but no patient validates an epoch: leave it at 0")
        self.checkpoints = checkpoints
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the checkpoints."""
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Stop where there was no progress for long."""
        if self.checkpoints.validated_epoch != engine.state.epoch:
            return  # an epoch that was not validated says nothing
        best = self.checkpoints.best_epoch
        known = math.isfinite(self.checkpoints.best_metric)
        if known and engine.state.epoch - best >= self.patience:
            logger.info("no better validation since epoch %d: stopping (early_stop)", best)
            engine.terminate()


def validation_metrics(evaluator: Engine, epoch: int) -> dict[str, float]:
    """Return the evaluator's metrics where it validated this epoch; else nothing, as they would be of an older one.

    Epoch 0 is what training began with.
    """
    # MONAI's Evaluator.run(epoch) ends with the trainer's epoch; before its first run there is no iteration.
    fresh = evaluator.state.iteration > 0 and evaluator.state.epoch == epoch
    return dict(evaluator.state.metrics) if fresh else {}
