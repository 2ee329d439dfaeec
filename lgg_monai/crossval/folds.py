"""One fold: trained where it is not yet, resumed where it was interrupted, scored where it was not."""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from lgg_monai.analysis.runs import load_run
from lgg_monai.crossval.plan import EVALUATE, Plan
from lgg_monai.data.report_cache import sound_report
from lgg_monai.data.seen import DATALIST, WEIGHTS, read_datalist
from lgg_monai.data.split import PLAN
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.probabilities import PROBABILITIES
from lgg_monai.engines.run_folder import RUN, has_ended
from lgg_monai.engines.settings import different_trainings, shared_settings
from lgg_monai.errors import LggError
from lgg_monai.files import read_object
from lgg_monai.locks import lock

logger = logging.getLogger(__name__)

State = Literal["new", "interrupted", "trained", "scored"]
LISTING = "lgg_monai.data.prepare_datalist"
# Blocks that no evaluation uses. What one of a user's own leaves out, such as lost sequences, would be an unknown key.
OF_TRAINING = {"augmentation", "averaging", "loss", "lr_scheduler", "optimizer", "train", "validate"}
LOGGING: str | bool | None = None  # as ConfigWorkflow's: by default the logging.conf beside the bundle


def fold_folder(output: Path, fold: int) -> Path:
    """Name a fold's run folder."""
    return output / f"fold_{fold}"


def fold_state(folder: Path, probabilities: bool = False) -> State:
    """Say how far a fold is.

    Args:
        folder: its run folder.
        probabilities: it counts as scored only with its probability maps.

    Raises:
        LggError: the folder is damaged.
    """
    if not (folder / RUN).is_file():
        return "new"
    record = read_object(folder / RUN, "run record")
    if not has_ended(record):
        return "interrupted"
    if load_run(folder).unscored or (probabilities and not (folder / EVALUATION / PROBABILITIES).is_dir()):
        return "trained"
    return "scored"


@contextmanager
def claimed(output: Path, fold: int) -> Iterator[bool]:
    """Hold a fold for this process; yield False where another process on this machine holds it."""
    descriptor = lock(output / f".fold_{fold}.lock")
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def forsake_plan(output: Path, folds: int) -> None:
    """Remove a plan by which no fold could begin, and the folders that were made for it where nothing else is in them.

    Where a fold has begun, or is in the hands of another process, nothing is removed.
    """
    if any(output.glob(f"fold_*/{RUN}")):
        return
    for fold in range(folds):
        with claimed(output, fold) as ours:
            if not ours:
                return
    for file in (output / PLAN, *output.glob(".fold_*.lock")):
        file.unlink(missing_ok=True)
    for folder in (*(fold_folder(output, fold) for fold in range(folds)), output):
        with suppress(OSError):
            folder.rmdir()


def run_fold(
    plan: Plan, output: Path, fold: int, dataset_dir: Path | None = None, keep_probabilities: bool = False
) -> None:
    """Bring a fold to the state ``scored``; what is done already is not done again.

    Args:
        plan: of the cross-validation.
        output: its folder.
        fold: from 0.
        dataset_dir: folder of the patients; by default the bundle's.
        keep_probabilities: keep the test patients' probability maps.

    Raises:
        LggError: the fold began with other settings, or it or another fold with other data.
        SystemExit: with one line, from the bundle.
    """
    folder = fold_folder(output, fold)
    state = fold_state(folder, keep_probabilities)
    logger.info("fold %d of %d: %s", fold, plan.folds, state)
    if state == "scored":
        return
    settings = _settings(plan, output, fold, dataset_dir)
    if state != "new":
        require_same_settings(plan, folder)
    require_same_data(plan, settings, folder)
    if state in ("new", "interrupted"):
        run_bundle([plan.bundle], "train", settings | {"resume": True})
    kept = {key: value for key, value in settings.items() if re.split("#|::", key)[0] not in OF_TRAINING}
    scoring = {"subset": "test", "probabilities": keep_probabilities}
    run_bundle([plan.bundle, EVALUATE], "eval", {**kept, **plan.evaluation, **scoring})


def require_lists(plan: Plan, output: Path, folds: Iterable[int], dataset_dir: Path | None = None) -> None:
    """Let the bundle split the patients for every fold that has not begun, before hours of training.

    What one fold is refused for, such as validation patients without tumour or first weights that know its test
    patients, takes another split or other weights, and so another cross-validation.

    Args:
        plan: of the cross-validation.
        output: its folder.
        folds: that are to be run.
        dataset_dir: folder of the patients; by default the bundle's.

    Raises:
        SystemExit: with one line, from the bundle.
    """
    for fold in folds:
        if (fold_folder(output, fold) / RUN).is_file():
            continue
        parser = _config(plan, _settings(plan, output, fold, dataset_dir))
        parser.parse()
        for number, step in enumerate(parser["initialize"]):  # what needs no patients comes first
            if re.search(r"engines\.check_(keys|switches|numbers|paths|early_stop)\(", str(step)):
                parser.get_parsed_content(f"initialize::{number}")
        if parser["datalist"].get("_target_") == LISTING:
            parser["datalist#writes"] = False
            parser.get_parsed_content("datalist")


def require_same_settings(plan: Plan, folder: Path) -> None:
    """Prove that a fold's run was made with the settings of the plan.

    Raises:
        LggError: names the settings that differ.
    """
    config = read_object(folder / RUN, "run record").get("config") or {}
    weights = read_datalist(folder / DATALIST).get(WEIGHTS)
    differences = different_trainings(plan.settings, shared_settings(config), plan.weights, weights)
    if differences:
        message = (
            f"{folder} was trained with other settings ({', '.join(differences[:5])}): "
            "move it away so that the fold is trained anew, or choose another --output"
        )
        raise LggError(message)


def require_same_data(plan: Plan, settings: Mapping[str, Any], folder: Path) -> None:
    """Prove, before hours of training, that the patients are those of the folds that have begun, be it this one.

    Args:
        plan: of the cross-validation.
        settings: overrides of the bundle's config for the fold.
        folder: the fold's run folder; the others lie beside it.

    Raises:
        LggError: they are others, or the data have problems.
    """
    began = [path.parent for path in (folder / RUN, *sorted(folder.parent.glob(f"fold_*/{RUN}"))) if path.is_file()]
    if not began:
        return
    parser = _config(plan, settings)
    dataset_dir, cache_dir = (parser.get_parsed_content(key) for key in ("dataset_dir", "cache_dir"))
    if sound_report(dataset_dir, cache_dir).fingerprint != read_datalist(began[0] / DATALIST).get("fingerprint"):
        message = (
            f"the patients in {dataset_dir}, or how they are read, are not those of {began[0]}: "
            "give the same --dataset_dir, or choose another --output"
        )
        raise LggError(message)


def _settings(plan: Plan, output: Path, fold: int, dataset_dir: Path | None) -> dict[str, Any]:
    """Give a fold's overrides of the bundle's config."""
    own: dict[str, Any] = {**plan.overrides, "fold": fold, "output_dir": str(fold_folder(output, fold))}
    return own if dataset_dir is None else own | {"dataset_dir": str(dataset_dir)}


def _config(plan: Plan, settings: Mapping[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(plan.bundle)
    parser.update(pairs=dict(settings))
    return parser


def run_bundle(configs: list[str], workflow_type: str, overrides: dict[str, Any]) -> None:
    """Run a bundle in this process as ``python -m monai.bundle run`` does, and free its memory."""
    workflow = ConfigWorkflow(configs, workflow_type=workflow_type, logging_file=LOGGING, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    del workflow
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
