"""Still pictures of a patient: a thumbnail for the table, and slices for where the interactive viewer cannot run."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lgg_monai.drawing.overlays import (
    LABEL_COLOUR,
    PREDICTION_COLOUR,
    broadened,
    draw_overlay,
    head_box,
    outline_coverage,
)
from lgg_monai.drawing.panels import GAP, arranged, choose_slices
from lgg_monai.viewer.volumes import Volumes

THUMBNAIL = 112  # pixels of its longer side; shown smaller, so that it is sharp on dense screens
THUMBNAIL_OUTLINE = 2.0
SLICES = 12
COLUMNS = 3
TILE_WIDTH = 240


@dataclass(frozen=True)
class _Shown:
    """Volumes as pictures ``[columns, rows, slices]``, cut to the head."""

    flair: np.ndarray
    mask: np.ndarray | None
    truth: np.ndarray | None
    window: tuple[float, float]


@dataclass(frozen=True)
class Pictures:
    """The still pictures of one patient, WebP.

    Args:
        thumbnail: of one slice, for the table.
        slice_number: of the thumbnail in the file, from 1.
        slices: rows of slices.
    """

    thumbnail: bytes
    slice_number: int
    slices: bytes


def draw_pictures(volumes: Volumes, stamp: str = "") -> Pictures:
    """Draw the pictures of a patient.

    Args:
        volumes: of the patient.
        stamp: a word printed large on every slice, such as ``PHANTOM``.
    """
    shown = _cut_to_head(volumes)
    index = volumes.centre[volumes.grid.file_axis(volumes.grid.plane)]
    return Pictures(_draw_thumbnail(shown, index), index + 1, _draw_slices(shown, stamp))


def _draw_thumbnail(shown: _Shown, index: int) -> bytes:
    """Draw a slice, small, with the predicted outline, or the true one without a prediction."""
    low, high = shown.window
    grey = np.clip((shown.flair[:, :, index].T - low) / max(high - low, 1e-6), 0, 1) * 255
    factor = THUMBNAIL / max(grey.shape)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    picture = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.LANCZOS), dtype=float)
    picture = np.repeat(picture[..., None], 3, axis=2)
    outlined, colour = (shown.mask, PREDICTION_COLOUR) if shown.mask is not None else (shown.truth, LABEL_COLOUR)
    if outlined is not None:
        # Drawn at least as large as it is shown, so that the outline has the same width in every thumbnail.
        scale = math.ceil(factor)
        band = outline_coverage(outlined[:, :, index].T, scale, THUMBNAIL_OUTLINE * scale / factor)
        coverage = np.asarray(Image.fromarray(band.astype(np.float32)).resize(size, Image.Resampling.BOX))[..., None]
        picture = picture * (1 - coverage) + np.array(colour) * coverage
    return _webp(np.rint(np.clip(picture, 0, 255)).astype(np.uint8), quality=60)


def _draw_slices(shown: _Shown, stamp: str) -> bytes:
    """Draw slices through the tumour, or through the whole volume where none was found, with their outlines.

    Their numbers are the file's, from 1.
    """
    empty = np.zeros(shown.flair.shape, dtype=bool)
    truth, mask = (empty if part is None else part for part in (shown.truth, shown.mask))
    columns, _, count = shown.flair.shape
    scale = math.ceil(TILE_WIDTH / columns)
    if (truth | mask).any():
        chosen = choose_slices(truth, mask, SLICES)
    else:
        chosen = sorted({int((part + 0.5) * count / SLICES) for part in range(SLICES)})
    tiles = [
        draw_overlay(
            shown.flair[:, :, index],
            None if shown.truth is None else shown.truth[:, :, index],
            None if shown.mask is None else shown.mask[:, :, index],
            scale,
            title=f"slice {index + 1} of {count}",
            stamp=stamp,
            window=shown.window,
            legend=False,
        )
        for index in chosen
    ]
    sheet = arranged(tiles, min(COLUMNS, len(tiles)))
    return _webp(sheet[GAP:-GAP, GAP:-GAP], quality=80)


def _cut_to_head(volumes: Volumes) -> _Shown:
    grid = volumes.grid
    flair = grid.shown(volumes.flair)
    mask, truth = (None if part is None else grid.shown(part) for part in (volumes.mask, volumes.truth))
    head = head_box(flair, volumes.window, mask, truth)
    cut = [None if part is None else broadened(part[head]) for part in (mask, truth)]
    return _Shown(broadened(flair[head], volumes.window[0]), cut[0], cut[1], volumes.window)


def _webp(picture: np.ndarray, quality: int) -> bytes:
    stream = io.BytesIO()
    # Method 4, the default, takes twice the time for 4 % fewer bytes.
    Image.fromarray(picture).save(stream, format="WEBP", quality=quality, method=2)
    return stream.getvalue()
