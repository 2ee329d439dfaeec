"""What a comparison sets side by side: runs, and cross-validations, whose folds are taken as one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lgg_monai.analysis.runs import Run, distinct_labels, load_run
from lgg_monai.analysis.sources import expand_folds, given_twice, require_apart
from lgg_monai.data.seen import WEIGHTS
from lgg_monai.data.split import PARTS
from lgg_monai.engines.run_folder import RUN
from lgg_monai.engines.settings import FIRST_WEIGHTS, different_settings, shared_settings
from lgg_monai.errors import LggError


def load_runs(folders: Sequence[Path], allow_different_data: bool = False) -> tuple[list[Run], list[str]]:
    """Read the runs of a comparison.

    Args:
        folders: two or more run folders, or folders of cross-validations.
        allow_different_data: accept runs of different data, splits or seeds.

    Returns:
        The runs, in the order given, and what they differ in (``data``, ``split``, ``seed``): empty unless allowed.

    Raises:
        LggError: fewer than two runs, one given twice, one unfinished or damaged, or runs that differ in their data.
    """
    if len(folders) < 2:
        raise LggError(f"{len(folders)} run given to compare: give two run folders or more")
    twice = given_twice(folders)
    if twice is not None:
        raise LggError(f"the run {twice} is given twice: give each run folder once")
    labels = distinct_labels([Path(folder).resolve() for folder in folders])
    runs = [_load(Path(folder), label) for folder, label in zip(folders, labels, strict=True)]
    differences = _differences(runs)
    if differences and not allow_different_data:
        first, other, _ = differences[0]
        what = ", ".join(dict.fromkeys(what for _, one, what in differences if one is other))
        message = (
            f"{first.folder} and {other.folder} differ in {what}: "
            "compare runs of one data set, split and seed, or give --allow-different-data"
        )
        raise LggError(message)
    return runs, list(dict.fromkeys(what for _, _, what in differences))


def pool_folds(folder: Path, label: str = "") -> Run:
    """Read a cross-validation as one run: each patient's scores are of the fold that was tested on it.

    The history is the mean over the folds, of the epochs that all have; memory is the highest. What else a run records
    is that of the first fold.

    Raises:
        LggError: a fold is unfinished or damaged, tests a patient of another, or was trained with other data or
            settings than the first.
    """
    folds = [load_run(path, f"{label or folder.name} {path.name}") for path in expand_folds(folder, bundles=False)]
    require_apart((str(fold.folder), [entry["patient"] for entry in fold.datalist["test"]]) for fold in folds)
    first = folds[0]
    for fold in folds[1:]:
        different = _different(first, fold)
        if different:
            message = f"{fold.folder} was trained with other {', '.join(different[:5])} than {first.folder}"
            raise LggError(f"{message}: compare cross-validations whose folds were trained alike")
    unscored = [f"{fold.folder.name}: {fold.unscored}" for fold in folds if fold.unscored]
    resumed = [time for fold in folds for time in fold.record.get("resumed") or []]
    return Run(
        label=label or folder.name,
        folder=folder,
        record=first.record | {"resumed": resumed},
        history=mean_history([fold.history for fold in folds]),
        datalist=first.datalist | {part: [entry for fold in folds for entry in fold.datalist[part]] for part in PARTS},
        patients={} if unscored else {name: row for fold in folds for name, row in fold.patients.items()},
        evaluation={} if unscored else first.evaluation,
        unscored="; ".join(unscored),
        folds=tuple(folds),
    )


def mean_history(histories: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Average histories epoch by epoch, as far as all go; a value that one lacks is None.

    Args:
        histories: rows of ``history.csv``, one list a fold.
    """
    rows = []
    for own in zip(*histories, strict=False):
        row: dict[str, Any] = {"epoch": own[0]["epoch"]}
        for name in own[0].keys() - row.keys():
            values = [one.get(name) for one in own]
            pooled = max if name == "peak_memory_mb" else fmean
            row[name] = None if None in values else pooled(values)
        rows.append(row)
    return rows


def _load(folder: Path, label: str) -> Run:
    folds = not (folder / RUN).is_file() and any(folder.glob(f"fold_*/{RUN}"))
    return pool_folds(folder, label) if folds else load_run(folder, label)


def _different(one: Run, other: Run) -> list[str]:
    found = [] if _fingerprint(one) == _fingerprint(other) else ["data"]
    settings = [shared_settings(run.config) for run in (one, other)]
    found += [key for key in different_settings(*settings) if key != FIRST_WEIGHTS]
    # Their path is that of a machine.
    return found + ([FIRST_WEIGHTS] if one.datalist.get(WEIGHTS) != other.datalist.get(WEIGHTS) else [])


def _differences(runs: Sequence[Run]) -> list[tuple[Run, Run, str]]:
    first = runs[0]
    found = []
    for run in runs[1:]:
        if _fingerprint(run) != _fingerprint(first):
            found.append((first, run, "data"))
        if [part.split for part in run.parts] != [part.split for part in first.parts]:
            found.append((first, run, "split"))
        if run.record.get("seed") != first.record.get("seed"):
            found.append((first, run, "seed"))
    return found


def _fingerprint(run: Run) -> Any:
    return (run.record.get("data") or {}).get("fingerprint")
