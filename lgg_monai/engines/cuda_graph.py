"""A network's training passes as CUDA graphs: launched as a whole, where a GPU would wait for Python at every layer."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

TRIALS = 3
"""Runs of the passes before they are recorded, in which libraries choose their ways and take their memory."""


class TrainingGraph:
    """Forward and backward pass of a network in training, recorded once for one shape of batch and replayed.

    The numbers are those of the passes one layer at a time: the same kernels run in the same order, on the network's
    own weights, and dropout goes on drawing from the device's generator. As ``torch.cuda.make_graphed_callables`` does
    it; but gradients are put where the optimizer looks for them at once, not one by one through autograd. What is
    returned, and gradients that are cleared at every step, lie in memory that the next replay writes to. For networks
    whose passes never wait for the device.

    Args:
        network: in training mode, on a GPU.
        batch: ``[B, C, X, Y]``, of the shape and layout that will be trained with.
        dtype: for autocast, or None.
    """

    def __init__(self, network: nn.Module, batch: torch.Tensor, dtype: torch.dtype | None) -> None:
        self.network = network
        self.dtype = dtype
        self.input = batch.clone()
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.anchor = torch.zeros((), device=batch.device, requires_grad=True)  # asks autograd for the backward pass
        trials = torch.cuda.Stream(batch.device)  # recording wants another stream than the default one
        trials.wait_stream(torch.cuda.current_stream(batch.device))
        with torch.cuda.stream(trials):
            for _ in range(TRIALS):
                outputs = self._outputs()
                self._gradients(outputs, [torch.ones_like(output) for output in outputs])
                del outputs  # with it goes autograd's memory of this stream
        torch.cuda.current_stream(batch.device).wait_stream(trials)
        self.forward_pass, self.backward_pass = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        pool = torch.cuda.graph_pool_handle()
        with torch.cuda.graph(self.forward_pass, pool=pool, stream=trials):  # its own might lie on another GPU
            self.outputs = self._outputs()
        self.output_gradients = [torch.ones_like(output) for output in self.outputs]
        with torch.cuda.graph(self.backward_pass, pool=pool, stream=trials):
            self.gradients = self._gradients(self.outputs, self.output_gradients)

    @classmethod
    def record(cls, network: nn.Module, batch: torch.Tensor, dtype: torch.dtype | None) -> TrainingGraph | None:
        """Record the passes; weights, running statistics and random numbers stay as they are.

        Returns:
            None where the network cannot be recorded, with a warning.
        """
        buffers = [buffer.clone() for buffer in network.buffers()]
        random = torch.cuda.get_rng_state(batch.device)
        generator = torch.cuda.default_generators[batch.device.index]
        untouched = generator.clone_state()
        try:
            # On the batch's GPU, which need not be the current one; and a recording that fails leaves its own stream.
            with torch.cuda.stream(torch.cuda.current_stream(batch.device)):
                return cls(network, batch, dtype)
        except RuntimeError as error:  # it waits for the device, or needs too much memory
            # Older releases of PyTorch take it to be recorded for ever, and refuse to draw from it.
            generator.graphsafe_set_state(untouched)
            reason = str(error).partition("\n")[0]
            logger.warning("training layer by layer, as the network cannot be recorded (cuda_graph): %s", reason)
            return None
        finally:
            torch.cuda.set_rng_state(random, batch.device)
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)

    def fits(self, network: nn.Module, batch: torch.Tensor) -> bool:
        """Tell whether this is what was recorded."""
        return network is self.network and batch.shape == self.input.shape

    def __call__(self, batch: torch.Tensor) -> Any:
        """Return the network's output in float32, a tensor or a list of them, whose backward pass is the recorded one.

        Args:
            batch: of the recorded shape.
        """
        self.input.copy_(batch)
        outputs = _Replay.apply(self, self.anchor)
        return list(outputs) if self.several else outputs[0]

    def _outputs(self) -> list[torch.Tensor]:
        # Weights that autocast kept from the recording would be outdated in the first replay.
        with torch.autocast("cuda", self.dtype, enabled=self.dtype is not None, cache_enabled=False):
            output = self.network(self.input)
        self.several = isinstance(output, list | tuple)
        return [each.float() for each in (output if self.several else [output])]

    def _gradients(
        self, outputs: list[torch.Tensor], output_gradients: list[torch.Tensor]
    ) -> tuple[torch.Tensor | None, ...]:
        return torch.autograd.grad(outputs, self.parameters, output_gradients, allow_unused=True)


class _Replay(torch.autograd.Function):
    """Autograd's view of the recorded passes."""

    @staticmethod
    def forward(ctx: Any, graph: TrainingGraph, anchor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.graph = graph
        graph.forward_pass.replay()
        return tuple(output.detach() for output in graph.outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        graph: TrainingGraph = ctx.graph
        for ours, theirs in zip(graph.output_gradients, gradients, strict=True):
            ours.copy_(theirs)
        # What was not cleared is added to, as autograd does; cloned first, as it may be what the replay writes to.
        kept = [None if parameter.grad is None else parameter.grad.clone() for parameter in graph.parameters]
        graph.backward_pass.replay()
        for parameter, before, gradient in zip(graph.parameters, kept, graph.gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if before is None else before + gradient
        return None, None
