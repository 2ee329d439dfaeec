"""Probability maps on the disk, one byte a voxel, for ensembles, thresholds and calibration later."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from lgg_monai.engines.evaluation import EVALUATE_AGAIN, EVALUATION
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import WaitingFolder, replacing_folder, told_in_one_line

PROBABILITIES = "probabilities"  # folder in a run's `evaluation/`
LEVELS = 255


class ProbabilityWriter:
    """Keep every patient's map of tumour probability beside the scores of an evaluation.

    Args:
        output_dir: the run folder; maps go to ``evaluation/probabilities/<patient>.npz`` in it.
        datalist: what :func:`lgg_monai.data.evaluation_datalist` returned; its order is that of the loader.
    """

    @exits_with_one_line
    def __init__(self, output_dir: str, datalist: dict[str, Any]) -> None:
        self.folder = Path(output_dir) / EVALUATION / PROBABILITIES
        self.names = [entry["patient"] for entry in datalist["patients"]]
        self._waiting = WaitingFolder("lgg-probabilities-")
        self._maps = self._waiting.path / PROBABILITIES  # the folder around it is private to this process

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose batches are one patient, after the writer that replaces ``evaluation/``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._drop)

    @exits_with_one_line
    def _keep(self, engine: Engine) -> None:
        output: Any = engine.state.output
        name = self.names[engine.state.iteration - 1]
        probability = torch.sigmoid(output["logits"][0, 0]).cpu().numpy()
        with self._waiting.told():
            write_probability(self._maps / f"{name}.npz", probability)

    @exits_with_one_line
    def _write(self, engine: Engine) -> None:
        what = f"the probabilities {self.folder}"
        with (
            self._waiting,
            told_in_one_line(what, EVALUATE_AGAIN),
            replacing_folder(self.folder, earlier=True) as partial,
        ):
            shutil.copytree(self._maps, partial, dirs_exist_ok=True)

    def _drop(self, engine: Engine, error: BaseException) -> None:
        self._waiting.cleanup()
        raise error


def write_probability(path: Path, probability: np.ndarray) -> None:
    """Write a map of probabilities in 255 steps; 128 and more are the probabilities from 0.5 up.

    Args:
        path: file to write, ending in ``.npz``; its folder is made where it is missing.
        probability: values from 0 to 1, such as ``[X, Y, Z]``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, probability=np.rint(np.asarray(probability, np.float64) * LEVELS).astype(np.uint8))


def read_probability(path: Path) -> np.ndarray:
    """Read what :func:`write_probability` wrote, as float32 from 0 to 1.

    Raises:
        LggError: the file is missing or is none of these.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["probability"].astype(np.float32) / LEVELS
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        message = (
            f"cannot read the probabilities {path} ({type(error).__name__}): evaluate again with --probabilities True"
        )
        raise LggError(message) from error
