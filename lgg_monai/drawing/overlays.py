"""Pictures of FLAIR slices with the true and the predicted outline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.draw import disk, line
from skimage.measure import find_contours
from skimage.transform import resize

from lgg_monai.boxes import bounding_box
from lgg_monai.files import replacing

# Told apart by hue and by lightness, and by dashes where they meet, so that no kind of colour blindness mixes them up.
LABEL_COLOUR = (90, 230, 120)
PREDICTION_COLOUR = (255, 40, 190)
INK = (235, 235, 235)
FAINT_INK = (160, 160, 160)
PAPER = (16, 16, 18)
STAMP_COLOUR = (255, 190, 60)

WINDOW_PERCENTILES = (1.0, 99.5)
STRIP = 24  # height of a line of text, in picture pixels
# Outlines are drawn this many times larger and averaged down, which smooths them without moving them.
SUPERSAMPLING = 3
LABEL_WIDTH = 1.2  # of an outline, in pixels of the slice
PREDICTION_WIDTH = 0.8
DASH = 4.0
HEAD_MARGIN = 4  # voxels left around the head
SLENDER = 4  # times that a drawn slice may be as long as it is wide


def draw_overlay(
    flair: np.ndarray,
    label: np.ndarray | None,
    prediction: np.ndarray | None,
    scale: int = 2,
    title: str = "",
    stamp: str = "",
    *,
    window: tuple[float, float] | None = None,
    legend: bool = True,
) -> np.ndarray:
    """Draw one slice with the true outline (green) and the predicted one (magenta).

    Where both run together they alternate in dashes.

    Args:
        flair: slice ``[X, Y]`` of any type.
        label: true mask ``[X, Y]``, or None.
        prediction: predicted mask ``[X, Y]``, or None.
        scale: whole factor of enlargement.
        title: text in a strip above the slice; without one there is no such strip.
        stamp: a word printed large across the lower right corner, such as ``PHANTOM``.
        window: values shown as black and white; by default the slice's 1st and 99.5th percentiles.
        legend: add a strip below that explains the colours.

    Returns:
        Picture ``[Y * scale + strips, X * scale, 3]``, uint8. Row and column are volume axes Y and X.
    """
    picture = _grey(np.asarray(flair).T, scale, window or intensity_window(flair))
    green = np.zeros(picture.shape[:2])
    if label is not None:
        green = outline_coverage(np.asarray(label).T > 0, scale, LABEL_WIDTH * scale)
        picture = _painted(picture, green, LABEL_COLOUR)
    if prediction is not None:
        mask = np.asarray(prediction).T > 0
        solid, dashed = (outline_coverage(mask, scale, PREDICTION_WIDTH * scale, dash) for dash in (None, DASH * scale))
        picture = _painted(picture, np.where(green > 0, dashed, solid), PREDICTION_COLOUR)
    canvas = np.rint(picture).astype(np.uint8)
    if stamp:
        canvas = _stamped(canvas, stamp)
    strips = [text_strip(canvas.shape[1], [(title, INK)])] if title else []
    strips.append(canvas)
    if legend:
        entries = [("label", LABEL_COLOUR)] if label is not None else []
        entries += [("prediction", PREDICTION_COLOUR)] if prediction is not None else []
        strips.append(text_strip(canvas.shape[1], entries))
    return np.concatenate(strips)


def broadened(slices: np.ndarray, fill: float = 0) -> np.ndarray:
    """Pad slices ``[X, Y]`` or ``[X, Y, Z]`` so that the longer side of each is at most four times the shorter one.

    A title has no room above a few columns, and a stamp none in a few rows.

    Args:
        slices: a picture or a mask.
        fill: value of what is added on both sides alike.
    """
    missing = [max(math.ceil(max(slices.shape[:2]) / SLENDER) - size, 0) for size in slices.shape[:2]]
    sides = [(size // 2, size - size // 2) for size in missing] + [(0, 0)] * (slices.ndim - 2)
    return np.pad(slices, sides, constant_values=fill)


def head_box(flair: np.ndarray, window: tuple[float, float], *masks: np.ndarray | None) -> tuple[slice, ...]:
    """Give the box, in columns and rows, around the head and around masks that reach beyond it; all, where is none.

    Args:
        flair: volume ``[X, Y, Z]``.
        window: values that are shown as black and white.
        masks: boolean, alike; None for none.
    """
    low, high = window
    # The mean over slices takes the noise off the background, so that a tenth of the window tells the head from it.
    inside = flair.mean(axis=2) > low + 0.1 * (high - low)
    for mask in masks:
        if mask is not None:
            inside |= mask.any(axis=2)
    return bounding_box(inside, HEAD_MARGIN)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a uint8 picture ``[H, W]`` or ``[H, W, 3]`` as PNG, at once or not at all."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def intensity_window(flair: np.ndarray) -> tuple[float, float]:
    """Give the 1st and 99.5th percentile, the values that are shown as black and white."""
    low, high = (float(value) for value in np.percentile(flair, WINDOW_PERCENTILES))
    return low, high


def outline_coverage(mask: np.ndarray, scale: int, width: float, dash: float | None = None) -> np.ndarray:
    """Draw the outline of a mask as a band around its voxels' border.

    Args:
        mask: boolean picture ``[H, W]``.
        scale: whole factor of enlargement.
        width: of the band, in enlarged pixels.
        dash: length of its dashes and gaps in enlarged pixels; None for a solid band.

    Returns:
        ``[H * scale, W * scale]`` between 0 and 1: how much of each pixel the band covers.
    """
    fine = scale * SUPERSAMPLING
    radius = width * SUPERSAMPLING / 2
    margin = math.ceil(radius)
    coverage = np.zeros((mask.shape[0] * scale, mask.shape[1] * scale))
    if not mask.any():
        return coverage
    # Nothing lies farther from the mask than half a band, so the rest of a picture needs no drawing.
    box = bounding_box(mask, margin=math.ceil((radius + 1) / fine))
    # From an even pixel on, halves are rounded as in the whole picture.
    box = tuple(slice(part.start - part.start % 2, part.stop) for part in box)
    mask = mask[box]
    height, length = mask.shape[0] * fine, mask.shape[1] * fine
    canvas = np.zeros((height + 2 * margin, length + 2 * margin), dtype=bool)
    brush = np.stack(disk((0, 0), radius + 0.5))
    # A frame of zeros closes outlines at the border. A pixel's centre lies half a pixel from its corner.
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        corners = np.rint((contour - 1 + 0.5) * fine - 0.5).astype(int)
        corners = np.clip(corners, 0, [height - 1, length - 1]) + margin
        starts, ends = corners[:-1], corners[1:]
        if dash is not None:
            travelled = np.cumsum(np.linalg.norm(ends - starts, axis=1))
            shown = travelled // (dash * SUPERSAMPLING) % 2 == 0
            starts, ends = starts[shown], ends[shown]
        for (row, column), (next_row, next_column) in zip(starts, ends, strict=True):
            canvas[line(row, column, next_row, next_column)] = True
    rows, columns = np.nonzero(canvas)
    canvas[(rows[:, None] + brush[0]).ravel(), (columns[:, None] + brush[1]).ravel()] = True
    inner = canvas[margin : margin + height, margin : margin + length]
    blocks = inner.reshape(height // SUPERSAMPLING, SUPERSAMPLING, length // SUPERSAMPLING, SUPERSAMPLING)
    coverage[tuple(slice(part.start * scale, part.stop * scale) for part in box)] = blocks.mean(axis=(1, 3))
    return coverage


def _painted(picture: np.ndarray, coverage: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return picture * (1 - coverage[..., None]) + np.array(colour) * coverage[..., None]


def _grey(flair: np.ndarray, scale: int, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    shown = np.clip((flair.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    larger = resize(shown, (shown.shape[0] * scale, shown.shape[1] * scale), order=1, mode="edge")
    return np.repeat(larger[..., None] * 255, 3, axis=2)


def text_strip(width: int, entries: Sequence[tuple[str, tuple[int, int, int]]], size: int = 14) -> np.ndarray:
    """Draw a line of texts side by side, shortened where the picture is too narrow for them."""
    strip = Image.new("RGB", (width, STRIP + 2 * (size - 14)), PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size)
    left = 8.0
    for text, colour in entries:
        shown = text
        while shown and left + draw.textlength(shown, font) > width - 2:
            shown = shown[:-1]
        draw.text((left, strip.height / 2), shown, fill=colour, font=font, anchor="lm")
        left += draw.textlength(shown, font) + 18
    return np.array(strip)


def _stamped(picture: np.ndarray, stamp: str) -> np.ndarray:
    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    # A third of the width, whatever the word; an edge in black keeps it readable on any tissue.
    size = 10.0
    wide = draw.textlength(stamp, ImageFont.load_default(size))
    font = ImageFont.load_default(max(10.0, size * sheet.width / 3 / max(wide, 1)))
    place = (sheet.width - 8, sheet.height - 8)
    draw.text(place, stamp, fill=STAMP_COLOUR, font=font, anchor="rs", stroke_width=2, stroke_fill=(0, 0, 0))
    return np.array(sheet)
