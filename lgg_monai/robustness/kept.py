"""Probability maps that evaluations kept of their test patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lgg_monai.analysis.runs import Run
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.probabilities import PROBABILITIES, read_probability
from lgg_monai.errors import LggError


def require_probabilities(runs: Sequence[Run]) -> None:
    """Prove that runs were scored with kept probabilities.

    Raises:
        LggError: names one that was not.
    """
    for run in runs:
        if not (run.folder / EVALUATION / PROBABILITIES).is_dir():
            raise LggError(f"{run.folder} holds no probabilities: evaluate it with --probabilities True")


def kept_probability(run: Run, entry: Mapping[str, Any]) -> np.ndarray:
    """Read a test patient's probability of tumour, float32 ``[X, Y, Z]``.

    Raises:
        LggError: there is none, or it cannot be read.
    """
    return read_probability(run.folder / EVALUATION / PROBABILITIES / f"{entry['patient']}.npz")
