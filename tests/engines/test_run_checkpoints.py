"""A run's checkpoints: the best and the last epoch, restored in full, or refused with a clear word."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from lgg_monai.engines.checkpoints import BEST, LAST, load_weights, read_checkpoint
from lgg_monai.engines.run_checkpoints import EarlyStopping, Restore, RunCheckpoints, validation_metrics


def evaluator(epoch: int = 0, metric: float = 0.0) -> Any:
    """What a MONAI evaluator looks like after it validated `epoch`."""
    state = SimpleNamespace(iteration=2, epoch=epoch, metrics={"iou": metric}, key_metric_name="iou")
    return SimpleNamespace(state=state)


def trainer(epoch: int = 0, max_epochs: int = 5) -> Engine:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.iteration, engine.state.max_epochs = epoch, epoch * 10, max_epochs
    engine.state.epoch_length = 10
    return engine


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def checkpoints(folder: Path, seed: int = 0) -> RunCheckpoints:
    model, averaged = network(seed), network(seed + 100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    state = {"model": model, "averaged_model": averaged, "optimizer": optimizer}
    return RunCheckpoints(str(folder), state, averaged, evaluator())


def test_load_weights_reads_best_last_and_plain_files(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.evaluator = evaluator(1, 0.5)
    run.save(trainer(1))
    averaged = run.state["averaged_model"]
    assert not same(averaged, run.state["model"])
    assert same(load_weights(network(7), str(tmp_path / BEST)), averaged)
    assert same(load_weights(network(7), str(tmp_path / LAST)), averaged)
    torch.save({"model": run.state["model"].state_dict()}, tmp_path / "keyed.pt")
    assert same(load_weights(network(7), str(tmp_path / "keyed.pt")), run.state["model"])


def test_best_is_written_where_validation_improved_only(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    written = []
    for epoch, metric in enumerate((0.2, 0.5, 0.4, math.nan, 0.5, 0.6), start=1):
        (tmp_path / BEST).unlink(missing_ok=True)
        run.evaluator = evaluator(epoch, metric)
        run.save(trainer(epoch))
        written.append((tmp_path / BEST).is_file())
    assert written == [True, True, False, False, False, True]
    assert (run.best_metric, run.best_epoch) == (0.6, 6)
    progress = read_checkpoint(tmp_path / LAST)["progress"]
    assert progress == {
        **{"epoch": 6, "iteration": 60, "epoch_length": 10},
        **{"best_metric": 0.6, "best_epoch": 6, "validated_epoch": 6},
    }


def test_an_epoch_without_validation_writes_last_and_keeps_best(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.evaluator = evaluator(1, 0.5)
    run.save(trainer(1))
    run.evaluator.state.metrics = {"iou": 0.9}  # still says that it validated epoch 1
    run.save(trainer(2))
    assert read_checkpoint(tmp_path / LAST)["progress"]["epoch"] == 2
    assert (run.best_metric, run.best_epoch) == (0.5, 1)


def test_without_validation_patients_best_is_the_last_epoch(tmp_path: Path) -> None:
    model = network()
    last = RunCheckpoints(str(tmp_path), {"model": model}, model, evaluator(), validated=False)
    for epoch in (1, 2):
        nn.init.constant_(model[0].weight, epoch)
        last.save(trainer(epoch))
        assert torch.equal(read_checkpoint(tmp_path / BEST)["0.weight"], model[0].weight)
    assert last.best_epoch == 2


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_the_last_step_of_an_epoch_spoilt_replace_none(
    tmp_path: Path, validated: bool, value: float
) -> None:
    model = network()
    run = RunCheckpoints(str(tmp_path), {"model": model}, model, evaluator(1, 0.0), validated=validated)
    run.save(trainer(1))
    before = {name: (tmp_path / name).read_bytes() for name in (BEST, LAST)}
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = value
    run.evaluator = evaluator(2, 0.5)
    with pytest.raises(SystemExit, match=r"^lgg-monai: error: the weights became nan or infinite in epoch 2: lower"):
        run.save(trainer(2))
    assert {name: (tmp_path / name).read_bytes() for name in (BEST, LAST)} == before


def test_metrics_of_an_older_validation_are_not_taken_for_this_epoch() -> None:
    assert validation_metrics(evaluator(3, 0.5), 3) == {"iou": 0.5}
    assert validation_metrics(evaluator(3, 0.5), 4) == {}
    never = evaluator(1, 0.5)
    never.state.iteration = 0
    assert validation_metrics(never, 1) == {}


def test_restore_brings_everything_back(tmp_path: Path) -> None:
    before = checkpoints(tmp_path)
    model, optimizer = before.state["model"], before.state["optimizer"]
    model(torch.rand(2, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    before.evaluator = evaluator(3, 0.7)
    before.save(trainer(3))

    after, engine = checkpoints(tmp_path, seed=50), trainer()
    Restore(after, resume=True).attach(engine)
    engine.fire_event(Events.STARTED)
    assert (engine.state.epoch, engine.state.iteration) == (3, 30)
    assert (after.best_metric, after.best_epoch) == (0.7, 3)
    assert same(after.state["model"], model)
    assert same(after.state["averaged_model"], before.state["averaged_model"])
    moments = [run.state["optimizer"].state_dict()["state"][0]["exp_avg"] for run in (before, after)]
    assert torch.equal(*moments)
    assert moments[0].abs().max() > 0


def test_restore_does_nothing_unless_asked_or_where_there_is_nothing(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.evaluator = evaluator(3, 0.7)
    run.save(trainer(3))
    for folder, resume in ((tmp_path, False), (tmp_path / "none", True)):
        fresh, engine = checkpoints(folder, seed=50), trainer()
        Restore(fresh, resume).attach(engine)
        engine.fire_event(Events.STARTED)
        assert engine.state.epoch == 0
        assert same(fresh.state["model"], network(50))


def test_a_longer_schedule_goes_on_from_where_the_shorter_one_ended(tmp_path: Path) -> None:
    from monai.optimizers import WarmupCosineSchedule

    def run(length: int) -> tuple[RunCheckpoints, torch.optim.Optimizer, WarmupCosineSchedule]:
        optimizer = torch.optim.SGD(network().parameters(), lr=1.0)
        schedule = WarmupCosineSchedule(optimizer, warmup_steps=2, t_total=length)
        return RunCheckpoints(str(tmp_path), {"schedule": schedule}, network(), evaluator()), optimizer, schedule

    short, optimizer, schedule = run(10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    short.save(trainer(1))
    longer, optimizer, schedule = run(20)
    longer.restore(trainer())
    rates = []
    for _ in range(10):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    expected = [0.5 * (1 + math.cos(math.pi * (step - 2) / 18)) for step in range(11, 21)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("optimizer"), "lacks optimizer, so it is not one to resume from"),
        (lambda content: content.pop("progress"), "lacks progress, so it is not one to resume from"),
        (lambda content: content["model"].pop("0.weight"), "does not fit this run's model: resume with the settings"),
        (lambda content: content["optimizer"].update(param_groups=[]), "does not fit this run's optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    run = checkpoints(tmp_path)
    run.save(trainer(1))
    content = read_checkpoint(tmp_path / LAST)
    change(content)
    torch.save(content, tmp_path / LAST)
    with pytest.raises(SystemExit, match=message) as caught:
        checkpoints(tmp_path).restore(trainer())
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_refused_with_a_way_to_go_on(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(trainer(1))
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:500])
    with pytest.raises(SystemExit, match=r"is damaged or not a PyTorch file: begin anew without --resume, .*best\.pt$"):
        checkpoints(tmp_path).restore(trainer())


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps), "T_max"),
        (lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, steps), "total_steps"),
        (lambda optimizer, steps: torch.optim.lr_scheduler.StepLR(optimizer, 7), None),
    ],
)
def test_a_schedule_that_cannot_be_made_longer_is_refused(tmp_path: Path, kind: Any, length: str | None) -> None:
    def run(steps: int) -> RunCheckpoints:
        run = checkpoints(tmp_path)
        run.state["lr_scheduler"] = kind(torch.optim.AdamW(run.best_model.parameters()), steps)
        return run

    run(10).save(trainer(1))
    run(10).restore(trainer())
    if length is None:
        run(20).restore(trainer())
    else:
        with pytest.raises(SystemExit, match=f"a {length} of 10, and now 20: resume with the --max_epochs"):
            run(20).restore(trainer())


def test_early_stopping_ends_training_after_its_patience(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    epochs = []
    engine = Engine(lambda engine, batch: None)
    metrics = [0.1, 0.3, 0.2, 0.3, 0.1, 0.9]

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        epochs.append(engine.state.epoch)
        run.evaluator = evaluator(engine.state.epoch, metrics[engine.state.epoch - 1])
        run.save(engine)

    EarlyStopping(run, patience=3).attach(engine)
    engine.run([0], max_epochs=6)
    assert epochs == [1, 2, 3, 4, 5]  # the best was epoch 2
    assert run.best_epoch == 2


def begun_with(run: RunCheckpoints, first: float, epochs: list[float]) -> Engine:
    """A trainer whose first weights had `first` on validation, and each epoch what `epochs` says."""
    engine = Engine(lambda engine, batch: None)
    run.evaluator = evaluator(0, first)
    run.attach(engine)

    @engine.on(Events.EPOCH_STARTED)
    def learn_and_validate(engine: Engine) -> None:
        torch.nn.init.constant_(run.best_model[0].weight, engine.state.epoch)
        run.evaluator = evaluator(engine.state.epoch, epochs[engine.state.epoch - 1])

    return engine


def test_weights_that_training_begins_with_stay_the_best_until_an_epoch_is_better(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = checkpoints(tmp_path / "worse")
    first = {name: value.clone() for name, value in run.best_model.state_dict().items()}
    begun_with(run, 0.8, [0.7, 0.8]).run([0], max_epochs=2)
    kept = read_checkpoint(tmp_path / "worse" / BEST)
    assert all(torch.equal(kept[name], value) for name, value in first.items())
    assert read_checkpoint(tmp_path / "worse" / LAST)["progress"]["best_epoch"] == 0
    assert [record.getMessage() for record in caplog.records] == [
        "no epoch was better than the weights that training began with: best.pt holds these"
    ]
    caplog.clear()

    better = checkpoints(tmp_path / "better")
    begun_with(better, 0.8, [0.7, 0.9]).run([0], max_epochs=2)
    assert better.best_epoch == 2
    assert float(read_checkpoint(tmp_path / "better" / BEST)["0.weight"].mean()) == 2
    assert not caplog.records


def test_early_stopping_counts_from_the_weights_that_training_begins_with(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    engine = begun_with(run, 0.8, [0.1, 0.2, 0.3, 0.4])
    EarlyStopping(run, patience=2).attach(engine)
    engine.run([0], max_epochs=4)
    assert engine.state.epoch == 2


def test_other_steps_an_epoch_are_refused_as_the_run_would_end_early(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.evaluator = evaluator(2, 0.5)
    run.save(trainer(2))
    other = trainer()
    other.state.epoch_length = 5
    with pytest.raises(SystemExit, match=r"has 10 steps an epoch, and now 5: resume with the --batch_size and"):
        checkpoints(tmp_path).restore(other)
    content = read_checkpoint(tmp_path / LAST)
    del content["progress"]["epoch_length"]  # as checkpoints were before
    torch.save(content, tmp_path / LAST)
    checkpoints(tmp_path).restore(other)
    assert other.state.epoch == 2


def test_early_stopping_counts_validated_epochs_alone(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    metrics = {5: 0.5, 10: 0.6, 15: 0.4, 20: 0.3}
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(engine: Engine) -> None:
        if engine.state.epoch in metrics:
            run.evaluator = evaluator(engine.state.epoch, metrics[engine.state.epoch])
        run.save(engine)

    EarlyStopping(run, patience=3).attach(engine)
    engine.run([0], max_epochs=20)
    assert engine.state.epoch == 15  # not 8, before the second validation, nor 13, which none scored
    assert run.best_epoch == 10


def test_early_stopping_without_validation_is_refused(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.validated = False
    with pytest.raises(SystemExit, match="early_stop is 3, but no patient validates an epoch: leave it at 0"):
        EarlyStopping(run, patience=3)


def test_early_stopping_waits_for_a_first_validation(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: None)
    EarlyStopping(checkpoints(tmp_path), patience=1).attach(engine)
    engine.run([0], max_epochs=4)
    assert engine.state.epoch == 4


def test_short_epochs_do_not_each_write_what_is_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("lgg_monai.engines.run_checkpoints.time.monotonic", lambda: clock[0])
    run = checkpoints(tmp_path)
    run.interval = 10.0
    written = []
    for epoch in range(1, 6):
        nn.init.constant_(run.best_model.get_parameter("0.bias"), epoch)
        run.evaluator = evaluator(epoch, 0.1 * epoch)
        run.save(trainer(epoch))
        written.append(read_checkpoint(tmp_path / LAST)["progress"]["epoch"])
        assert float(read_checkpoint(tmp_path / BEST)["0.bias"][0]) == written[-1]  # of the epoch that last.pt knows
        clock[0] += 4.0
    assert written == [1, 1, 1, 4, 5]  # the first, one after 12 seconds, and the last of all


def test_best_is_of_an_epoch_that_a_training_which_was_cut_off_and_resumed_knows(tmp_path: Path) -> None:
    def epochs(run: RunCheckpoints, first: int, metrics: list[float]) -> None:
        for epoch, metric in enumerate(metrics, start=first):
            nn.init.constant_(run.best_model.get_parameter("0.bias"), metric)
            run.evaluator = evaluator(epoch, metric)
            run.save(trainer(epoch))

    run = checkpoints(tmp_path)
    run.interval = math.inf
    epochs(run, 1, [0.5, 0.9])  # then the machine is switched off
    resumed = checkpoints(tmp_path)
    resumed.restore(trainer())
    epochs(resumed, 2, [0.4])  # as on a GPU, whose sums differ from run to run
    assert resumed.best_metric == 0.5
    assert float(read_checkpoint(tmp_path / BEST)["0.bias"][0]) == 0.5


def test_training_that_ends_early_leaves_its_last_epoch(tmp_path: Path) -> None:
    run = checkpoints(tmp_path)
    run.interval = math.inf
    engine = Engine(lambda engine, batch: None)
    run.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED(once=3), engine.terminate)
    engine.run([0] * 10, max_epochs=5)
    assert read_checkpoint(tmp_path / LAST)["progress"]["epoch"] == 3
    engine = Engine(lambda engine, batch: None)
    again = checkpoints(tmp_path / "again")
    again.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=15), engine.terminate)
    engine.run([0] * 10, max_epochs=5)
    assert read_checkpoint(tmp_path / "again" / LAST)["progress"]["epoch"] == 1  # not what it was in the middle of
    best = checkpoints(tmp_path / "best")
    best.interval = math.inf
    engine = begun_with(best, 0.1, [0.2, 0.3, 0.4])
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=25), engine.terminate)
    engine.run([0] * 10, max_epochs=5)
    assert float(read_checkpoint(tmp_path / "best" / BEST)["0.weight"].mean()) == 2
