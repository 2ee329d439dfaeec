"""Sheets of one patient's slices with both outlines: which patients and slices are shown, and how they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lgg_monai.data.sequences import shown_channel
from lgg_monai.drawing.overlays import (
    FAINT_INK,
    INK,
    LABEL_COLOUR,
    PAPER,
    PREDICTION_COLOUR,
    broadened,
    draw_overlay,
    head_box,
    intensity_window,
    text_strip,
)

GAP = 6
TILE_WIDTH = 300  # a panel enlarges its slices by a whole factor to at least this width


def patient_panel(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, title: str = "", stamp: str = "", columns: int = 4
) -> np.ndarray:
    """Draw a sheet of two rows of one patient's slices: the largest tumour, the most errors, and the tumour's course.

    All slices share one grey window and one crop around the head, so that they can be compared.

    Args:
        image: volume ``[3, X, Y, Z]`` in the order pre, FLAIR, post.
        label: true mask ``[X, Y, Z]`` or ``[1, X, Y, Z]``.
        prediction: predicted mask, alike.
        title: text above, such as the patient's name and Dice.
        stamp: a word printed large on every slice, such as ``PHANTOM``.
        columns: slices in a row.

    Returns:
        Picture ``[H, W, 3]``, uint8. Slices are numbered from 1, as the files are.
    """
    flair = np.asarray(image)[shown_channel(len(image))]
    true, predicted = (np.asarray(mask).reshape(flair.shape) > 0 for mask in (label, prediction))
    window = intensity_window(flair)
    head = head_box(flair, window, true, predicted)
    flair, true, predicted = broadened(flair[head], window[0]), broadened(true[head]), broadened(predicted[head])
    scale = math.ceil(TILE_WIDTH / flair.shape[0])

    notes = _notable_slices(true, predicted)
    tiles = []
    for z in choose_slices(true, predicted, 2 * columns):
        tile = draw_overlay(
            flair[:, :, z],
            true[:, :, z],
            predicted[:, :, z],
            scale,
            title=f"slice {z + 1}   {slice_verdict(true[:, :, z], predicted[:, :, z])}{notes.get(z, '')}",
            stamp=stamp,
            window=window,
            legend=False,
        )
        tiles.append(tile)
    sheet = arranged(tiles, columns)  # as wide for few slices, so that the title has room
    header = [("  ".join(filter(None, [title, stamp])), INK)] if title or stamp else []
    footer = [("label", LABEL_COLOUR), ("prediction", PREDICTION_COLOUR), ("FLAIR", FAINT_INK)]
    return np.concatenate([text_strip(sheet.shape[1], header, 18), sheet, text_strip(sheet.shape[1], footer)])


def choose_slices(label: np.ndarray, prediction: np.ndarray, count: int) -> list[int]:
    """Choose the slices of a sheet, in order: the largest tumour, the most wrong voxels, the rest evenly spread.

    Args:
        label: boolean ``[X, Y, Z]``.
        prediction: boolean ``[X, Y, Z]``.
        count: how many at most, from 2; fewer where fewer slices hold tumour.

    Returns:
        Slice indices. Without any tumour they are spread over what was predicted, or else over the whole volume.
    """
    candidates = np.flatnonzero(label.any(axis=(0, 1)))
    if not candidates.size:
        candidates = np.flatnonzero(prediction.any(axis=(0, 1)))
    if not candidates.size:
        candidates = np.arange(label.shape[2])
    chosen = set(_notable_slices(label, prediction)) if (label | prediction).any() else set()
    others = np.array([z for z in candidates if z not in chosen])
    if others.size:
        wanted = min(max(count - len(chosen), 0), len(others))
        # The middle of equal parts, so that neither end of the tumour is preferred.
        chosen |= {int(others[int((part + 0.5) * len(others) / wanted)]) for part in range(wanted)}
    return sorted(chosen)


def select_best_median_worst(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Choose three patients by ``volume_dice``; equal ones by name, so that the choice is stable.

    Args:
        rows: one mapping a patient, with ``patient`` and ``volume_dice``.

    Returns:
        The rows of ``best``, ``median`` and ``worst``: three distinct patients where there are three, the median being
        the lower one of an even number. Empty for no rows.
    """
    if not rows:
        return {}
    ordered = sorted(rows, key=lambda row: (float(row["volume_dice"]), str(row["patient"])))
    return {"best": ordered[-1], "median": ordered[(len(ordered) - 1) // 2], "worst": ordered[0]}


def _notable_slices(label: np.ndarray, prediction: np.ndarray) -> dict[int, str]:
    largest = int(label.sum(axis=(0, 1)).argmax())
    wrong = (label ^ prediction).sum(axis=(0, 1))
    worst = int(wrong.argmax())
    notes: dict[int, str] = {}
    if label.any():
        notes[largest] = "   largest"
    if wrong.any():
        notes[worst] = f"{notes.get(worst, '')}   most errors"
    return notes


def slice_verdict(label: np.ndarray, prediction: np.ndarray) -> str:
    """Say how well two boolean masks ``[X, Y]`` agree: ``Dice 0.85``, or ``both empty``."""
    total = int(label.sum()) + int(prediction.sum())
    if not total:
        return "both empty"
    return f"Dice {2 * int((label & prediction).sum()) / total:.2f}"


def arranged(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay pictures of one size ``[H, W, 3]`` in rows, with a margin of `GAP` around each."""
    height, width = tiles[0].shape[:2]
    lines = math.ceil(len(tiles) / columns)
    sheet = np.full((lines * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet
