"""A recorded step of training does what the step does one operation at a time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from monai.losses import DeepSupervisionLoss
from torch import nn

from lgg_monai.engines import cuda_graph
from lgg_monai.engines.cuda_graph import MOST, TRIALS, RecordedStep, Recording

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


class Training:
    """A network, its optimizer and its step, recorded or not."""

    def __init__(
        self, network: nn.Module, recorded: bool, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        self.network = network.to(device).train()
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-2, fused=True)
        self.dtype, self.device = dtype, device
        self.loss = DeepSupervisionLoss(nn.MSELoss())  # type: ignore[arg-type]  # which puts a number on the device
        self.one: Callable = RecordedStep(self.step, self.optimizer) if recorded else self.step

    def step(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(self.device).type, self.dtype, enabled=self.dtype is not None):
            outputs = self.network(image)
        outputs = [output.float() for output in outputs]
        loss = self.loss([output.sigmoid() for output in outputs], label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.1)
        self.optimizer.step()
        return {"pred": outputs, "loss": loss}

    def train(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[dict[str, Any]]:
        """Step through batches, with a learning rate that falls."""
        found = []
        for image, label in batches:
            found.append(self.one(image.to(self.device), label.to(self.device)))
            self.optimizer.param_groups[0]["lr"] *= 0.9
        return found


def batches(count: int, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(size, 3, 16, 16, generator=generator) for _ in range(count)]
    return [(image, (image[:, :1] > 0).float()) for image in images]


def require_alike(ours: Training, theirs: Training) -> None:
    for name, tensor in ours.network.state_dict().items():
        torch.testing.assert_close(tensor, theirs.network.state_dict()[name], msg=name)
    left, right = ours.optimizer.state_dict(), theirs.optimizer.state_dict()
    assert left["param_groups"] == right["param_groups"]
    torch.testing.assert_close(left["state"], right["state"])


def losses(found: list[dict[str, Any]]) -> list[float]:
    return [float(outputs["loss"].detach()) for outputs in found]


class Rerun:
    """Stands for a recording where there is no GPU: takes the step again, and writes to where its results lie."""

    def __init__(self, step: Callable[[], dict[str, Any]], outputs: dict[str, Any]) -> None:
        self.step = step
        self.outputs = outputs

    def replay(self) -> None:
        again = self.step()
        for name, output in self.outputs.items():
            pairs = zip(output, again[name], strict=True) if isinstance(output, list) else [(output, again[name])]
            for ours, theirs in pairs:
                ours.detach().copy_(theirs.detach())


class Generator:
    """Stands for a GPU's generator, which a failed recording spoils."""

    def __init__(self) -> None:
        self.state = "untouched"

    def clone_state(self) -> str:
        return self.state

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


class Stream:
    """Stands for a stream of a GPU."""

    def __init__(self, device: object = None) -> None:
        self.device = device

    def wait_stream(self, other: object) -> None:
        """There is nothing to wait for."""


class Machine:
    """What PyTorch has of a GPU, and a count of the recordings."""

    def __init__(self) -> None:
        self.generator = Generator()
        self.streams: list[str] = []
        self.recordings = 0

    @contextmanager
    def stream(self, chosen: Stream) -> Iterator[None]:
        self.streams.append("entered")
        try:
            yield
        finally:
            self.streams.append("left")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Take the steps of recordings on the CPU."""
    own = Machine()
    if torch.cuda.is_available():
        torch.cuda.init()
    generators = {None: own.generator, **dict(enumerate(torch.cuda.default_generators))}
    fakes = {"default_generators": generators, "current_stream": Stream, "Stream": Stream}
    for name, fake in (fakes | {"stream": own.stream}).items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def capture(recording: Recording, step: Callable, stream: object) -> tuple[Rerun, dict[str, Any]]:
        own.recordings += 1
        training = step.__self__  # type: ignore[attr-defined]
        kept = copy.deepcopy((training.network.state_dict(), training.optimizer.state))
        outputs = step(*recording.batch)  # which on a GPU computes nothing
        training.network.load_state_dict(kept[0])
        for parameter, state in zip(training.optimizer.state, kept[1].values(), strict=True):
            for name, value in state.items():
                training.optimizer.state[parameter][name].copy_(value)
        return Rerun(lambda: step(*recording.batch), outputs), outputs

    monkeypatch.setattr(Recording, "_capture", capture)
    return own


DEVICES = ["cpu", pytest.param("cuda:0", marks=needs_gpu)]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """Name a device; on a CPU, what a GPU would do is played."""
    if request.param == "cpu":
        request.getfixturevalue("machine")
    return request.param


@pytest.mark.parametrize("place", DEVICES, indirect=True)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_recorded_step_learns_the_same(place: str, dtype: torch.dtype | None) -> None:
    plain, recorded = (Training(Network(), choice, place, dtype) for choice in (False, True))
    # A batch of another size in between is not recorded.
    shown = [*batches(TRIALS + 3), *batches(1, size=2), *batches(2)]
    expected, found = plain.train(shown), recorded.train(shown)
    assert losses(found) == pytest.approx(losses(expected), rel=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours["pred"], theirs["pred"])  # and so no later step has written to it
    require_alike(recorded, plain)
    assert isinstance(recorded.one, RecordedStep)
    assert recorded.one.recording is not None
    assert recorded.network.unused.grad is None
    torch.testing.assert_close(recorded.network.last.weight.grad, plain.network.last.weight.grad)


@pytest.mark.parametrize("place", DEVICES, indirect=True)
@pytest.mark.parametrize("change", ["frozen", "settings", "loaded"])
def test_what_changes_is_recorded_anew(place: str, change: str) -> None:
    plain, recorded = (Training(Network(), choice, place) for choice in (False, True))
    for training in (plain, recorded):
        training.train(batches(TRIALS + 2))
        if change == "frozen":
            training.network.first[0].requires_grad_(False)
        elif change == "settings":
            training.optimizer.param_groups[0]["weight_decay"] = 1.0
        else:
            training.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    before = recorded.one.recording
    expected, found = (training.train(batches(TRIALS + 2)) for training in (plain, recorded))
    assert losses(found) == pytest.approx(losses(expected), rel=1e-5)
    require_alike(recorded, plain)
    assert recorded.one.recording not in (None, before)


@needs_gpu
def test_dropout_draws_anew_at_every_step_and_follows_the_seed() -> None:
    training = Training(Network(dropout=0.5), True, "cuda:0")
    training.optimizer.param_groups[0]["lr"] = 0.0
    training.optimizer.param_groups[0]["weight_decay"] = 0.0
    shown = batches(1) * 3
    training.train(batches(1) * (TRIALS + 1))

    def outputs() -> list[torch.Tensor]:
        torch.manual_seed(7)
        return [found["pred"][0] for found in training.train(shown)]

    first, second = outputs(), outputs()
    assert training.one.recording is not None
    assert not torch.equal(first[0], first[1])
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


class Waiting(Network):
    """Asks the device for a number."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return super().forward(x * (1.0 if float(x.amax()) > 0 else 2.0))


@needs_gpu
def test_what_cannot_be_recorded_trains_layer_by_layer(caplog: pytest.LogCaptureFixture) -> None:
    shown = batches(TRIALS + 3)
    recorded, plain = Training(Waiting(0.5), True, "cuda:0"), Training(Network(0.5), False, "cuda:0")
    stream = torch.cuda.current_stream()
    torch.manual_seed(7)
    with caplog.at_level(logging.WARNING):
        found = recorded.train(shown)
    assert caplog.text.count("training layer by layer, as the step cannot be recorded (cuda_graph)") == 1
    assert torch.cuda.current_stream() == stream
    torch.manual_seed(7)
    assert losses(found) == pytest.approx(losses(plain.train(shown)), rel=1e-5)
    require_alike(recorded, plain)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_a_network_on_another_gpu_than_the_current_one_learns_the_same() -> None:
    plain, recorded = (Training(Network(), choice, "cuda:1") for choice in (False, True))
    shown = batches(TRIALS + 3)
    assert losses(recorded.train(shown)) == pytest.approx(losses(plain.train(shown)), rel=1e-5)
    assert recorded.one.recording is not None
    assert torch.cuda.current_device() == 0


def test_settings_that_change_at_every_step_are_not_recorded_for_ever(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    shown = batches((TRIALS + 1) * (MOST + 2))
    plain, recorded = both = [Training(Network(), choice) for choice in (False, True)]
    schedules = [torch.optim.lr_scheduler.OneCycleLR(training.optimizer, 1e-2, len(shown)) for training in both]
    for batch in shown[:-1]:
        expected, found = (losses(training.train([batch])) for training in both)
        assert found == pytest.approx(expected, rel=1e-5)
        for schedule in schedules:
            schedule.step()  # which changes the betas too
    require_alike(recorded, plain)
    assert machine.recordings == MOST
    assert caplog.text.count("(cuda_graph): settings of the optimizer, or which parameters learn, change all the") == 1


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_a_recording_that_fails_leaves_generator_stream_and_settings_as_they_were(
    kind: type[Exception], machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def capture(recording: Recording, step: Callable, stream: object) -> None:
        machine.generator.state = "recorded"
        assert isinstance(recording.groups[0]["lr"], torch.Tensor)
        raise kind("operation not permitted when stream is capturing\nat some line")

    monkeypatch.setattr(Recording, "_capture", capture)
    plain, recorded = Training(Network(), False), Training(Network(), True)
    shown = batches(TRIALS + 3)
    assert losses(recorded.train(shown)) == losses(plain.train(shown))
    require_alike(recorded, plain)
    assert machine.generator.state == "untouched"
    assert machine.streams == ["entered", "left"] * (TRIALS + 1)
    assert caplog.text.count("(cuda_graph): operation not permitted when stream is capturing") == 1
    assert not cuda_graph.LAUNCHING.locked()


@pytest.mark.parametrize("number", [0, 2.5, True])
def test_single_numbers_are_filled_in_as_they_would_be_copied(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [torch.tensor(number, device="cpu"), torch.tensor(number, dtype=torch.float64, device="cpu")]
    others = [torch.tensor([1, 2], device="cpu"), torch.tensor(number), torch.tensor(data=number, device="cpu")]
    filled: list[object] = []
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda *args, **kwargs: filled.append(args) or full(*args, **kwargs))
    with cuda_graph._Filled():
        found = [torch.tensor(number, device="cpu"), torch.tensor(number, dtype=torch.float64, device="cpu")]
        left = [torch.tensor([1, 2], device="cpu"), torch.tensor(number), torch.tensor(data=number, device="cpu")]
    torch.testing.assert_close(found + left, expected + others, rtol=0, atol=0)
    assert len(filled) == 2
