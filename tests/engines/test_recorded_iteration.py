"""The recorded iteration is the trainer's own, and is left to it where a recording would do something else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents, default_prepare_batch
from monai.losses import DiceCELoss
from monai.transforms import AsDiscreted, Compose
from torch import nn

from lgg_monai.engines import AugmentedBatch, GradientClipping, RecordedIteration, recorded_iteration
from lgg_monai.engines.recorded_iteration import obstacle

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))


def data() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(4, 3, 16, 16, generator=generator) for _ in range(5)]
    return [{"image": image, "label": (image[:, :1] > 0).float()} for image in images]


def adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr, fused=True)


def trainer(optimizer: Callable = adamw, **settings: Any) -> SupervisedTrainer:
    net = network()
    return SupervisedTrainer(
        **{
            "device": CPU,
            "max_epochs": 2,
            "train_data_loader": data(),
            "epoch_length": 5,
            "network": net,
            "optimizer": optimizer(net.parameters(), lr=1e-2),
            "loss_function": DiceCELoss(sigmoid=True),
            "prepare_batch": AugmentedBatch(lambda image, label: (image * 2, label)),
            "postprocessing": Compose([AsDiscreted("pred", threshold=0.0)]),
            "train_handlers": [GradientClipping(net, 0.1)],
            "decollate": False,
            "optim_set_to_none": True,
            **settings,
        }
    )


def played(engine: SupervisedTrainer) -> SupervisedTrainer:
    """Let the trainer take its device for a GPU; batches stay where they are."""
    state: Any = engine.state
    state.device = GPU
    if not isinstance(engine.prepare_batch, AugmentedBatch):
        prepare = engine.prepare_batch
        engine.prepare_batch = lambda batch, device, *_, **__: prepare(batch, CPU)
    return engine


@pytest.fixture(autouse=True)
def _batches_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = AugmentedBatch.__call__
    monkeypatch.setattr(AugmentedBatch, "__call__", lambda self, batch, *_, **__: prepare(self, batch, CPU))


class WithMore(AugmentedBatch):
    """Gives the network more than an image, as MONAI's PrepareBatchExtraInput does."""

    def __call__(self, batchdata: Any, *args: Any, **kwargs: Any) -> Any:
        return *super().__call__(batchdata, *args, **kwargs), (), {}


def run(engine: SupervisedTrainer) -> list[dict[str, Any]]:
    """Train; return what each iteration leaves."""
    found: list[dict[str, Any]] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: found.append(copy.copy(engine.state.output)))
    engine.run()
    return found


class Launched:
    """Stands for :class:`RecordedStep`: takes the step that it is given."""

    calls = 0

    def __init__(self, step: Callable, optimizer: torch.optim.Optimizer) -> None:
        self.step = step

    def __call__(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        Launched.calls += 1
        return self.step(image, label)


def test_it_does_what_the_trainer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_iteration, "RecordedStep", Launched)
    monkeypatch.setattr(Launched, "calls", 0)
    plain, ours = trainer(), played(trainer(iteration_update=RecordedIteration()))
    ours.network.eval()  # as a check may leave it
    expected, found = run(plain), run(ours)
    assert Launched.calls == 10
    assert [set(output) for output in found] == [{"image", "label", "pred", "loss"}] * 10
    for left, right in zip(found, expected, strict=True):
        for key in right:  # pred was made binary, so MODEL_COMPLETED was fired
            torch.testing.assert_close(left[key], right[key], rtol=0, atol=0)
    for left, right in zip(ours.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("enabled", [True, False])
def test_on_a_cpu_or_switched_off_it_is_the_trainers_own(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_iteration, "RecordedStep", None)  # which nobody must call
    ours = trainer(iteration_update=RecordedIteration(enabled))
    expected, found = run(trainer()), run(ours if enabled else played(ours))
    assert [float(output["loss"].detach()) for output in found] == [
        float(output["loss"].detach()) for output in expected
    ]


def sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"optimizer": sgd}, "SGD is none of Adam's kind"),
        ({"optimizer": torch.optim.Adam}, "Adam counts its steps on the processor, give it fused: true"),
        ({"optimizer": torch.optim.NAdam}, "NAdam counts its steps on the processor, give it capturable: true"),
        ({"prepare_batch": default_prepare_batch}, "prepare_batch is not lgg_monai.engines.AugmentedBatch"),
        ({"prepare_batch": WithMore()}, "prepare_batch is not lgg_monai.engines.AugmentedBatch"),
        ({"accumulation_steps": 2}, "gradients of several batches are added up"),
    ],
)
def test_what_cannot_be_recorded_is_the_trainers_own_and_told_once(
    settings: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorded_iteration, "RecordedStep", None)
    engine = played(trainer(iteration_update=RecordedIteration(), **settings))
    plain = trainer(**settings)
    assert len(run(plain)) == len(run(engine)) == 10
    for left, right in zip(engine.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(left, right)
    message = f"training layer by layer, as the step cannot be recorded (cuda_graph): {reason}"
    assert [record.message for record in caplog.records if "layer" in record.message] == [message]


def test_mixed_precision_and_compilation_of_the_trainer_are_not_recorded() -> None:
    engine = trainer()
    assert obstacle(engine) is None
    engine.amp = True
    assert obstacle(engine) == "the trainer has amp or compile"


@pytest.mark.parametrize("event", list(recorded_iteration.INSIDE))
def test_a_handler_within_the_step_is_called_at_each(event: IterationEvents) -> None:
    calls: list[int] = []

    def counting() -> None:
        calls.append(1)

    engine = played(trainer(iteration_update=RecordedIteration()))
    engine.add_event_handler(event, counting)
    assert obstacle(engine) == "a handler is called within it, counting"
    run(engine)
    assert len(calls) == 10


def test_a_handler_behind_the_step_does_not_matter() -> None:
    engine = trainer()
    engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda: None)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    assert obstacle(engine) is None


@pytest.mark.usefixtures("in_repository")
def test_the_bundles_record_and_prepare_ahead_unless_they_compile(phantom: Path, tmp_path: Path) -> None:
    def parts(**overrides: Any) -> tuple[Any, Any, Any]:
        config = ConfigParser()
        config.read_config("bundles/unet.yaml")
        config.update({"dataset_dir": str(phantom), "output_dir": str(tmp_path), "imagenet": False, **overrides})
        config.parse(True)
        names = ("train#trainer#iteration_update", "train#dataloader", "train#trainer")
        iteration, loader, engine = (config.get_parsed_content(name) for name in names)
        return iteration, loader, engine

    iteration, loader, engine = parts()
    assert iteration.enabled
    assert not parts(compile=True)[0].enabled
    assert not parts(cuda_graph=False)[0].enabled
    assert loader.prepare is engine.prepare_batch
    assert loader.prepare.ahead
    assert loader.prepare.augmentation.transforms
    assert obstacle(engine) is None  # the bundle's own handlers leave the step to itself
