"""Run folders as a comparison sees them: read, checked, and refused with one line where they do not fit together."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgg_monai.analysis.sources import expand_sources, require_apart
from lgg_monai.data.seen import DATALIST, read_datalist
from lgg_monai.data.split import PARTS
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.history import HISTORY, read_history
from lgg_monai.engines.run_folder import RUN, has_ended
from lgg_monai.engines.summary import IDENTITY, METRICS
from lgg_monai.errors import LggError
from lgg_monai.files import read_object

POOLED = tuple(name for name, metric in METRICS.items() if metric.weight and metric.numerator)
"""Metrics that are made of counts, and need no column of their own."""
COUNTED = (
    *("tumour_voxels", "volume_dice"),
    *sorted({key for metric in METRICS.values() for key in (metric.weight, metric.numerator) if key is not None}),
)
"""Columns of ``patients.csv`` that are defined for every patient."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        label: its name in the comparison: the folder's, with as many parents as tell it from the others.
        folder: where it lies.
        record: ``run.json``.
        history: rows of ``history.csv``.
        datalist: ``datalist.json``.
        patients: scores of its test patients (``evaluation/patients.csv``), by name; empty where there are none.
        evaluation: ``evaluation/summary.json``.
        unscored: why there are no scores, and what to do; empty where there are.
        folds: of a cross-validation that is taken as one run, see `lgg_monai.analysis.compared.pool_folds`.
    """

    label: str
    folder: Path
    record: dict[str, Any]
    history: list[dict[str, Any]]
    datalist: dict[str, Any]
    patients: dict[str, dict[str, Any]]
    evaluation: dict[str, Any]
    unscored: str = ""
    folds: tuple[Run, ...] = ()

    @property
    def parts(self) -> tuple[Run, ...]:
        """The trainings that it consists of: the folds, or itself."""
        return self.folds or (self,)

    def tested_in(self, patient: str) -> Path:
        """Give the folder of the training that was tested on a patient."""
        return next(part.folder for part in self.parts if patient in part.patients)

    @property
    def network(self) -> str:
        """The network's class, such as ``UNet``."""
        definition = self.config.get("network_def")
        target = definition.get("_target_") if isinstance(definition, dict) else None
        return str(target or "unknown").rpartition(".")[2]

    @property
    def config(self) -> dict[str, Any]:
        """The effective config."""
        return self.record.get("config") or {}

    @property
    def phantom(self) -> bool:
        """Whether it saw synthetic patients."""
        return bool(self.record.get("phantom") or self.evaluation.get("phantom"))

    @property
    def split(self) -> tuple[tuple[str, ...], ...]:
        """The patients of each part."""
        return tuple(tuple(sorted(entry["patient"] for entry in self.datalist[part])) for part in PARTS)


def load_run(folder: Path, label: str = "") -> Run:
    """Read one run folder.

    Raises:
        LggError: it is no run folder, has no history, is unfinished or damaged.
    """
    if not (folder / RUN).is_file():
        raise LggError(f"no {RUN} in {folder}: give the folder of a run, such as runs/unet, or of a cross-validation")
    record, history = read_object(folder / RUN, "run record"), read_history(folder / HISTORY)
    if not history:
        raise LggError(f"no {HISTORY} with an epoch in {folder}: compare runs that were trained")
    if not has_ended(record):
        epoch = history[-1]["epoch"]
        message = f"the run in {folder} is unfinished (epoch {epoch}): finish it with --resume True first"
        raise LggError(message)
    datalist = read_datalist(folder / DATALIST)
    lacking = [part for part in PARTS if part not in datalist]
    if lacking:
        raise LggError(f"the datalist {folder / DATALIST} lacks {lacking[0]}: restore it, or train again")
    names = {entry["patient"] for entry in datalist["test"]}
    patients, evaluation, unscored = _read_evaluation(folder, names, record)
    return Run(label or folder.name, folder, record, history, datalist, patients, evaluation, unscored)


def require_scored_apart(sources: Sequence[Path]) -> list[Run]:
    """Read scored runs that were tested on different patients.

    Args:
        sources: run folders, or the folder of a cross-validation (its folds are taken).

    Raises:
        LggError: one is given twice, unfinished or not scored, or two share a test patient.
    """
    runs = [load_run(folder, str(folder)) for folder in expand_sources(sources, bundles=False)]
    for run in runs:
        if run.unscored:
            way = "evaluate it first" if run.datalist["test"] else "give runs that test on some"
            raise LggError(f"{run.folder}: {run.unscored}: {way}")
    require_apart((str(run.folder), [entry["patient"] for entry in run.datalist["test"]]) for run in runs)
    return runs


def distinct_labels(folders: Sequence[Path]) -> list[str]:
    """Name each folder by its last part, and by as many parts more as it takes to tell all of them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        labels = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(labels)) == len(labels):
            return labels
    return [str(folder) for folder in folders]


def _read_evaluation(
    folder: Path, test: set[str], record: dict[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], str]:
    """Read the scores of the test patients, or say why they cannot be used."""
    path = folder / EVALUATION / "patients.csv"
    if not test:
        return {}, {}, "it has no test patients, as after a training on every patient (--fold all)"
    if not path.is_file():
        return {}, {}, "it was not evaluated"
    summary = read_object(folder / EVALUATION / "summary.json", "evaluation summary")
    rows = _read_patients(path)
    patients = {name: row for name, row in rows.items() if row["part"] == "test" and name in test}
    fingerprint = (record.get("data") or {}).get("fingerprint")
    if not patients or set(patients) != test:
        return {}, {}, f"its evaluation scored {len(patients)} of its {len(test)} test patients"
    if str(summary.get("evaluated", "")) < str(record.get("ended") or ""):
        return {}, {}, "its evaluation is older than the end of its training"
    if fingerprint and summary.get("fingerprint") != fingerprint:
        return {}, {}, "it was evaluated on other data than it was trained on"
    return patients, summary, ""


def _read_patients(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: dict[str, dict[str, Any]] = {
                row["patient"]: {
                    key: value if key in IDENTITY else float(value) if value else math.nan for key, value in row.items()
                }
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"cannot read the scores {path} ({type(error).__name__}: {error}): evaluate the run again"
        raise LggError(" ".join(message.split())) from error
    for name, row in rows.items():
        # Other scores may be undefined, these are not, and a file that was cut short lacks them.
        lacking = [key for key in (*IDENTITY, *COUNTED) if key not in row or row[key] in (None, "")]
        lacking += [key for key in COUNTED if key not in lacking and not math.isfinite(row[key])]
        lacking += [key for key in METRICS if key not in row and key not in POOLED]
        if lacking:
            raise LggError(f"the scores {path} lack {lacking[0]} of patient {name}: evaluate the run again")
    return rows
