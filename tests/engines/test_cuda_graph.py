"""Recorded passes of a network give what its passes layer by layer give."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lgg_monai.engines import AutocastInferer
from lgg_monai.engines.cuda_graph import TrainingGraph

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Network(nn.Module):
    """Two outputs, as PSPNet has in training, and parameters that get no gradient."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(dropout))
        self.last = nn.Conv2d(8, 1, 1)
        self.frozen = nn.Conv2d(8, 1, 1).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.first(x)
        return [self.last(features), self.frozen(features)]


def batches(count: int, size: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 16, 16, generator=generator).cuda() for _ in range(count)]


def train(network: nn.Module, inferer: AutocastInferer, images: list[torch.Tensor]) -> list[float]:
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, fused=True)
    losses = []
    for image in images:
        optimizer.zero_grad(set_to_none=True)
        loss = sum(output.sigmoid().mean() for output in inferer(image, network))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        optimizer.step()
        losses.append(float(loss))
    return losses


@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_recorded_network_learns_the_same(precision: str) -> None:
    images = [*batches(4), *batches(1, size=2), *batches(1)]  # a batch of another size in between is not recorded
    eager = Network().cuda().train()
    graphed = copy.deepcopy(eager)
    expected = train(eager, AutocastInferer("cuda:0", precision=precision), images)
    inferer = AutocastInferer("cuda:0", precision=precision, cuda_graph=True)
    assert train(graphed, inferer, images) == pytest.approx(expected, rel=1e-6)
    assert isinstance(inferer.graph, TrainingGraph)
    for name, tensor in graphed.state_dict().items():
        torch.testing.assert_close(tensor, eager.state_dict()[name], msg=name)
    assert graphed.unused.grad is None


@needs_gpu
def test_gradients_of_several_steps_add_up() -> None:
    images = batches(3)
    eager = Network().cuda().eval()
    graphed = copy.deepcopy(eager).train()
    graphed.first[1].eval()
    for network, recorded in ((eager, False), (graphed, True)):
        inferer = AutocastInferer("cuda:0", precision="fp32", cuda_graph=recorded)
        for image in images:
            sum(output.square().mean() for output in inferer(image, network)).backward()
    for ours, theirs in zip(graphed.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@needs_gpu
def test_dropout_draws_anew_at_every_step_and_follows_the_seed() -> None:
    network = Network(dropout=0.5).cuda().train()
    inferer = AutocastInferer("cuda:0", precision="fp32", cuda_graph=True)
    (image,) = batches(1)

    def outputs() -> list[torch.Tensor]:
        torch.manual_seed(7)
        return [inferer(image, network)[0].detach().clone() for _ in range(3)]

    first, second = outputs(), outputs()
    assert not torch.equal(first[0], first[1])
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@needs_gpu
def test_evaluation_is_not_recorded() -> None:
    network = Network().cuda().eval()
    inferer = AutocastInferer("cuda:0", cuda_graph=True)
    inferer(*batches(1), network)
    network.train()
    with torch.no_grad():
        inferer(*batches(1), network)
    assert inferer.graph is None


class Waiting(Network):
    """Asks the device for a number."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return super().forward(x * (1.0 if float(x.amax()) > 0 else 2.0))


@needs_gpu
def test_what_cannot_be_recorded_trains_layer_by_layer(caplog: pytest.LogCaptureFixture) -> None:
    images = batches(2)
    network, expected = Waiting(dropout=0.5).cuda().train(), Network(dropout=0.5).cuda().train()
    stream = torch.cuda.current_stream()
    torch.manual_seed(7)
    with caplog.at_level(logging.WARNING):
        losses = train(network, AutocastInferer("cuda:0", precision="fp32", cuda_graph=True), images)
    assert caplog.text.count("training layer by layer, as the network cannot be recorded (cuda_graph)") == 1
    assert torch.cuda.current_stream() == stream
    torch.manual_seed(7)
    assert losses == pytest.approx(train(expected, AutocastInferer("cuda:0", precision="fp32"), images), rel=1e-6)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_a_network_on_another_gpu_than_the_current_one_learns_the_same() -> None:
    images = [image.to("cuda:1") for image in batches(3)]
    eager = Network().to("cuda:1").train()
    graphed = copy.deepcopy(eager)
    expected = train(eager, AutocastInferer("cuda:1", precision="fp32"), images)
    inferer = AutocastInferer("cuda:1", precision="fp32", cuda_graph=True)
    assert train(graphed, inferer, images) == pytest.approx(expected, rel=1e-6)
    assert isinstance(inferer.graph, TrainingGraph)
    assert torch.cuda.current_device() == 0


class Generator:
    """Stands for a GPU's generator, which a failed recording spoils."""

    def __init__(self) -> None:
        self.state = "untouched"

    def clone_state(self) -> str:
        return self.state

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


def test_a_recording_that_fails_leaves_generator_and_stream_as_they_were(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generator, streams = Generator(), []

    @contextmanager
    def stream(chosen: str) -> Iterator[None]:
        try:
            yield streams.append(chosen)
        finally:
            streams.append("left")

    class Failing(TrainingGraph):
        def __init__(self, network: nn.Module, batch: torch.Tensor, dtype: torch.dtype | None) -> None:
            generator.state = "recorded"
            network.first[1].running_mean += 1
            raise RuntimeError("operation not permitted when stream is capturing\nat some line")

    fakes = {"default_generators": {None: generator}, "current_stream": lambda device: f"of {device}"}
    fakes |= {"stream": stream, "get_rng_state": lambda device: None, "set_rng_state": lambda state, device: None}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    network = Network()
    assert Failing.record(network, torch.ones(2, 3, 16, 16), None) is None
    assert generator.state == "untouched"
    assert streams == ["of cpu", "left"]
    assert not network.first[1].running_mean.any()
    assert "(cuda_graph): operation not permitted when stream is capturing" in caplog.text


class Rerun:
    """Stands for a recording where there is no GPU: computes again, and writes to where the recording's results lie."""

    def __init__(self, compute: Callable[[], Sequence[torch.Tensor | None]], results: Sequence[torch.Tensor | None]):
        self.compute = compute
        self.results = results

    def replay(self) -> None:
        for result, computed in zip(self.results, self.compute(), strict=True):
            if result is not None and computed is not None:
                result.detach().copy_(computed.detach())


class Unrecorded(TrainingGraph):
    """The graph's handling of outputs and gradients, with passes that are computed at each replay."""

    def __init__(self, network: nn.Module, batch: torch.Tensor) -> None:
        self.network, self.dtype, self.input = network, None, batch.clone()
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.anchor = torch.zeros((), requires_grad=True)
        self.outputs = self._outputs()
        self.output_gradients = [torch.zeros_like(output) for output in self.outputs]
        self.gradients = self._gradients(self.outputs, self.output_gradients)
        self.forward_pass = Rerun(self._outputs, self.outputs)  # type: ignore[assignment]
        self.backward_pass = Rerun(lambda: self._gradients(self._outputs(), self.output_gradients), self.gradients)  # type: ignore[assignment]

    def _outputs(self) -> list[torch.Tensor]:
        with torch.autocast("cuda", enabled=False), torch.enable_grad():
            self.several = True
            return self.network(self.input)


@pytest.mark.parametrize("cleared", [True, False])
def test_gradients_go_where_the_optimizer_looks_for_them(cleared: bool) -> None:
    expected, network = Network().eval(), Network().eval()
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(2, 3, 16, 16, generator=generator) for _ in range(3)]
    graph = Unrecorded(network, images[0])
    for image in images:
        for own, passes in ((expected, expected), (network, graph)):
            if cleared:
                own.zero_grad(set_to_none=True)
            outputs = passes(image)
            (outputs[0].square().mean() + 2 * outputs[1].mean()).backward()
        for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_cpu_has_nothing_to_record() -> None:
    inferer = AutocastInferer("cpu", precision="fp32", cuda_graph=True)
    network = Network().train()
    image = torch.ones(2, 3, 16, 16)
    assert torch.equal(inferer(image, network)[0], AutocastInferer("cpu", precision="fp32")(image, network)[0])
    assert inferer.graph is None
