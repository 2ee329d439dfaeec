"""The whole cross-validation: folds one after the other, or one a process, merged as soon as all are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.runs import load_run
from lgg_monai.crossval.folds import claimed, fold_folder, fold_state, forsake_plan, require_lists, run_fold
from lgg_monai.crossval.merge import merge_folds
from lgg_monai.crossval.plan import Plan, adopt_plan, make_plan
from lgg_monai.data.patients import patient_of, patients_by_name, read_patient
from lgg_monai.data.split import PARTS
from lgg_monai.drawing.overlays import save_png
from lgg_monai.drawing.panels import patient_panel
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.predictions import PREDICTIONS, read_prediction
from lgg_monai.errors import LggError
from lgg_monai.files import replacing_folder

logger = logging.getLogger(__name__)

WORST_PICTURES = "worst"


def cross_validate(
    bundle: str,
    output: Path,
    folds: int = 5,
    chosen: Sequence[int] = (),
    dataset_dir: Path | None = None,
    leave_one_site_out: bool = False,
    keep_probabilities: bool = False,
    overrides: Sequence[str] = (),
) -> tuple[dict[str, Any] | None, list[int]]:
    """Train and score folds, and merge them when all are there.

    Args:
        bundle: ``unet``, ``pspnet``, ``plain_unet`` or a config file.
        output: folder of the cross-validation; each fold is a run folder ``fold_<k>`` in it.
        folds: number of folds.
        chosen: the folds to run in this process; by default all that no other process is running.
        dataset_dir: folder of the patients; by default the bundle's.
        leave_one_site_out: a fold a site, in the sites' alphabetical order, instead of ``folds``.
        keep_probabilities: keep every patient's out-of-fold probability map.
        overrides: of the bundle's config, as on the command line.

    Returns:
        The summary, or None where folds are still to run; and these folds.

    Raises:
        LggError: settings, data or folders that do not fit together.
        SystemExit: with one line, from the bundle.
    """
    plan = make_plan(bundle, folds, leave_one_site_out, dataset_dir, overrides)
    unknown = [fold for fold in chosen if not 0 <= fold < plan.folds]
    if unknown:
        raise LggError(f"unknown fold {unknown[0]}: --fold takes 0 to {plan.folds - 1}")
    begins = adopt_plan(plan, output)
    try:
        _run_folds(plan, output, chosen, dataset_dir, keep_probabilities)
    except (LggError, SystemExit):
        if begins:
            forsake_plan(output, plan.folds)
        raise
    waiting = [
        fold for fold in range(plan.folds) if fold_state(fold_folder(output, fold), keep_probabilities) != "scored"
    ]
    if waiting:
        return None, waiting
    summary = merge_folds(plan, output)
    _tell_of_others(output, dataset_dir)
    draw_worst(output, summary, dataset_dir)
    return summary, []


def _run_folds(
    plan: Plan, output: Path, chosen: Sequence[int], dataset_dir: Path | None, keep_probabilities: bool
) -> None:
    folds = list(dict.fromkeys(chosen or range(plan.folds)))
    require_lists(plan, output, folds, dataset_dir)
    for fold in folds:
        with claimed(output, fold) as ours:
            if ours:
                run_fold(plan, output, fold, dataset_dir, keep_probabilities)
            elif chosen:
                raise LggError(f"fold {fold} of {output} is being run by another process: wait, or choose another fold")
            else:
                logger.info("fold %d is being run by another process: passed over", fold)


def _tell_of_others(output: Path, dataset_dir: Path | None) -> None:
    """Warn where the folder that was named holds other patients than the folds, such as some that were added since."""
    try:
        here = set(patients_by_name(dataset_dir))
    except LggError:  # as on a machine that merges folds alone
        return
    datalist = load_run(fold_folder(output, 0)).datalist
    others = sorted(here ^ {entry["patient"] for part in PARTS for entry in datalist[part]})
    if here and others:
        logger.warning(
            "the folds in %s are of other patients than lie in %s, such as %s (%d in all): choose another --output to "
            "train and score those that lie there",
            output, dataset_dir, others[0], len(others),
        )  # fmt: skip


def draw_worst(output: Path, summary: dict[str, Any], dataset_dir: Path | None = None) -> None:
    """Draw the worst patients into ``worst/``, where their scans are at hand; the scores do not depend on it."""
    try:
        here = patients_by_name(dataset_dir)
        with replacing_folder(output / WORST_PICTURES, earlier=True) as folder:
            for number, row in enumerate(summary["worst"], 1):
                run = load_run(fold_folder(output, row["fold"]))
                entry = next(entry for entry in run.datalist["test"] if entry["patient"] == row["patient"])
                image, label = read_patient(here.get(row["patient"]) or patient_of(entry))
                prediction = read_prediction(run.folder / EVALUATION / PREDICTIONS / f"{row['patient']}.npz")
                picture = patient_panel(
                    np.asarray(image, np.float32),
                    np.zeros(prediction.shape) if label is None else label,
                    prediction,
                    title=f"{row['patient']} (fold {row['fold']}): volume Dice {row['volume_dice']:.3f}",
                    stamp="PHANTOM" if summary["phantom"] else "",
                )
                save_png(folder / f"{number}_{row['patient']}.png", picture)
    except (LggError, OSError) as error:
        logger.warning("the worst patients were not drawn: %s", error)
