"""Pictures of one synthetic patient: head, brain and tumour as three sequences of an invented hospital show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter


@dataclass(frozen=True)
class Site:
    """How an invented hospital's pictures look.

    Args:
        code: second part of its patients' names.
        gain: brightness of brain on (pre, FLAIR, post), in grey values.
        contrast: exponent on tissue contrast; below 1 flattens.
        noise: standard deviation of the receiver's noise, in grey values.
        field_of_view: half width of a slice in half lengths of the head; above 1 leaves air around it.
    """

    code: str
    gain: tuple[float, float, float]
    contrast: float
    noise: float
    field_of_view: float


SITES = (
    Site("AA", (60.0, 64.0, 68.0), 1.0, 2.0, 1.06),
    Site("BB", (78.0, 52.0, 50.0), 0.8, 3.5, 1.32),
    Site("CC", (52.0, 80.0, 60.0), 1.15, 1.2, 1.16),
)


def draw_patient(rng: np.random.Generator, site: Site, slices: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Make one patient: image ``[slices, size, size, 3]`` and mask ``[slices, size, size]`` of 0 and 255, uint8.

    Lengths are in half lengths of the head (nose to back). z runs from -1, the base of the skull, to 1, the crown.
    """
    shape = (slices, size, size)
    view = site.field_of_view * rng.uniform(0.97, 1.05)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    tilt, (dx, dy) = rng.normal(0, 0.05), rng.normal(0, 0.02, 2)
    row, column = axis[None, :, None] * view + dy, axis[None, None, :] * view + dx
    x, y = column + tilt * row, row - tilt * column
    z = np.linspace(-0.96, 0.98, slices + 2, dtype=np.float32)[1:-1, None, None]

    def texture(scale: float) -> np.ndarray:
        """Smooth noise of variance 1; ``scale`` is its width as a share of the picture."""
        sigma = (scale * slices * 0.6, scale * size, scale * size)
        field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, truncate=2.5)
        return field / max(float(field.std()), 1e-6)

    def step(field: np.ndarray, width: float) -> np.ndarray:
        """Rise softly from 0 to 1 where ``field`` turns positive."""
        return 1 / (1 + np.exp(np.clip(-field / width, -30, 30)))

    # Head: an egg that tapers to the crown; depth counts inwards from the skin.
    wide = rng.uniform(0.74, 0.82)
    taper = np.where(z > 0, np.sqrt(1 - z**2), 1 - 0.22 * z**2)
    coarse = texture(0.07)
    radius = np.sqrt((x / wide) ** 2 + (y * (1 + 0.08 * y)) ** 2)
    depth = (taper - radius) * 0.87 + 0.008 * coarse
    pixel = 2 * view / size
    base = step(-z - 0.55 + 0.06 * coarse, 0.05)  # the skull's base: bone, sinuses and muscle instead of brain
    head, scalp = step(depth, pixel / 2), step(depth, pixel / 2) * step(0.055 - depth, pixel / 2)
    inside = depth - 0.115
    brain = step(inside, pixel / 2) * (1 - base)

    # Folds of the cortex: grey matter near the surface and along sulci, which hold dark fluid.
    folds = np.abs(texture(0.022))
    shallow = np.exp(-np.clip(inside, 0, None) / 0.10)
    fluid = step(0.35 * shallow - folds, 0.08) * step(shallow - 0.25, 0.05)
    fluid = np.maximum(fluid, step(0.012 - np.abs(x + 0.01 * coarse), pixel / 3) * step(shallow - 0.05, 0.02))
    grey = step(0.75 * shallow + 0.35 - folds, 0.15)

    # Ventricles: two horns a side, bent outwards to front and back.
    large = rng.uniform(0.8, 1.5)
    bend = 0.09 + 0.25 * (y - 0.02) ** 2 / large
    horn = ((np.abs(x) - bend) / (0.05 * large)) ** 2 + ((y - 0.02) / 0.36) ** 2 + ((z - 0.1) / 0.26) ** 2
    notch = np.exp(-(((y - 0.02) / 0.07) ** 2))
    horn = np.sqrt(horn) + 0.5 * notch + 0.06 * coarse
    ventricle = step(1 - horn, 0.06)
    caps = step(1.35 - horn, 0.08) * (1 - ventricle) * np.exp(-(((np.abs(y - 0.02) - 0.30) / 0.10) ** 2))

    allowed = (inside > 0.01) & (horn > 1.05) & (base < 0.5)
    growth = _tumour(rng, (x, y, z), wide, taper, 0.22 * texture(0.035) + 0.16 * coarse, allowed)
    mask = (growth > 0) & allowed
    tumour = step(growth, 0.07) * brain * (1 - ventricle)

    # Brightness of tissue on each sequence, where brain is 1.
    grain, streaks = texture(0.012), texture(0.03)
    bone = np.clip(0.6 + 0.55 * streaks, 0.05, 2.2)
    fat = np.clip(1 + 0.25 * streaks, 0.3, 2)
    bright = rng.uniform(1.65, 2.5)
    core = step(growth - rng.uniform(0.35, 0.6), 0.10) * rng.uniform(-0.4, 0.2)
    rim = np.exp(-(((growth - 0.35) / 0.12) ** 2)) * (rng.uniform(0.5, 1.1) if rng.random() < 0.4 else 0.0)
    faint, cap = rng.uniform(0.7, 0.92), rng.uniform(0.2, 0.9)
    # (white, grey, fluid, scalp, tumour) of pre, FLAIR and post
    table = (
        (1.12, 0.82, 0.30, 1.9, faint + 0.25 * core),
        (0.90, 1.12, 0.22, 2.1, bright + core + 0.10 * grain),
        (1.08, 0.85, 0.30, 2.0, faint + 0.25 * core + rim),
    )
    channels = []
    for channel, (white, cortex, dark, skin, lesion) in enumerate(table):
        tissue = white + (cortex - white) * grey + 0.04 * grain + (0.06 if channel == 1 else 0.02) * streaks
        if channel == 1:
            tissue = tissue + cap * caps + 0.15 * np.clip(streaks - 1.5, 0, 2)
        tissue = tissue + (lesion - tissue) * tumour
        wet = np.maximum(fluid * (1 - 0.7 * tumour), ventricle)
        tissue = tissue + (dark - tissue) * wet
        tissue = np.sign(tissue) * np.abs(tissue) ** site.contrast
        picture = brain * tissue + head * base * step(inside, pixel / 2) * bone + scalp * skin * fat
        picture = picture * _bias(rng, x, y, z) * site.gain[channel] * rng.uniform(0.85, 1.15) + 3.6 * head
        # The magnitude of a complex signal: air is never quite black.
        noise = site.noise * rng.standard_normal((2, *shape), dtype=np.float32)
        channels.append(np.sqrt((picture + noise[0]) ** 2 + noise[1] ** 2))
    image = np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)
    return image, mask.astype(np.uint8) * 255


def _tumour(
    rng: np.random.Generator,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    wide: float,
    taper: np.ndarray,
    warp: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """Field that is positive inside a tumour: one to three ellipsoids, warped, about the middle slices of the head.

    Moved about until enough of it lies where a tumour may grow; of too few slices, the largest of many tries.
    """
    x, y, z = grid
    best, largest = np.zeros(allowed.shape, dtype=np.float32), 0
    for _ in range(60):
        middle = z.flat[np.abs(z - rng.uniform(-0.15, 0.5)).argmin()]
        width = rng.uniform(0.14, 0.32)
        height = max(rng.uniform(0.22, 0.36), 1.2 / len(z))
        reach = float(taper[z == middle].flat[0]) - 0.2
        angle, out = np.pi * (rng.integers(2) + rng.uniform(-0.36, 0.36)), rng.uniform(0.5, 0.8) * reach
        centre = np.array([np.cos(angle) * out * wide, np.sin(angle) * out])
        total = np.zeros(np.broadcast_shapes(x.shape, z.shape), dtype=np.float32)
        for part in range(rng.integers(1, 4)):
            share = 1.0 if part == 0 else rng.uniform(0.45, 0.75)
            shift = np.zeros(2) if part == 0 else rng.normal(0, 0.6 * width, 2)
            stretch = rng.uniform(0.75, 1.3)
            across = (x - centre[0] - shift[0]) / (width * share * stretch)
            along = (y - centre[1] - shift[1]) / (width * share / stretch)
            total += np.exp(-(across**2 + along**2 + ((z - middle) / (height * share)) ** 2) * 0.9)
        growth = total + warp * np.clip(2.5 * total, 0, 1) - 0.42
        inside = (growth > 0) & allowed
        # A few dozen voxels at the least, and enough slices to tell a tumour from noise.
        if inside.sum() > 0.0012 * inside.size and inside.any((1, 2)).mean() > 0.2:
            return growth
        if inside.sum() > largest:
            best, largest = growth, inside.sum()
    return best


def _bias(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Smooth shading by the coil, and the loss of signal towards both ends of the stack."""
    a, b, c, phase = rng.uniform(-1, 1, 4)
    shading = 1 + 0.16 * np.sin(1.6 * (a * x + b * y + 0.5 * c * z) + np.pi * phase)
    return shading * (1 - 0.35 * np.clip(np.abs(z) - 0.6, 0, None))
