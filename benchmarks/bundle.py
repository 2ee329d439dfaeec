"""The bundles as users run them, from their own config files, and the bare step of the same network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import monai
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from benchmarks.variants import NotComparedError, Variant, synchronize, time_steps
from lgg_monai.engines.acceleration import require_compiler
from lgg_monai.engines.cuda_graph import RecordedStep
from lgg_monai.engines.precision import multiplies_bfloat16
from lgg_monai.errors import LggError


def parser(net: str, overrides: dict[str, Any]) -> ConfigParser:
    """Read ``bundles/<net>.yaml`` with overrides (``a#b`` for nested keys), as `python -m monai.bundle run` does."""
    config = ConfigParser()
    config.read_config(f"bundles/{net}.yaml")
    config.resolve_macro_and_relative_ids()  # so that nested keys of what another file holds can be overridden
    for key, value in overrides.items():
        config[key] = value
    config.parse(True)
    return config


def overrides_of(variant: Variant) -> dict[str, Any]:
    """Translate a variant's options into overrides of the bundle.

    Raises:
        NotComparedError: this machine cannot run it.
    """
    options = variant.options
    if options.get("compile"):
        require_compiled()
    names = {"precision": "precision", "compile": "compile", "batch": "batch_size"}
    names |= {"patch": "patch_size", "cache": "cache"}
    found = {key: options[name] for name, key in names.items() if name in options}
    if options.get("contiguous"):
        found["channels_last"] = False
    if options.get("eager"):
        found["cuda_graph"] = False
    if options.get("unfused"):
        found["optimizer#fused"] = False
    return found


def require_compiled() -> None:
    """Refuse to compile where nothing compiles.

    Raises:
        NotComparedError: there is no C++ compiler.
    """
    try:
        require_compiler()
    except LggError as error:
        raise NotComparedError(str(error)) from error


def require_fast_bfloat16(precision: str | None, device: torch.device) -> None:
    """Refuse bf16 where it is emulated, which would take minutes a step.

    Raises:
        NotComparedError: this processor does not multiply bfloat16.
    """
    if precision == "bf16" and not multiplies_bfloat16(device):
        raise NotComparedError("this processor has no bfloat16 instructions")


class BareStep:
    """Forward, backward and optimizer of the bundle's network, loss and optimizer on random tensors that stay in place.

    Args:
        net: name of the bundle.
        variant: options.
        settings: overrides of the bundle that all variants share.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any]) -> None:
        config = parser(net, settings | overrides_of(variant))
        self.device = torch.device(config.get_parsed_content("device"))
        require_fast_bfloat16(variant.options.get("precision"), self.device)
        monai.utils.set_determinism(seed=0)
        self.batch = config.get_parsed_content("batch_size")
        patch = config.get_parsed_content("patch_size")
        self.network = config.get_parsed_content("train#network").train()
        self.loss = config.get_parsed_content("loss")
        self.optimizer = config.get_parsed_content("optimizer")
        self.inferer = config.get_parsed_content("train#inferer")
        recorded = self.device.type == "cuda" and config.get_parsed_content("train#trainer#iteration_update").enabled
        self.step = RecordedStep(self._step, self.optimizer) if recorded else self._step
        layout = torch.channels_last if config.get_parsed_content("channels_last") else torch.contiguous_format
        image = torch.randn(self.batch, 3, patch, patch, device=self.device)
        self.image = image.contiguous(memory_format=layout)
        self.label = (torch.rand(self.batch, 1, patch, patch, device=self.device) > 0.9).float()

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        return time_steps(lambda: self.step(self.image, self.label), steps, self.device)

    def _step(self, image: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.inferer(image, self.network), label)
        loss.backward()
        self.optimizer.step()
        return {}


class BundleTrainer:
    """The bundle's own trainer; every call of `run` is one more epoch, without validation.

    An epoch here is shorter than a real one, so what happens once an epoch (log, history) is measured apart and counted
    as often as in a real epoch, and so is the checkpoint, written once in ten seconds where epochs are shorter.

    Args:
        net: name of the bundle.
        variant: options.
        settings: overrides of the bundle that all variants share.
        steps: of an epoch.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any], steps: int) -> None:
        own = overrides_of(variant) | {"max_epochs": 1, "val_interval": 10**6, "progress": False}
        own["output_dir"] = str(Path(settings["output_dir"]) / net / variant.name.replace("/", "_"))
        config = parser(net, settings | own)
        self.device = torch.device(config.get_parsed_content("device"))
        require_fast_bfloat16(variant.options.get("precision"), self.device)
        monai.utils.set_determinism(seed=0)
        self.batch = config.get_parsed_content("batch_size")
        checkpoints = config.get_parsed_content("checkpoints")
        self.interval, checkpoints.interval = checkpoints.interval, 0
        checkpoints._save_last = self._timed(checkpoints._save_last)
        self.sampler = config.get_parsed_content("train#sampler")
        self.real_steps = max(self.sampler.length // self.batch, 1)
        # Half of an epoch shows tumour, as in a real one.
        self.sampler.length = steps * self.batch
        self.sampler.tumour_count = self.sampler.length // 2 if len(self.sampler.tumour) else 0
        self.trainer = config.get_parsed_content("train#trainer")
        self.trainer.add_event_handler(Events.EPOCH_STARTED, self._start)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end)  # after all handlers of the bundle
        self._steps = 0
        self._ends: list[float] = []

    def run(self, steps: int) -> dict[str, float]:
        """Train one epoch of the steps that were named at the start."""
        del steps
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self._ends, self._writing = [], 0.0
        self.trainer.run()
        times = [self._started, *self._ends]
        each = [after - before for before, after in pairwise(times)]
        step = (self._ends[-1] - self._started) / len(self._ends)
        end = self._ended - self._ends[-1]
        often = max(self.real_steps, self.interval / step)
        return {
            "step_seconds": step + (end - self._writing) / self.real_steps + self._writing / often,
            "first_step_seconds": each[0],
            "without_epoch_end": step,
            "epoch_end_seconds": end,
            "checkpoint_seconds": self._writing,
            "median_step_seconds": statistics.median(each),
        }

    def _timed(self, write: Callable) -> Callable:
        def timed(engine: Any) -> None:
            start = time.perf_counter()
            write(engine)
            self._writing += time.perf_counter() - start

        return timed

    def _start(self, engine: Any) -> None:
        synchronize(self.device)
        self._started = time.perf_counter()

    def _step(self, engine: Any) -> None:
        # The last step alone waits for the GPU: in between, the bundle's own pace counts.
        self._steps += 1
        if self._steps % (self.sampler.length // self.batch) == 0:
            synchronize(self.device)
        self._ends.append(time.perf_counter())

    def _end(self, engine: Any) -> None:
        synchronize(self.device)
        self._ended = time.perf_counter()
