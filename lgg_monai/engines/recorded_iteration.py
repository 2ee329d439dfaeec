"""The iteration of MONAI's SupervisedTrainer, recorded on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys

from lgg_monai.engines.cuda_graph import RecordedStep, tell_unrecorded
from lgg_monai.engines.training import AugmentedBatch

INSIDE = (IterationEvents.FORWARD_COMPLETED, IterationEvents.LOSS_COMPLETED, IterationEvents.BACKWARD_COMPLETED)


class RecordedIteration:
    """An ``iteration_update`` for SupervisedTrainer: its own iteration, whose training step a GPU is given as a whole.

    See :class:`RecordedStep`. Where a recording would not do what the trainer does, the trainer's own iteration is run,
    on a GPU with a warning: see :func:`obstacle`.

    Args:
        enabled: False always runs the trainer's own iteration.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.recorded: RecordedStep | None = None
        self._told = False

    def __call__(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Any]:
        """Run an iteration; return, and leave in ``engine.state.output``, image, label, pred and loss."""
        if not self.enabled or torch.device(engine.state.device).type != "cuda":
            return engine._iteration(engine, batchdata)
        reason = obstacle(engine)
        if reason is not None:
            if not self._told:
                tell_unrecorded(reason)
            self._told = True
            return engine._iteration(engine, batchdata)
        image, label = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        if self.recorded is None:
            self.recorded = RecordedStep(_Step(engine), engine.optimizer)
        outputs = self.recorded(image, label)
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: label, **outputs}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


class _Step:
    """What SupervisedTrainer does from the network's input to the optimizer's step."""

    def __init__(self, engine: SupervisedTrainer) -> None:
        self.engine = engine

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        engine = self.engine
        output = engine.state.output = {Keys.IMAGE: image, Keys.LABEL: label}
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        output[Keys.PRED] = engine.inferer(image, engine.network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        output[Keys.LOSS] = engine.loss_function(output[Keys.PRED], label).mean()
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        output[Keys.LOSS].backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        return {Keys.PRED: output[Keys.PRED], Keys.LOSS: output[Keys.LOSS]}


def obstacle(engine: SupervisedTrainer) -> str | None:
    """Tell why a recording of the trainer's step would not go on doing what the trainer does; None where it would."""
    handlers = [handler for event in INSIDE for handler, *_ in engine._event_handlers[event]]
    owners = [getattr(handler, "__self__", handler) for handler in handlers]
    foreign = [owner for owner in owners if not getattr(owner, "recordable", False)]
    if foreign:
        return f"a handler is called within it, {getattr(foreign[0], '__name__', type(foreign[0]).__name__)}"
    name = type(engine.optimizer).__name__
    for group in engine.optimizer.param_groups:
        if "capturable" not in group:
            return f"{name} is none of Adam's kind"
        if not (group.get("fused") or group["capturable"]):
            way = "fused" if "fused" in group else "capturable"
            return f"{name} counts its steps on the processor, give it {way}: true"
    if type(engine.prepare_batch) is not AugmentedBatch:  # others may give the network more than an image
        return "prepare_batch is not lgg_monai.engines.AugmentedBatch"
    if engine.accumulation_steps != 1:
        return "gradients of several batches are added up"
    if engine.amp or engine.compile:
        return "the trainer has amp or compile"
    return "several processes train" if torch.distributed.is_initialized() else None
