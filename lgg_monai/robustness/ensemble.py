"""The mean probability of several models, scored beside each of them on patients that none of them saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.output import new_folder, require_new_folder
from lgg_monai.analysis.paired import paired_differences
from lgg_monai.analysis.runs import Run, distinct_labels, require_scored_apart
from lgg_monai.analysis.scoring import PROBABILITY_SCORING, describe_runs
from lgg_monai.analysis.sources import given_twice
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import summarise, write_patients_csv
from lgg_monai.errors import LggError
from lgg_monai.files import write_json
from lgg_monai.progress import Progress, followed
from lgg_monai.robustness.kept import kept_probability, require_probabilities
from lgg_monai.robustness.labels import LabelReader
from lgg_monai.robustness.mask_rules import PRESENT, MaskRule
from lgg_monai.transforms.components import without_specks

METHOD = (
    "Kept probabilities (255 steps) of the same test patients, each of a network that never saw the patient; their "
    "mean, and each member alone, becomes a mask by the same rule. Differences are the ensemble less the member, over "
    "patients in pairs, with 95 % percentile bootstrap intervals over people."
)
_Tested = dict[str, tuple[Run, dict[str, Any]]]  # by patient: the run that was tested on it, and its datalist entry


def score_ensemble(
    sources: Sequence[Path],
    output: Path,
    dataset_dir: Path | None = None,
    rule: MaskRule = PRESENT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score the mean probability of models that were tested on the same patients.

    Args:
        sources: two or more members, each a run or the folder of a cross-validation, scored with kept probabilities.
            Each patient's probabilities are of the members' folds that were tested on it.
        output: a new or empty folder for ``ensemble.json`` and ``patients.csv`` (the ensemble's scores, and each
            member's volume Dice).
        dataset_dir: folder of the patients; by default where they lay in training.
        rule: how probabilities become masks.
        progress: called with patients done, their number, and a name.

    Returns:
        What ``ensemble.json`` holds: of the ``ensemble`` and of each of the ``members`` what `summarise` returns, of
        members also ``difference``, see `lgg_monai.analysis.paired.paired_differences`.

    Raises:
        LggError: fewer than two members, one given twice, members tested on different patients, or one without scores
            or probabilities.
    """
    require_new_folder(output)
    members = _members(sources)
    runs = {run.folder: run for tested in members.values() for run, _ in tested.values()}
    described = describe_runs(list(runs.values()), PROBABILITY_SCORING)
    reader = LabelReader(dataset_dir)
    names = sorted(next(iter(members.values())))
    rows: dict[str, list[dict[str, Any]]] = {label: [] for label in members}
    mean_rows = []
    for name in followed(names, progress, str):
        mean_row, own = _score_patient({label: tested[name] for label, tested in members.items()}, reader, rule)
        mean_rows.append(mean_row)
        for label, row in own.items():
            rows[label].append(row)
    content = {
        **described,
        "method": METHOD,
        "rule": vars(rule),
        "patients": len(names),
        "ensemble": summarise(mean_rows),
        "members": {
            label: {**summarise(own), "difference": paired_differences(own, mean_rows)} for label, own in rows.items()
        },
    }
    for number, row in enumerate(mean_rows):
        row |= {f"volume_dice {label}": own[number]["volume_dice"] for label, own in rows.items()}
    with new_folder(output) as folder:
        write_json(folder / "ensemble.json", content)
        write_patients_csv(folder / "patients.csv", mean_rows)
    return content


def _members(sources: Sequence[Path]) -> dict[str, _Tested]:
    """Read the members, and prove that their scores are of the same patients."""
    if len(sources) < 2:
        raise LggError(f"{len(sources)} model given: give two or more that were tested on the same patients")
    twice = given_twice(sources)
    if twice is not None:
        raise LggError(f"{twice} is given twice: give each model once")
    folders = [Path(source).resolve() for source in sources]
    members: dict[str, _Tested] = {}
    for label, source in zip(distinct_labels(folders), sources, strict=True):
        runs = require_scored_apart([source])
        require_probabilities(runs)
        members[label] = {entry["patient"]: (run, entry) for run in runs for entry in run.datalist["test"]}
    first, *others = members
    for label in others:
        apart = sorted(set(members[first]) ^ set(members[label]))
        if apart:
            where, lacking = (first, label) if apart[0] in members[first] else (label, first)
            message = (
                f"patient {apart[0]} is tested in {where} but not in {lacking} ({len(apart)} such patients): "
                "give models that were tested on the same patients"
            )
            raise LggError(message)
    return members


def _score_patient(
    tested: Mapping[str, tuple[Run, dict[str, Any]]], reader: LabelReader, rule: MaskRule
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Score one patient by the members' mean, and by each of them."""
    probabilities = {label: kept_probability(run, entry) for label, (run, entry) in tested.items()}
    true, *others = [reader.of(run, entry, probabilities[label].shape) for label, (run, entry) in tested.items()]
    entry = next(iter(tested.values()))[1]
    if not all(np.array_equal(true, other) for other in others):
        message = (
            f"patient {entry['patient']}: the models were tested on different labels: evaluate them on one data set"
        )
        raise LggError(message)
    identity = {"patient": entry["patient"], "site": entry["site"], "part": "test"}

    def score(probability: np.ndarray) -> dict[str, Any]:
        mask = without_specks(probability >= rule.threshold, rule.smallest_component, rule.smallest_share)
        return identity | score_volume(mask, true)

    mean = np.mean(list(probabilities.values()), axis=0)
    return score(mean), {label: score(own) for label, own in probabilities.items()}
