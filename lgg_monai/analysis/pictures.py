"""The same slices through every run beside the truth: best, median and worst patient, and the largest disagreement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.analysis.runs import Run
from lgg_monai.data.integrity import fingerprint_of
from lgg_monai.data.patients import Patient, patient_of, read_patient
from lgg_monai.data.sequences import FLAIR
from lgg_monai.drawing.overlays import broadened, draw_overlay, head_box, intensity_window, save_png
from lgg_monai.drawing.panels import select_best_median_worst, slice_verdict
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.predictions import PREDICTIONS, read_prediction
from lgg_monai.errors import LggError

TILE_WIDTH = 320
CITATION = (
    "Pictures: TCGA-LGG patients as published with masks by Buda, Saha, Mazurowski, Computers in Biology and Medicine "
    "109 (2019), and Mazurowski et al., Journal of Neuro-Oncology 133 (2017); non-commercial use."
)


@dataclass(frozen=True)
class Tile:
    """One picture of a row: a caption and its file, relative to the report."""

    caption: str
    file: str


@dataclass(frozen=True)
class PictureRow:
    """One slice through the truth and every run."""

    title: str
    tiles: tuple[Tile, ...]


def choose_cases(table: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Choose patients by mean volume Dice over the runs, and the one the runs' Dice differs most for.

    Returns:
        Pairs of what it is (``best``, ``median``, ``worst``, ``largest disagreement``) and the patient.
    """
    means = [{"patient": row["patient"], "volume_dice": float(np.mean(row["volume_dice"]))} for row in table]
    cases = [(rank, str(row["patient"])) for rank, row in select_best_median_worst(means).items()]
    spread = max(table, key=lambda row: (max(row["volume_dice"]) - min(row["volume_dice"]), row["patient"]))
    return [*cases, ("largest disagreement", str(spread["patient"]))]


def draw_pictures(
    folder: Path, runs: Sequence[Run], table: Sequence[Mapping[str, Any]], stamp: str, here: Mapping[str, Patient]
) -> tuple[list[PictureRow], str]:
    """Draw the chosen cases into ``folder/pictures``.

    Args:
        folder: of the report.
        runs: with scores.
        table: the patients' Dice, see `lgg_monai.analysis.quality.compare_quality`.
        stamp: a word printed on every slice, such as ``PHANTOM``.
        here: patients by name who do not lie where they lay in training.

    Returns:
        The rows, and why some are missing: a stored prediction or the data are not there. Empty where all are.
    """
    rows, note = [], ""
    for rank, name in choose_cases(table):
        try:
            rows.append(_row(folder, rank, name, runs, stamp, here))
        except (LggError, OSError) as error:
            note = f"Pictures were left out: {error}."
    return rows, note


def _row(
    folder: Path, rank: str, name: str, runs: Sequence[Run], stamp: str, here: Mapping[str, Patient]
) -> PictureRow:
    predictions = [read_prediction(run.tested_in(name) / EVALUATION / PREDICTIONS / f"{name}.npz") for run in runs]
    entry = next(entry for entry in runs[0].datalist["test"] if entry["patient"] == name)
    patient = here.get(name) or patient_of(entry)
    image, label = read_patient(patient)
    if label is not None and entry.get("fingerprint") not in (None, fingerprint_of(image, label)):
        raise LggError(f"image or label of {name} in {patient.image} changed since the runs were trained and scored")
    flair = np.asarray(image)[FLAIR]
    true = np.zeros(flair.shape, dtype=bool) if label is None else np.asarray(label)[0] > 0
    if any(prediction.shape != flair.shape for prediction in predictions):
        raise LggError(f"the predictions of {name} do not have the shape of its image: evaluate the runs again")
    z = disagreement_slice(predictions) if rank == "largest disagreement" else int(true.sum(axis=(0, 1)).argmax())
    window = intensity_window(flair)
    box = head_box(flair, window, true, *predictions)
    shown_flair = broadened(flair[:, :, z][box], window[0])
    scale = math.ceil(TILE_WIDTH / shown_flair.shape[0])

    stem = f"{rank.replace(' ', '_')}_{name}_{z + 1}"
    tiles = []
    panels: list[tuple[str, np.ndarray | None, np.ndarray | None]] = [("FLAIR", None, None), ("truth", true, None)]
    panels += [(run.label, true, prediction) for run, prediction in zip(runs, predictions, strict=True)]
    for number, (caption, shown, prediction) in enumerate(panels):
        picture = draw_overlay(
            shown_flair,
            None if shown is None else broadened(shown[:, :, z][box]),
            None if prediction is None else broadened(prediction[:, :, z][box]),
            scale,
            stamp=stamp,
            window=window,
            legend=False,
        )
        file = f"pictures/{stem}_{number}.png"
        save_png(folder / file, picture)
        if prediction is not None:
            caption = f"{caption}, this slice: {slice_verdict(true[:, :, z], prediction[:, :, z])}"
        tiles.append(Tile(caption, file))
    scores = ", ".join(f"{run.label} {run.patients[name]['volume_dice']:.3f}" for run in runs)
    return PictureRow(f"{rank}: {name}, slice {z + 1} (volume Dice: {scores})", tuple(tiles))


def disagreement_slice(predictions: Sequence[np.ndarray]) -> int:
    """Give the slice with the most voxels on which masks ``[X, Y, Z]`` are not all of one mind."""
    stack = np.stack(predictions)
    return int((stack.any(axis=0) & ~stack.all(axis=0)).sum(axis=(0, 1)).argmax())
