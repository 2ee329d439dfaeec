"""A training step as a CUDA graph: launched as a whole, where a GPU would wait for Python at every operation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lgg_monai.data.ahead import LAUNCHING

logger = logging.getLogger(__name__)

TRIALS = 3
"""Steps before one is recorded, in which libraries choose their ways and take their memory, and optimizers begin."""
MOST = 10
"""Recordings of a training, each of which takes as long as many steps: a schedule may change settings at every one."""

Outputs = dict[str, Any]
Step = Callable[[torch.Tensor, torch.Tensor], Outputs]


class RecordedStep:
    """A step of training, forward pass to optimizer, recorded once for one shape of batch and replayed.

    The numbers are those of the step one operation at a time: the same kernels run in the same order, on the network's
    own weights and the optimizer's own state, and dropout goes on drawing from the device's generator. The first steps
    are taken one operation at a time, and so are those on batches of another shape. A learning rate that changes is
    followed; where other settings of the optimizer, or the parameters that learn, have changed, the step is recorded
    anew, a few times. What cannot be recorded goes on as it began, with a warning.

    Args:
        step: takes image and label, clears the gradients, trains, and returns tensors, or lists of them, by name; it
            must not wait for the device, and what it does in Python happens at the first steps alone.
        optimizer: that it steps, of parameters on a GPU; of Adam's kind, ``fused`` or ``capturable``, so that it counts
            its steps there.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer) -> None:
        self.step = step
        self.optimizer = optimizer
        self.recording: Recording | None = None
        self.refused = False
        self._trials = 0
        self._recordings = 0
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> Outputs:
        """Train on a batch; return what the step returns."""
        if self.recording is not None and not self.recording.is_of(self.optimizer):
            self.recording, self._trials = None, 0
        if self.recording is not None and self.recording.fits(image, label):
            return self.recording.replay(image, label)
        if self.recording is not None or self.refused:
            return self.step(image, label)
        if self._trials < TRIALS:
            self._trials += 1
            return self._tried(image, label)
        self.recording = self._recorded(image, label)
        self.refused = self.recording is None
        return self(image, label)

    def _tried(self, image: torch.Tensor, label: torch.Tensor) -> Outputs:
        """Take a step in the stream that will record: autograd remembers streams."""
        current = torch.cuda.current_stream(image.device)
        self._stream = stream = self._stream or torch.cuda.Stream(image.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = self.step(image, label)
        current.wait_stream(stream)
        return outputs

    def _recorded(self, image: torch.Tensor, label: torch.Tensor) -> Recording | None:
        if self._recordings == MOST:
            tell_unrecorded("settings of the optimizer, or which parameters learn, change all the time")
            return None
        self._recordings += 1
        generator = torch.cuda.default_generators[image.device.index]
        untouched = generator.clone_state()
        try:
            # On the batch's GPU, which need not be the current one; and a recording that fails leaves its own stream.
            with LAUNCHING, torch.cuda.stream(torch.cuda.current_stream(image.device)):
                return Recording(self.step, self.optimizer, (image, label), self._stream)
        except Exception as error:  # it waits for the device, needs too much memory, or whatever a part may raise
            # Older releases of PyTorch take it to be recorded for ever, and refuse to draw from it.
            generator.graphsafe_set_state(untouched)
            tell_unrecorded(str(error).partition("\n")[0])
            return None


def tell_unrecorded(reason: str) -> None:
    """Warn that a GPU is given one operation at a time."""
    logger.warning("training layer by layer, as the step cannot be recorded (cuda_graph): %s", reason)


class Recording:
    """The recorded step, with the memory that it reads and writes.

    Args:
        step: see :class:`RecordedStep`.
        optimizer: alike.
        batch: image and label of the shapes and layouts that it is recorded for.
        stream: to record in, of the batch's GPU.
    """

    def __init__(
        self,
        step: Step,
        optimizer: torch.optim.Optimizer,
        batch: tuple[torch.Tensor, torch.Tensor],
        stream: Any,
    ) -> None:
        self.batch = tuple(tensor.clone() for tensor in batch)
        self.groups, self.moments = optimizer.param_groups, optimizer.state
        self.state = _state(optimizer)
        device = batch[0].device
        self.rates = [torch.tensor(float(group["lr"]), device=device) for group in self.groups]
        before = [(group["lr"], group["capturable"]) for group in self.groups]
        try:
            for group, rate in zip(self.groups, self.rates, strict=True):
                group["lr"], group["capturable"] = rate, True
            self.graph, outputs = self._capture(step, stream)
        finally:
            for group, (rate, capturable) in zip(self.groups, before, strict=True):
                group["lr"], group["capturable"] = rate, capturable
        self.outputs = {name: _each(output, torch.Tensor.detach) for name, output in outputs.items()}
        self.parameters = [parameter for group in self.groups for parameter in group["params"]]
        self.gradients = [parameter.grad for parameter in self.parameters]

    def _capture(self, step: Step, stream: Any) -> tuple[Any, Outputs]:
        graph = torch.cuda.CUDAGraph()
        # Weights that autocast kept from before the recording would be outdated in every replay.
        caching = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"), _Filled():
                outputs = step(*self.batch)
        finally:
            torch.set_autocast_cache_enabled(caching)
        return graph, outputs

    def is_of(self, optimizer: torch.optim.Optimizer) -> bool:
        """Tell whether parameters and settings are those that were recorded."""
        # A state that was loaded lies elsewhere.
        ours = optimizer.param_groups is self.groups and optimizer.state is self.moments
        return ours and _state(optimizer) == self.state

    def fits(self, *batch: torch.Tensor) -> bool:
        """Tell whether a batch is of the recorded shapes."""
        return all(ours.shape == theirs.shape for ours, theirs in zip(self.batch, batch, strict=True))

    def replay(self, *batch: torch.Tensor) -> Outputs:
        """Train on a batch; what is returned is the caller's, and no later replay writes to it."""
        for ours, theirs in zip(self.batch, batch, strict=True):
            ours.copy_(theirs)
        for group, rate in zip(self.groups, self.rates, strict=True):
            rate.fill_(group["lr"])
        # A step that was not recorded may have cleared them, and left others.
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        self.graph.replay()
        return {name: _each(output, torch.clone) for name, output in self.outputs.items()}


class _Filled(TorchFunctionMode):
    """Fill single numbers in on the device, as the loss of PSPNet makes one: a copy to it cannot be recorded."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and args and isinstance(args[0], int | float) and "device" in kwargs:
            return torch.full((), *args, **kwargs)
        return func(*args, **kwargs)


def _state(optimizer: torch.optim.Optimizer) -> list[Any]:
    """List what a recording holds fast: which parameters learn, where they lie, and how."""
    # Of the optimizer's own lists: walking through the network's modules at every step would take ten times as long.
    state: list[Any] = []
    for group in optimizer.param_groups:
        state.append({name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")})
        state += [(parameter.data_ptr(), parameter.requires_grad) for parameter in group["params"]]
    return state


def _each(output: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Change a tensor, or each of a list."""
    return [change(tensor) for tensor in output] if isinstance(output, list | tuple) else change(output)
