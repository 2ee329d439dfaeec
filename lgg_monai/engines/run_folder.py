"""A run is a folder that explains itself: ``run.json`` and the care for a folder that holds an earlier run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from ignite.engine import Engine, Events

from lgg_monai.data.seen import DATALIST, WEIGHTS, digest_of, read_datalist
from lgg_monai.engines.checkpoints import BEST, FREE_AND_RESUME, LAST, can_resume
from lgg_monai.engines.config_check import effective_config
from lgg_monai.engines.history import HISTORY, read_history
from lgg_monai.engines.settings import FIRST_WEIGHTS, FREE_IN_RESUMING, different_trainings, shared_settings
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import PARTIAL, read_object, told_in_one_line, writable_folder, write_json
from lgg_monai.locks import LOCK, is_lock_of, lock
from lgg_monai.provenance import commit, describe_device, versions

logger = logging.getLogger(__name__)

RUN = "run.json"


_held: dict[Path, int] = {}
"""The lock of each run folder that this process trains into."""


@exits_with_one_line
def prepare_run_folder(output_dir: str, resume: bool = False) -> str:
    """Make the run folder for this process alone, and set an earlier run aside rather than mix two runs or lose one.

    Of several processes that train together (``torch.distributed``), the first one does so for all. To be called when
    everything else has been built: what is refused then leaves the earlier run where it is.

    Args:
        output_dir: the run folder.
        resume: continue the run that is there; one whose last checkpoint is gone is set aside too.

    Returns:
        The folder's name.

    Raises:
        SystemExit: with one line, where another training is writing to the folder, it cannot be written, an earlier
            run in it cannot be set aside, or the one to resume began with other settings.
    """
    folder = Path(output_dir)
    if _joins_another():
        return str(folder)
    claim_run_folder(folder)
    # Without a last checkpoint there is nothing to go on from, and a new training would replace what is there.
    lost = (folder / "checkpoints" / BEST).is_file() and not (folder / "checkpoints" / LAST).is_file()
    if (not resume or lost) and read_history(folder / HISTORY):
        ended = datetime.fromtimestamp((folder / HISTORY).stat().st_mtime, UTC)
        aside = folder.with_name(f"{folder.name}-until-{ended:%Y%m%d-%H%M%S}")
        count = 1
        while aside.exists():  # two short runs may end in one second
            count += 1
            aside = folder.with_name(f"{folder.name}-until-{ended:%Y%m%d-%H%M%S}-{count}")
        if sys.platform == "win32":
            # No folder is moved there in which a file is open; so neither is one that another training takes meanwhile.
            release_run_folder(folder)
        try:
            folder.rename(aside)
        except OSError as error:
            message = f"cannot set the earlier run in {folder} aside ({error.strerror}): choose another --output_dir"
            raise LggError(message) from error
        logger.warning("%s held an earlier run, which is now %s (--resume True continues one)", folder, aside)
        claim_run_folder(folder)
    elif resume and can_resume(output_dir):
        require_same_training(folder, effective_config())
    return str(folder)


def require_same_training(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a run with settings that it would not follow, or not from its beginning.

    How long it goes on and when it is judged may change, and what belongs to the machine.

    Args:
        folder: of the run.
        config: it is to go on with; an empty one, as outside a config, is not compared.

    Raises:
        LggError: names the settings that differ.
    """
    record = read_object(folder / RUN, "run record") if (folder / RUN).is_file() else {}
    before = record.get("config", {})
    if not before or not config:
        return
    weights = read_datalist(folder / DATALIST).get(WEIGHTS) if (folder / DATALIST).is_file() else None
    one, other = (
        {key: value for key, value in shared_settings(settings).items() if key not in FREE_IN_RESUMING}
        for settings in (before, config)
    )
    differences = different_trainings(one, other, weights, digest_of(config.get(FIRST_WEIGHTS)))
    if differences:
        began, now = record.get("commit"), commit()
        other_code = f" and with the code of then (commit {began}, now {now})" if began and now and began != now else ""
        message = (
            f"the run in {folder} began with other settings ({', '.join(differences[:5])}): "
            f"resume with those that its run.json tells{other_code}, or choose another --output_dir"
        )
        raise LggError(message)


def claim_run_folder(folder: Path) -> None:
    """Make a run folder and hold it for this process, until `release_run_folder` or the end of the process.

    The lock lies within the folder, so it goes with the folder where that is set aside, and needs nothing around it.

    Raises:
        LggError: another process is training into it, or it cannot be written.
    """
    place = writable_folder(folder).resolve()
    if place in _held and is_lock_of(_held[place], folder / LOCK):
        return
    try:
        held = lock(folder / LOCK)
    except OSError as error:
        message = f"cannot write to the output folder {folder} ({error.strerror}): choose another with --output_dir"
        raise LggError(message) from error
    if held is None:
        raise LggError(f"another training is writing to {folder}: wait for its end, or choose another --output_dir")
    release_run_folder(folder)  # of a run that has been moved away since
    _held[place] = held
    for left in (folder / "checkpoints").glob(f"{PARTIAL}*"):  # by a training that was killed while it wrote one
        left.unlink(missing_ok=True)


def release_run_folder(folder: Path) -> None:
    """Let others train into a run folder, where this process holds it."""
    held = _held.pop(folder.resolve(), None)
    if held is not None:
        os.close(held)


def _joins_another() -> bool:
    """Tell whether this is one of several processes of one training, and not the first."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0


def trained_config(run: Path) -> dict[str, Any] | None:
    """Read the config that a run was trained with; None where the folder is no run."""
    return read_object(run / RUN, "run record").get("config", {}) if (run / RUN).is_file() else None


def has_ended(record: Mapping[str, Any]) -> bool:
    """Tell by its ``run.json`` whether a training is done: after its last epoch, or by early stopping before it.

    An interruption leaves it without an end.
    """
    stopped_early = bool(record.get("ended")) and bool((record.get("config") or {}).get("early_stop"))
    return bool(record.get("finished")) or stopped_early


def made_with(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training's numbers depend on beside its settings: processor, precision, code and versions."""
    return {key: record.get(key) for key in ("device", "precision", "threads", "commit")} | record.get("versions", {})


class RunRecord:
    """Write ``run.json``: what ran, with what, on what, from when to when; and ``datalist.json`` beside it.

    Args:
        output_dir: the run folder.
        datalist: what :func:`lgg_monai.data.prepare_datalist` returned.
        seed: of the run.
        device: where it runs.
        precision: the type that the network computes in.
        network: its parameters are counted.
    """

    def __init__(
        self,
        output_dir: str,
        datalist: dict[str, Any],
        seed: int,
        device: torch.device,
        network: torch.nn.Module,
        precision: torch.dtype | None = None,
    ) -> None:
        self.path = Path(output_dir) / RUN
        self.datalist = datalist
        # The config is known only while it is being parsed, that is now.
        self.content: dict[str, Any] = {
            "id": uuid4().hex,  # of this process's training: two may start in the same second
            "started": None,
            "ended": None,
            "finished": False,
            "phantom": datalist["phantom"],
            "seed": seed,
            "device": describe_device(torch.device(device)),
            "precision": str(precision or torch.float32).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "data": {
                "dataset_dir": datalist["dataset_dir"],
                "fingerprint": datalist["fingerprint"],
                "fold": datalist["fold"],
                "folds": datalist["folds"],
                **{part: len(datalist[part]) for part in ("training", "validation", "test")},
            },
            "versions": versions(),
            "commit": commit(),
            "config": effective_config(),
        }

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._go_on)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._require_own)
        engine.add_event_handler(Events.COMPLETED, self._end)

    @exits_with_one_line
    def _start(self, engine: Engine) -> None:
        self.content["started"] = _now()
        self._earlier: dict[str, Any] | None = None
        if self.path.is_file() and engine.state.epoch > 0:
            # Nothing may be left to train, and the record of what was trained is then true as it is.
            self._earlier = read_object(self.path, "run record")
        else:
            self._write()

    @exits_with_one_line
    def _go_on(self, engine: Engine) -> None:
        if self._earlier is not None:
            started, resumed = self._earlier["started"], self._earlier.get("resumed", [])
            self.content |= {"started": started, "resumed": [*resumed, self.content["started"]]}
            self._keep_what_made(self._earlier)
            self._earlier = None
            self._write()

    def _keep_what_made(self, earlier: dict[str, Any]) -> None:
        """Keep what made the earlier part of a resumed run, where something else makes its other part."""
        before, now = made_with(earlier), made_with(self.content)
        changed = {name: value for name, value in before.items() if now.get(name) != value}
        if changed:
            text = ", ".join(f"{name} {now.get(name)} in place of {value}" for name, value in changed.items())
            logger.warning("resumed with %s: numbers may differ from those of an uninterrupted training", text)
        kept = [*earlier.get("made_with_before", []), *([changed] if changed else [])]
        self.content |= {"made_with_before": kept} if kept else {}

    def _write(self) -> None:
        with told_in_one_line(f"the record {self.path}", FREE_AND_RESUME):
            write_json(self.path.with_name(DATALIST), self.datalist)
            write_json(self.path, self.content)

    @exits_with_one_line
    def _require_own(self, engine: Engine) -> None:
        """Stop before anything is written to a folder that another training took, where locks do not work."""
        there = read_object(self.path, "run record") if self.path.is_file() else self.content
        if there.get("id") != self.content["id"]:
            message = f"another training took {self.path.parent} over after epoch {engine.state.epoch - 1} of this one"
            raise LggError(f"{message}: train again with another --output_dir")

    @exits_with_one_line
    def _end(self, engine: Engine) -> None:
        state: Any = engine.state
        ended = {"ended": _now(), "epochs": state.epoch, "finished": state.epoch >= state.max_epochs}
        with told_in_one_line(f"the record {self.path}", FREE_AND_RESUME):
            if self._earlier is None:
                write_json(self.path, self.content | ended)
            elif not has_ended(self._earlier):  # interrupted between its last epoch and its end
                write_json(self.path, self._earlier | ended)
        release_run_folder(self.path.parent)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
