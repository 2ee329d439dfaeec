"""Where an epoch's time goes: ``python -m benchmarks.profile [--dataset_dir D] [--nets unet pspnet] [--json F]``.

One epoch of the bundle's trainer with a clock around everything that MONAI's engine calls: the loader, the
augmentation, forward and backward pass, the optimizer, and every handler by its name. A GPU is waited for at every
part, so its parts add up but overlap less than in training. Run it from the repository's root on an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents

from benchmarks.bundle import parser
from benchmarks.report import finish, machine, table
from benchmarks.variants import synchronize
from lgg_monai.data.slices import SliceDataset


class Clock:
    """Adds up the seconds of parts by name."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0

    def now(self) -> float:
        """Return the time at which everything so far is done."""
        synchronize(self.device)
        return time.perf_counter()

    def around(self, name: str, function: Callable) -> Callable:
        """Return the function with its time added to a part; what other parts take inside it is theirs alone."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            outer, self._inside, start = self._inside, 0.0, self.now()
            try:
                return function(*args, **kwargs)
            finally:
                total = self.now() - start
                self.seconds[name] += total - self._inside
                self._inside = outer + total

        return timed

    def handlers(self, engine: Engine, prefix: str) -> None:
        """Time every handler of an engine under the name of its class."""
        for event, attached in engine._event_handlers.items():
            named = [(self.around(f"{prefix}{owner(function)}", function), *rest) for function, *rest in attached]
            engine._event_handlers[event] = named


def owner(function: Callable) -> str:
    """Name the object that a handler belongs to."""
    # A decorated method is bound on the outside, one that Ignite filters is bound within.
    while (bound := getattr(function, "__self__", None)) is None and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return type(bound).__name__ if bound is not None else getattr(function, "__qualname__", type(function).__name__)


def profile(net: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run a warm-up epoch and a timed one; return the seconds of the second by part."""
    with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
        shared: dict[str, Any] = {"max_epochs": 1, "progress": False, "output_dir": f"{folder}/run"}
        # What is recorded, or done by another thread, has no parts to be timed.
        shared |= {"cuda_graph": False, "train#dataloader#device": "cpu"}
        config = parser(net, shared | settings)
        monai.utils.set_determinism(seed=0)
        trainer = config.get_parsed_content("train#trainer")
        evaluator = config.get_parsed_content("validate#evaluator")
        clock = Clock(torch.device(config.get_parsed_content("device")))
        trainer.run()

        trainer.prepare_batch = clock.around("augmentation", trainer.prepare_batch)
        trainer.inferer = clock.around("forward", trainer.inferer)
        trainer.loss_function = clock.around("loss", trainer.loss_function)
        trainer.optimizer.step = clock.around("optimizer", trainer.optimizer.step)
        evaluator.inferer = clock.around("validation: forward", evaluator.inferer)
        clock.handlers(trainer, "")
        clock.handlers(evaluator, "validation: ")
        _time_backward(trainer, clock)
        gather = SliceDataset.__getitems__
        SliceDataset.__getitems__ = clock.around("gathering", gather)  # type: ignore[method-assign]
        try:
            trainer.state.max_epochs += 1
            begun = clock.now()
            trainer.run()
            total = clock.now() - begun
        finally:
            SliceDataset.__getitems__ = gather  # type: ignore[method-assign]
    parts = dict(sorted(clock.seconds.items(), key=lambda item: -item[1]))
    parts["rest"] = total - sum(parts.values())
    return {"seconds": total, "steps": trainer.state.epoch_length, "parts": parts}


def _time_backward(trainer: Engine, clock: Clock) -> None:
    """Take the time between the events on either side of the backward pass."""
    started = 0.0

    def start(*_: Any) -> None:
        nonlocal started
        started = clock.now()

    def stop(*_: Any) -> None:
        clock.seconds["backward"] += clock.now() - started

    trainer._event_handlers[IterationEvents.LOSS_COMPLETED].append((start, (), {}))
    trainer._event_handlers[IterationEvents.BACKWARD_COMPLETED].insert(0, (stop, (), {}))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset_dir", help="folder of the patients; default: the bundle's")
    options.add_argument("--nets", nargs="+", default=["unet", "pspnet"])
    options.add_argument("--cache_dir", default="runs/cache", help="as the bundle's")
    options.add_argument("--slices", type=int, default=None, help="of an epoch; default: the bundle's")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    settings: dict[str, Any] = {"cache_dir": given.cache_dir, "slices_per_epoch": given.slices}
    if given.dataset_dir:
        settings["dataset_dir"] = given.dataset_dir
    content: dict[str, Any] = {"benchmark": "profile", "machine": machine(), "settings": settings}
    for net in given.nets:
        content[net] = result = profile(net, settings)
        total = result["seconds"]
        print(f"\n{net}: an epoch of {result['steps']} steps, {total:.1f} s")
        rows = [{"part": part, "seconds": value, "share": value / total} for part, value in result["parts"].items()]
        print(table(rows))
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
