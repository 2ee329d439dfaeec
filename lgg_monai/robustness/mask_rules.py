"""Which threshold and which rule on small parts make the best masks, chosen and judged on different patients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import label as components

from lgg_monai.analysis.output import new_folder, require_new_folder, write_table
from lgg_monai.analysis.paired import paired_difference
from lgg_monai.analysis.runs import distinct_labels, require_scored_apart
from lgg_monai.analysis.scoring import PROBABILITY_SCORING, describe_runs
from lgg_monai.errors import LggError
from lgg_monai.files import write_json
from lgg_monai.progress import Progress, followed
from lgg_monai.robustness.kept import kept_probability, require_probabilities
from lgg_monai.robustness.labels import LabelReader
from lgg_monai.transforms.components import NEIGHBOURS, SMALLEST_COMPONENT, SMALLEST_SHARE

KEYS = ("threshold", "smallest_component", "smallest_share")
COLUMNS = (
    *KEYS, "mean_dice", "median_dice", "lowest_dice",
    "difference", "low", "high", "better", "worse",
)  # fmt: skip
METHOD = (
    "Every rule is applied to the same out-of-fold probabilities. Differences are to the first line, the present rule: "
    "mean volume Dice, people resampled in pairs, 95 % interval. The best is chosen on the patients that score it, "
    "which flatters it; cross-fitted is not: for each fold's patients the rule is chosen on those of the others."
)


@dataclass(frozen=True)
class MaskRule:
    """How a probability map becomes a mask; the names of `configs/evaluate.yaml`.

    Args:
        threshold: probability from which a voxel is tumour.
        smallest_component: voxels; parts that are not larger go.
        smallest_share: of the largest part; other parts that are not larger go.
    """

    threshold: float = 0.5
    smallest_component: int = SMALLEST_COMPONENT
    smallest_share: float = SMALLEST_SHARE


PRESENT = MaskRule()
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
COMPONENTS = (0, 100, 200, 400)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75)
# The present rule first: of equally good ones it is the one to keep.
RULES = tuple(dict.fromkeys([PRESENT, *itertools.starmap(MaskRule, itertools.product(THRESHOLDS, COMPONENTS, SHARES))]))


def choose_rule(
    sources: Sequence[Path],
    output: Path,
    dataset_dir: Path | None = None,
    rules: Sequence[MaskRule] = RULES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score rules on out-of-fold probabilities, and write what came of it.

    Args:
        sources: the folder of a cross-validation, or two or more runs, scored with kept probabilities and tested on
            different patients.
        output: a new or empty folder for ``rules.csv``, ``rules.json`` and ``patients.csv``.
        dataset_dir: folder of the patients; by default where they lay in training.
        rules: to compare; the first is the present one.
        progress: called with patients done, their number, and a name.

    Returns:
        What ``rules.json`` holds.

    Raises:
        LggError: fewer than two runs, one without scores or probabilities, or labels that do not fit.
    """
    require_new_folder(output)
    runs = require_scored_apart(sources)
    if len(runs) < 2:
        message = f"{runs[0].folder} is one run: give a cross-validation, so that rules are judged on other patients"
        raise LggError(message)
    require_probabilities(runs)
    described = describe_runs(runs, PROBABILITY_SCORING)
    reader = LabelReader(dataset_dir)
    members = [(number, run, entry) for number, run in enumerate(runs) for entry in run.datalist["test"]]
    # A fold's number is in its folder's name alone: others may be missing, or be of another cross-validation.
    labels = distinct_labels([run.folder.resolve() for run in runs])
    names, folds, dice = [], [], []
    for number, run, entry in followed(members, progress, lambda own: own[2]["patient"]):
        probability = kept_probability(run, entry)
        dice.append(rule_scores(probability, reader.of(run, entry, probability.shape), rules))
        names.append(entry["patient"])
        folds.append(number)
    scores, fold_of = np.array(dice), np.array(folds)

    def line(rule: MaskRule, own: np.ndarray) -> dict[str, Any]:
        return _line(rule, names, own, scores[:, 0])

    best = int(scores.mean(axis=0).argmax())
    chosen = cross_fitted(scores, fold_of)
    own = scores[np.arange(len(scores)), chosen[fold_of]]
    content = {
        **described,
        "method": METHOD,
        "rule": list(KEYS),
        "patients": len(names),
        "present": line(rules[0], scores[:, 0]),
        "best": line(rules[best], scores[:, best]),
        "cross_fitted": {
            **{key: value for key, value in line(rules[0], own).items() if key not in KEYS},
            "chosen_by_fold": [
                {"run": label, **vars(rules[number])} for label, number in zip(labels, chosen, strict=True)
            ],
        },
    }
    with new_folder(output) as folder:
        lines = [line(rule, scores[:, number]) for number, rule in enumerate(rules)]
        write_table(folder / "rules.csv", COLUMNS, lines)
        write_json(folder / "rules.json", content)
        rows = [
            {"patient": name, "run": labels[fold], "present": float(before), "cross_fitted": float(after)}
            for name, fold, before, after in zip(names, fold_of, scores[:, 0], own, strict=True)
        ]
        write_table(folder / "patients.csv", ("patient", "run", "present", "cross_fitted"), rows)
    return content


def rule_scores(probability: np.ndarray, label: np.ndarray, rules: Sequence[MaskRule]) -> list[float]:
    """Score a patient by every rule, from the sizes of the parts alone: parts are looked for once a threshold.

    Args:
        probability: of tumour, ``[X, Y, Z]``.
        label: the true mask, alike, boolean.
        rules: to score.

    Returns:
        The volume Dice of each.
    """
    tumour = int(label.sum())
    parts = {threshold: _parts(probability >= threshold, label) for threshold in {rule.threshold for rule in rules}}
    found = []
    for rule in rules:
        sizes, shared = parts[rule.threshold]
        kept = sizes > max(rule.smallest_component, int(rule.smallest_share * sizes.max(initial=0)))
        total = tumour + int(sizes[kept].sum())
        found.append(2 * int(shared[kept].sum()) / total if total else 1.0)
    return found


def cross_fitted(scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Choose for each fold the rule that is best for the patients of all others.

    Args:
        scores: ``[patients, rules]``.
        folds: ``[patients]``, from 0.

    Returns:
        The number of each fold's rule; of equally good ones the first.
    """
    return np.array([scores[folds != fold].mean(axis=0).argmax() for fold in range(int(folds.max()) + 1)])


def _parts(mask: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the voxels of each part, and how many of them are tumour."""
    numbers = components(mask, connectivity=NEIGHBOURS)
    sizes = np.bincount(numbers.ravel())
    return sizes[1:], np.bincount(numbers[label], minlength=len(sizes))[1:]


def _line(rule: MaskRule, names: Sequence[str], dice: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    before, after = (
        [{"patient": name, "volume_dice": float(value)} for name, value in zip(names, values, strict=True)]
        for values in (present, dice)
    )
    entry = paired_difference("volume_dice", before, after)
    low, high = entry["ci95"] or (None, None)
    return {
        **vars(rule),
        "mean_dice": float(dice.mean()),
        "median_dice": float(np.median(dice)),
        "lowest_dice": float(dice.min()),
        "difference": entry["difference"],
        "low": low,
        "high": high,
        "better": entry["higher"],
        "worse": entry["lower"],
    }
