"""From a scan's array to the probability of tumour on the same grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from lgg_monai.data.scan import Scan
from lgg_monai.engines.precision import AutocastInferer, autocast_dtype
from lgg_monai.engines.slicewise import SlicewiseInferer
from lgg_monai.engines.tta import both_ways, mean_probability
from lgg_monai.prediction.geometry import Placement, place
from lgg_monai.prediction.int8 import INT8

THRESHOLD = 0.5


@dataclass
class Prepared:
    """A scan laid out and normalised for the network.

    Args:
        scan: as it was read.
        placement: leads back to its grid.
        image: what the network sees [C, X, Y, Z], float16.
    """

    scan: Scan
    placement: Placement
    image: torch.Tensor


@dataclass
class Segmenter:
    """Networks on a device, with what is done to images before and after.

    Args:
        networks: one, or an ensemble whose mean probability counts; each maps [N, 3, X, Y] to logits [N, 1, X, Y].
        preprocessing: maps ``{"image": [C, X, Y, Z]}``, see `lgg_monai.prediction.models.array_preprocessing`.
        device: of the networks.
        precision: ``auto``, ``fp32`` or ``bf16``; ``int8`` says that the networks are of that kind.
        tta: average with the predictions of the slices mirrored left to right, as training showed them too.
        batch_size: slices given to a network at a time.
        divisor: sides of a slice are padded to a multiple of it.
        smallest: pixels that sides of a slice are padded to at least.
        name: of the bundle, or of those that make the ensemble.
        digests: SHA-256 of the files of weights.
        notes: what the user should know of them.
        seen: people who took part in training or validation, as `lgg_monai.data.people.person_of` names them.
    """

    networks: Sequence[torch.nn.Module]
    preprocessing: Callable[[dict[str, Any]], Any]
    device: torch.device
    precision: str = "auto"
    tta: bool = False
    batch_size: int = 16
    divisor: int = 16
    smallest: int = 1
    name: str = ""
    digests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()
    inferer: AutocastInferer = field(init=False)

    def __post_init__(self) -> None:
        precision = "fp32" if self.precision == INT8 else self.precision
        autocast_dtype(self.device, precision)  # refuses an unknown one by an LggError, not the program's end
        slicewise = SlicewiseInferer(self.batch_size, self.divisor, smallest=self.smallest)
        self.inferer = AutocastInferer(self.device, slicewise, precision)

    @property
    def dtype(self) -> str:
        """The type that networks compute in, such as ``bfloat16``."""
        if self.precision == INT8:
            return INT8
        return str(self.inferer.dtype or torch.float32).removeprefix("torch.")

    def prepare(self, scan: Scan) -> Prepared:
        """Lay a scan out as the training slices lie, and normalise it; this may run beside the networks.

        Raises:
            LggError: its geometry cannot be handled, see `lgg_monai.prediction.geometry.place`.
        """
        placement = place(scan.image.shape[1:], scan.affine, scan.spacing_known)
        image = self.preprocessing({"image": torch.from_numpy(placement.lay_out(scan.image))})["image"]
        return Prepared(scan, placement, image)

    @torch.inference_mode()
    def __call__(self, prepared: Prepared) -> np.ndarray:
        """Return the probability of tumour [X, Y, Z], float64, on the scan's own grid.

        Memory on the device does not grow with the number of slices.
        """
        parts = [self._slices(part) for part in prepared.image.split(self.batch_size, dim=-1)]
        return prepared.placement.restore(torch.cat(parts, dim=-1).numpy())

    def _slices(self, image: torch.Tensor) -> torch.Tensor:
        inputs = image.to(self.device).float()[None]
        logits = []
        for network in self.networks:
            predict = partial(self._logits, network)
            logits += both_ways(predict, inputs) if self.tta else [predict(inputs)]
        return mean_probability(logits)[0, 0]

    def _logits(self, network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return self.inferer(inputs, network).cpu()
