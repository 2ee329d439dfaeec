"""What hospitals send: scans with sequences missing, other intensities, noise, other positions and other grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from monai.transforms import (
    AdjustContrast,
    BorderPad,
    CenterScaleCrop,
    Compose,
    Flip,
    GaussianSmooth,
    RandBiasField,
    RandRicianNoise,
    Resize,
    Rotate,
    Rotate90,
    ScaleIntensity,
    StdShiftIntensity,
    Transform,
)

from lgg_monai.data.sequences import FLAIR, SEQUENCES
from lgg_monai.errors import LggError
from lgg_monai.robustness.brain import DEFINITION, StripSkull
from lgg_monai.robustness.degrade import Build, Degradation


class LoseSequences(Transform):
    """Replace sequences by FLAIR, which is how the data set marks them as not acquired.

    Args:
        sequences: of ``pre``, ``post``.
    """

    def __init__(self, *sequences: str) -> None:
        self.channels = [SEQUENCES.index(name) for name in sequences]

    def __call__(self, data: torch.Tensor) -> torch.Tensor:
        """Return the changed image ``[3, X, Y, Z]``."""
        image = data.clone()
        image[self.channels] = data[FLAIR]
        return image


def _same(name: str, severity: str, definition: str, build: Callable[[], Transform]) -> Degradation:
    return Degradation(name, severity, definition, lambda size: build())


def _moved(name: str, severity: str, definition: str, build: Build) -> Degradation:
    return Degradation(name, severity, definition, build, moves=True)


def _noise(deviation: float) -> Degradation:
    definition = "Rician noise; its deviation in standard deviations of the sequence"
    return _same(
        "noise",
        f"{deviation:g}",
        definition,
        lambda: RandRicianNoise(prob=1, std=deviation, channel_wise=True, relative=True, sample_std=False),
    )


def _bias(strength: float) -> Degradation:
    definition = "bias field exp(polynomial of degree 3); largest coefficient of its Legendre terms"
    return _same(
        "bias field",
        f"{strength:g}",
        definition,
        lambda: RandBiasField(degree=3, coeff_range=(-strength, strength), prob=1),
    )


def _gamma(gamma: float) -> Degradation:
    return _same("gamma", f"{gamma:g}", "intensities to this power", lambda: AdjustContrast(gamma))


def _blur(sigma: float) -> Degradation:
    definition = "Gaussian blur within slices; standard deviation in pixels"
    return _same("blur", f"{sigma:g}", definition, lambda: GaussianSmooth(sigma=(sigma, sigma, 0.0)))


def _low_resolution(factor: float) -> Degradation:
    def build(size: Sequence[int]) -> Transform:
        small = [round(size[0] / factor), round(size[1] / factor), size[2]]
        return Compose([Resize(small, mode="area"), Resize(size, mode="trilinear")])

    definition = "scanned with pixels this many times as wide, sent on the old matrix"
    return Degradation("low resolution", f"{factor:g}", definition, build)


def _rotation(degrees: float) -> Degradation:
    def build(size: Sequence[int]) -> Transform:
        return Rotate((0.0, 0.0, math.radians(degrees)), mode="bilinear", padding_mode="zeros")

    return _moved("rotation", f"{degrees:+g}", "degrees within slices", build)


def _matrix(factor: float) -> Degradation:
    def build(size: Sequence[int]) -> Transform:
        return Resize([round(size[0] * factor), round(size[1] * factor), size[2]], mode="trilinear")

    definition = "matrix of this many times the rows and columns, the head filling as much of it"
    return _moved("matrix size", f"{factor:g}", definition, build)


def _flip(name: str, axis: int) -> Degradation:
    return _moved(name, "", "mirrored", lambda size: Flip(spatial_axis=axis))


def _crop(share: float) -> Degradation:
    definition = "this share of rows and columns is left; tumour outside counts as missed"
    return _moved("cropped field of view", f"{share:g}", definition, lambda size: CenterScaleCrop((share, share, 1.0)))


def _padding(share: float) -> Degradation:
    def build(size: Sequence[int]) -> Transform:
        return BorderPad((round(size[0] * share), round(size[1] * share), 0))

    return _moved("zero padding", f"{share:g}", "air around each slice, in slice widths on either side", build)


CLEAN = _same("clean", "", "as it was acquired", lambda: Compose([]))
DEGRADATIONS = (
    _same("missing pre", "", "a copy of FLAIR in its place", lambda: LoseSequences("pre")),
    _same("missing post", "", "a copy of FLAIR in its place", lambda: LoseSequences("post")),
    _same("FLAIR alone", "", "copies of FLAIR in the other sequences' place", lambda: LoseSequences("pre", "post")),
    _same("intensity scale", "3", "times this factor", lambda: ScaleIntensity(minv=None, maxv=None, factor=2.0)),
    _same(
        "intensity shift",
        "+1",
        "of all but the zeros of the air, in their standard deviations",
        lambda: StdShiftIntensity(1.0, nonzero=True, channel_wise=True),
    ),
    _gamma(0.7),
    _gamma(1.5),
    _bias(0.15),
    _bias(0.3),
    _noise(0.05),
    _noise(0.1),
    _noise(0.2),
    _blur(1.0),
    _blur(2.0),
    _low_resolution(2.0),
    _low_resolution(3.0),
    _rotation(10),
    _rotation(-10),
    _rotation(20),
    _moved("rotation", "+90", "degrees within slices", lambda size: Rotate90(k=1, spatial_axes=(0, 1))),
    _flip("left-right flip", 0),
    _flip("up-down flip", 1),
    _matrix(0.75),
    _matrix(1.25),
    _matrix(2.0),
    _crop(0.75),
    _padding(0.25),
    _same("skull stripped", "", DEFINITION, StripSkull),
)


def choose_degradations(names: Sequence[str]) -> tuple[Degradation, ...]:
    """Find degradations by name (``noise``: every severity) or label (``noise 0.1``), in the table's order.

    Raises:
        LggError: a name that none has.
    """
    wanted = {name.lower(): name for name in names}
    known = {kind.lower() for degradation in DEGRADATIONS for kind in (degradation.name, degradation.label)}
    for key, name in wanted.items():
        if key not in known:
            kinds = ", ".join(dict.fromkeys(degradation.name for degradation in DEGRADATIONS))
            raise LggError(f"no degradation is called {name!r}: give {kinds}, or one with its severity (noise 0.1)")
    return tuple(each for each in DEGRADATIONS if wanted.keys() & {each.name.lower(), each.label.lower()})
