"""Handlers and batches of training: clipping, seeds, averaging, and the way to the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.optimizers import WarmupCosineSchedule
from torch import nn

from lgg_monai.data.ahead import PreparedBatch
from lgg_monai.engines import (
    Attach,
    AugmentedBatch,
    EpochSeeder,
    GradientClipping,
    MemoryRelease,
    ProgressBar,
    ScheduleRestart,
    WeightAveraging,
    training,
)
from lgg_monai.transforms import BatchAugmentation

REPOSITORY = Path(__file__).resolve().parents[2]


def test_gradients_are_clipped_between_backward_and_step() -> None:
    # A plain step of size 1: the way of the weights is the gradient that the optimizer saw.
    def way(max_norm: float) -> torch.Tensor:
        network = nn.Linear(4, 1, bias=False)
        nn.init.zeros_(network.weight)
        data = [{"image": torch.full((2, 4), 10.0), "label": torch.ones(2, 1)}]
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=data,
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
            loss_function=nn.MSELoss(),
            train_handlers=[GradientClipping(network, max_norm)],  # type: ignore[list-item]
            decollate=False,
        )
        trainer.run()
        return network.weight.detach().flatten()

    free, clipped = way(1e9), way(0.5)
    assert free.norm() == pytest.approx(40)
    assert clipped.norm() == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm())  # the direction stays


def test_what_is_frozen_at_first_and_learns_later_is_clipped_too() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    network[0].requires_grad_(False)
    clipping = GradientClipping(network, 1e-3)
    for learning in (False, True):
        network[0].requires_grad_(learning)
        network(torch.ones(1, 2)).sum().backward()
        clipping(Engine(lambda *_: None))
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert len(gradients) == (4 if learning else 2)
        assert torch.nn.utils.get_total_norm(gradients) == pytest.approx(1e-3, rel=1e-2)


class Follower:
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def draws(seed: int, begin: int = 0, epochs: int = 4) -> tuple[list[float], list[int]]:
    """Random numbers that dropout, say, would draw in each epoch, and the epochs that followers were told."""
    follower, numbers = Follower(), []
    engine = Engine(lambda engine, batch: numbers.append(float(torch.rand(1))))
    engine.state.epoch = engine.state.iteration = begin
    engine.state.max_epochs, engine.state.epoch_length = epochs, 1
    EpochSeeder(seed, [follower, torch.nn.Identity()]).attach(engine)  # an augmentation of one's own may have no epochs
    engine.run([0], max_epochs=epochs)
    return numbers, follower.epochs


def test_every_epoch_is_seeded_by_seed_and_epoch_alone() -> None:
    whole, epochs = draws(seed=1)
    torch.rand(100)  # whatever else draws between epochs
    resumed, later = draws(seed=1, begin=2)
    assert resumed == whole[2:]
    assert (epochs, later) == ([0, 1, 2, 3], [2, 3])
    assert len(set(whole)) == 4
    assert not set(draws(seed=2)[0]) & set(whole)


def test_a_run_is_not_resumed_with_another_seed() -> None:
    state = EpochSeeder(3).state_dict()
    EpochSeeder(3).load_state_dict(state)
    with pytest.raises(ValueError, match="the run began with seed 3, not 4"):
        EpochSeeder(4).load_state_dict(state)


class Averaged:
    """A network of one weight and one running statistic, whose weight is n after step n."""

    def __init__(self, begin: int = 0, restart: bool = False) -> None:
        self.network = nn.BatchNorm1d(1)
        nn.init.zeros_(self.network.weight)
        self.averaging = WeightAveraging(self.network, momentum=0.1, warmup_iters=5, restart=restart)
        self.engine = Engine(self._step)
        self.engine.state.epoch = self.engine.state.iteration = begin
        self.averaging.attach(self.engine)
        self.values: list[float] = []
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)

    def run(self, epochs: int) -> None:
        self.engine.state.max_epochs, self.engine.state.epoch_length = epochs, 1
        self.engine.run([0], max_epochs=epochs)

    def _step(self, engine: Engine, batch: int) -> None:
        with torch.no_grad():
            self.network.weight.fill_(engine.state.iteration)
            self.network.running_mean.fill_(-engine.state.iteration)

    def _note(self, engine: Engine) -> None:
        self.values.append(float(self.averaging.ema_model.weight))


def test_averaging_follows_its_formula_with_a_memory_that_grows() -> None:
    averaged = Averaged()
    averaged.run(8)
    expected, value = [], 0.0
    for step in range(1, 9):
        momentum = max(0.1, 0.2 - 0.1 * (step - 1) / 4)
        value = (1 - momentum) * value + momentum * step
        expected.append(value)
    assert averaged.values == pytest.approx(expected, rel=1e-5)
    # Running statistics are averaged too; they began at 0 as the weight did.
    assert float(averaged.averaging.ema_model.running_mean) == pytest.approx(-expected[-1], rel=1e-5)


def test_averaging_goes_on_where_an_interrupted_run_stopped() -> None:
    whole, first = Averaged(), Averaged()
    whole.run(6)
    first.run(3)
    second = Averaged(begin=3)
    second.averaging.ema_model.load_state_dict(first.averaging.ema_model.state_dict())
    second.run(6)
    assert first.values + second.values == pytest.approx(whole.values, rel=1e-6)


def test_averaging_begins_anew_with_the_weights_that_a_client_gives_before_each_round() -> None:
    averaged = Averaged(restart=True)
    for round, given in ((1, 100.0), (2, -100.0)):
        nn.init.constant_(averaged.network.weight, given)
        averaged.engine.state.max_epochs = round  # the trainer goes on counting, as a client of federated learning does
        averaged.engine.run([0])
        # One step with the shortest memory from what was given, whatever the average was before.
        assert averaged.values[-1] == pytest.approx(0.8 * given + 0.2 * round, rel=1e-5)


def test_each_round_of_a_client_has_the_whole_schedule() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosineSchedule(optimizer, warmup_steps=1, t_total=4)
    rates: list[float] = []

    def step(engine: Engine, batch: int) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    engine = Engine(step)
    ScheduleRestart(schedule).attach(engine)
    for round in range(1, 4):
        engine.state.max_epochs = round  # counted on, as above
        engine.run([0] * 4)
        assert schedule.get_last_lr() == [0.0]
    # Without a new beginning the second round's rates rise from 0 to 1, and stay there when it ends.
    assert rates == pytest.approx([0, 1, 0.75, 0.25] * 3)


def test_the_averaged_network_is_apart_and_evaluates() -> None:
    averaged = Averaged()
    averaged.run(2)
    model = averaged.averaging.ema_model
    assert not model.training
    assert not model.weight.requires_grad
    assert float(averaged.network.weight.detach()) == 2


def test_counters_are_copied_rather_than_averaged() -> None:
    averaged = Averaged()
    averaged.network.num_batches_tracked.fill_(7)
    averaged.run(1)
    assert int(averaged.averaging.ema_model.num_batches_tracked) == 7
    averaged.network.num_batches_tracked.fill_(9)
    assert int(averaged.averaging.ema_model.num_batches_tracked) == 7  # a copy, not the network's own


@pytest.mark.parametrize("config", ["configs/train.yaml", "configs/package/train.yaml"])
def test_freed_memory_is_given_back_before_and_after_each_validation(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [
        handler["_target_"] for handler in ConfigParser.load_config_file(REPOSITORY / config)["train"]["handlers"]
    ]
    assert handlers.index("lgg_monai.engines.MemoryRelease") < handlers.index("ValidationHandler")
    done: list[str] = []
    monkeypatch.setattr(training, "release_free_memory", lambda: done.append("release"))
    engine = Engine(lambda *_: done.append("train"))
    MemoryRelease().attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: done.append("validate"))
    state: Any = engine.state
    state.device = torch.device("cpu")
    engine.run([0], max_epochs=2)
    assert done == ["release", "train", "release", "validate"] * 2
    state.device = torch.device("cuda:0")  # whose memory this is not
    engine.run([0], max_epochs=3)
    assert done[8:] == ["train", "validate"]


def test_attach_attaches_what_it_holds() -> None:
    seeder, engine = EpochSeeder(0, [follower := Follower()]), Engine(lambda engine, batch: None)
    Attach(seeder).attach(engine)
    engine.run([0], max_epochs=2)
    assert follower.epochs == [0, 1]


def test_a_batch_becomes_float32_and_is_augmented() -> None:
    batch = {"image": torch.ones(2, 3, 4, 4, dtype=torch.float16), "label": torch.ones(2, 1, 4, 4, dtype=torch.uint8)}
    image, label = AugmentedBatch(lambda image, label: (image * 2, label * 0))(batch, torch.device("cpu"))
    assert image.dtype == label.dtype == torch.float32
    assert image.unique().tolist() == [2.0]
    assert label.unique().tolist() == [0.0]
    image, label = AugmentedBatch()(batch, torch.device("cpu"))
    assert image.unique().tolist() == label.unique().tolist() == [1.0]


def test_a_batch_that_was_prepared_ahead_is_not_augmented_again() -> None:
    prepared = PreparedBatch(torch.ones(2, 3, 4, 4), torch.ones(2, 1, 4, 4))
    assert AugmentedBatch(lambda image, label: (image * 2, label * 0))(prepared) is prepared


def test_a_thread_prepares_only_what_comes_out_the_same() -> None:
    class Brighter(AugmentedBatch):
        def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            image, label = super().__call__(*args, **kwargs)
            return image + 1, label  # once more where the trainer asks for what it prepared before

    assert AugmentedBatch().ahead
    assert AugmentedBatch(BatchAugmentation([])).ahead
    assert not AugmentedBatch(lambda image, label: (torch.rand_like(image), label)).ahead
    assert not Brighter().ahead


def test_a_batch_is_laid_out_with_channels_last_on_request() -> None:
    batch = {"image": torch.rand(2, 3, 4, 5), "label": torch.rand(2, 1, 4, 5)}
    image, _ = AugmentedBatch(channels_last=True)(batch)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, batch["image"])


def progress(capsys: pytest.CaptureFixture, disable: bool) -> str:
    def step(engine: Engine, batch: Any) -> dict[str, torch.Tensor]:
        pred, label = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
        return {"loss": torch.tensor(0.5), "pred": pred, "label": label}

    engine = Engine(step)
    ProgressBar(disable=disable).attach(engine)
    engine.run([0, 1], max_epochs=1)
    return capsys.readouterr().err


def test_the_bar_shows_loss_and_iou_unless_disabled(capsys: pytest.CaptureFixture) -> None:
    shown = progress(capsys, disable=False)
    assert "loss=0.5" in shown
    assert "iou=0.5" in shown
    assert progress(capsys, disable=True) == ""


def test_the_bar_reads_its_numbers_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, losses = [0.0], []
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    bar, mask = ProgressBar(), torch.ones(1)
    for step in range(10):
        now[0] = step / 8  # seconds
        losses.append(bar._numbers({"loss": torch.tensor(float(step)), "pred": mask, "label": mask})["loss"])
    assert losses == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
