"""Small pieces that the training config plugs into MONAI's SupervisedTrainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from ignite.handlers import ProgressBar as IgniteProgressBar
from monai.engines import PrepareBatch
from monai.engines.utils import IterationEvents
from torch.optim.lr_scheduler import LRScheduler

from lgg_monai.data.ahead import PreparedBatch
from lgg_monai.memory import release_free_memory
from lgg_monai.seeds import epoch_seed

SECONDS_SHOWN = 0.2
"""How long the progress bar shows a batch's numbers."""


class HasEpoch(Protocol):
    """Whatever draws random numbers by epoch: samplers and augmentation."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        ...


class AugmentedBatch(PrepareBatch):
    """Move a batch to the device and augment it there as one tensor.

    Args:
        augmentation: maps image ``[B, C, X, Y]`` and label ``[B, 1, X, Y]`` to new ones; None changes nothing.
        channels_last: lay the images out with channels last, which many convolutions are faster on.

    Attributes:
        ahead: a thread may prepare batches (`lgg_monai.data.AheadDataLoader`), which then are passed on as they are.
            Not where a class derived from it would change them twice, nor with an augmentation without ``set_epoch``,
            whose random numbers may be PyTorch's own: dropout draws them meanwhile, in an order that is nobody's.
    """

    def __init__(self, augmentation: Callable | None = None, channels_last: bool = False) -> None:
        self.augmentation = augmentation
        self.channels_last = channels_last
        self.ahead = type(self) is AugmentedBatch and (augmentation is None or hasattr(augmentation, "set_epoch"))

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor] | PreparedBatch,
        device: Any = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the network's input and target, both float32; those of a batch that was prepared ahead as they are."""
        if isinstance(batchdata, PreparedBatch):
            return batchdata
        image = batchdata["image"].to(device=device, non_blocking=non_blocking, **kwargs).float()
        label = batchdata["label"].to(device=device, non_blocking=non_blocking, **kwargs).float()
        if self.augmentation is not None:
            image, label = self.augmentation(image, label)
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return image, label


class EpochSeeder:
    """Derive every random number of an epoch from the seed and the epoch's number.

    A run that was interrupted and resumed so gives what the uninterrupted one would have given, without the state of
    each generator in the checkpoint.

    Args:
        seed: of the run.
        followers: samplers and augmentation, whose ``set_epoch`` is called at the start of each epoch; what has none
            is left to PyTorch's own generator.
    """

    def __init__(self, seed: int, followers: Sequence[HasEpoch] = ()) -> None:
        self.seed = seed
        self.followers = [follower for follower in followers if hasattr(follower, "set_epoch")]

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, ahead of everything that draws random numbers."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that starts."""
        epoch = engine.state.epoch - 1
        torch.manual_seed(epoch_seed(self.seed, epoch))  # dropout, and weights' own randomness on every device
        for follower in self.followers:
            follower.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the random state: all that the epochs' generators depend on besides the epoch."""
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on with the seed that the run was started with.

        Raises:
            ValueError: this run has another seed, which samplers and augmentation would follow.
        """
        if int(state["seed"]) != self.seed:
            raise ValueError(f"the run began with seed {state['seed']}, not {self.seed}")


class GradientClipping:
    """Scale gradients down to a largest norm, between backward pass and optimizer step.

    Args:
        network: whose gradients are clipped.
        max_norm: largest Euclidean norm over all parameters.
    """

    recordable = True
    """It launches the same operations at every step, and nothing else: see `RecordedIteration`."""

    def __init__(self, network: torch.nn.Module, max_norm: float) -> None:
        self.parameters = list(network.parameters())  # frozen ones too, which may learn later
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Attach to a SupervisedTrainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip the gradients of one iteration."""
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)


class WeightAveraging(EMAHandler):
    """Ignite's exponential moving average of weights and running statistics, for use in a bundle config.

    ``ema_model`` is what is validated and shared. The average starts with a short memory that grows, so that short
    trainings are not dominated by the random start: momentum goes from ``momentum_warmup`` to ``momentum``.

    Args:
        model: the network in training.
        momentum: weight of each new step; 0.005 remembers some 200 steps.
        warmup_iters: steps over which the memory grows.
        restart: begin anew, from the weights that the network has then, whenever the trainer is run; for clients that
            put weights into the network after it was built, as federated learning does before every round.
    """

    def __init__(
        self, model: torch.nn.Module, momentum: float = 0.005, warmup_iters: int = 200, restart: bool = False
    ) -> None:
        super().__init__(
            model, momentum=momentum, momentum_warmup=0.2, warmup_iters=warmup_iters, handle_buffers="update"
        )
        self.restart = restart
        self._tensors: tuple[list[torch.Tensor], ...] | None = None

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        """Attach to a trainer, after the restoring of checkpoints."""
        super().attach(engine, *args, **kwargs)
        engine.add_event_handler(Events.STARTED, self._begin_anew if self.restart else self._continue)
        engine.add_event_handler(Events.STARTED, self._look_again)

    def _update_ema_model(self, engine: Engine, name: str) -> None:
        # As Ignite does it, but in one call instead of one a tensor: with 150 small tensors that is ten times faster.
        momentum = getattr(engine.state, name)
        if self._tensors is None:
            self._tensors = self._found()
        averaged, current, our_counters, their_counters = self._tensors
        torch._foreach_lerp_(averaged, current, momentum)
        if our_counters:
            torch._foreach_copy_(our_counters, their_counters)

    def _found(self) -> tuple[list[torch.Tensor], ...]:
        """List what is averaged, ours and the model's, and the counters, which have no average."""
        averaged: list[torch.Tensor] = [*self.ema_model.parameters()]
        current: list[torch.Tensor] = [parameter.detach() for parameter in self.model.parameters()]
        buffers = list(zip(self.ema_model.buffers(), self.model.buffers(), strict=True))
        for ours, theirs in buffers:
            if ours.is_floating_point():
                averaged.append(ours)
                current.append(theirs)
        counters = [pair for pair in buffers if not pair[0].is_floating_point()]
        return averaged, current, [ours for ours, _ in counters], [theirs for _, theirs in counters]

    def _look_again(self) -> None:
        # Walking through the modules at every step would take longer than the averaging; between two runs of the
        # trainer a client may have moved them to another device.
        self._tensors = None

    def _continue(self, engine: Engine) -> None:
        # Ignite counts the steps of the growing memory from 0, and so would grow it anew in a resumed run.
        if self.momentum_scheduler is not None:
            self.momentum_scheduler.event_index = engine.state.iteration

    def _begin_anew(self, engine: Engine) -> None:
        self.ema_model.load_state_dict(self.model.state_dict())
        if self.momentum_scheduler is not None:
            self.momentum_scheduler.event_index = 0


class ScheduleRestart:
    """Begin a learning-rate schedule anew whenever the trainer is run again, as federated learning does every round.

    A client tells a trainer of one round's epochs only, and behind the end of its schedule a cosine would rise again.

    Args:
        lr_scheduler: stepped by iteration, over the epochs of one run of the trainer.
    """

    def __init__(self, lr_scheduler: LRScheduler) -> None:
        self.lr_scheduler = lr_scheduler

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer that is not to resume what an earlier process began."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Give the optimizer the first learning rate, unless it has it."""
        if self.lr_scheduler.last_epoch > 0:
            self.lr_scheduler.last_epoch = -1
            self.lr_scheduler.step()


class Attach:
    """Attach an object that another part of the config refers to as well, such as the weight averaging.

    MONAI's checks want every entry of ``handlers`` to be a dictionary, so a plain reference cannot stand there.

    Args:
        handler: anything with ``attach(engine)``.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def attach(self, engine: Engine) -> None:
        """Attach the object to the engine."""
        self.handler.attach(engine)


class MemoryRelease:
    """Give freed memory back to the system between training and validation, whose tensors differ in size.

    Otherwise holes that the one leaves, too small for the other, add up from epoch to epoch. A GPU's tensors are not
    the system's.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, before validation."""
        engine.add_event_handler(Events.EPOCH_STARTED | Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Give back what is free."""
        state: Any = engine.state  # MONAI adds attributes that Ignite's types do not know
        if torch.device(state.device).type == "cpu":
            release_free_memory()


class ProgressBar:
    """Ignite's progress bar over an epoch's batches, with loss and IoU of a batch.

    They are read a few times a second at most: a GPU is waited for whenever they are.

    Args:
        disable: show nothing, as in a log file.
    """

    def __init__(self, disable: bool = False) -> None:
        self.disable = disable
        self._shown: dict[str, float] = {}
        self._due = -math.inf

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer whose post-processing makes binary predictions."""
        if not self.disable:
            layout = "{desc}[{n_fmt}/{total_fmt}] {percentage:3.0f}%|{bar}{postfix} [{elapsed}<{remaining}]"
            IgniteProgressBar(desc="epoch", bar_format=layout).attach(engine, output_transform=self._numbers)

    def _numbers(self, output: dict[str, torch.Tensor]) -> dict[str, float]:
        if time.monotonic() >= self._due:
            predicted, true = output["pred"] > 0.5, output["label"] > 0.5
            union = (predicted | true).sum().clamp_min(1)
            self._shown = {"loss": float(output["loss"]), "iou": float((predicted & true).sum() / union)}
            self._due = time.monotonic() + SECONDS_SHOWN
        return self._shown
