"""Scoring patients into a run's ``evaluation`` folder: table, summary, predicted masks and pictures."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from lgg_monai.data.datalist import SUBSETS
from lgg_monai.data.seen import DATALIST, read_datalist
from lgg_monai.drawing.overlays import save_png
from lgg_monai.drawing.panels import patient_panel, select_best_median_worst
from lgg_monai.engines.as_trained import changed_settings
from lgg_monai.engines.config_check import effective_config
from lgg_monai.engines.precision import autocast_dtype
from lgg_monai.engines.predictions import PREDICTIONS, read_prediction, write_prediction
from lgg_monai.engines.run_folder import RUN, has_ended, trained_config
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import format_summary, summarise, write_patients_csv
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import WaitingFolder, read_object, replacing_folder, told_in_one_line, write_json
from lgg_monai.provenance import commit, describe_device, versions

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"
EVALUATE_AGAIN = "free space, and evaluate again"


@exits_with_one_line
def require_listed(path: Path, datalist: dict[str, Any], trained: bool) -> None:
    """Refuse a ``datalist_file`` that lists other patients than are scored: it is a key of the training.

    The key may be repeated from the training, whose list a run keeps.

    Args:
        path: the file that was given.
        datalist: of the evaluation, see :func:`lgg_monai.data.evaluation_datalist`.
        trained: whether a run is evaluated, or else shipped weights.

    Raises:
        SystemExit: with one line, where the patients are others, or the file is no datalist.
    """
    subset = datalist["subset"]
    (part,) = SUBSETS.get(subset, ("test",))
    listed = {entry["patient"] for entry in read_datalist(path).get(part, [])}
    if listed != {entry["patient"] for entry in datalist["patients"]}:
        scored = f"the run's own {subset} patients" if trained else "the patients of --dataset_dir"
        message = (
            f"--datalist_file {path} lists other {part} patients than are scored: an evaluation scores {scored}, "
            "so leave the key out, or train with this list"
        )
        raise LggError(message)


@exits_with_one_line
def require_own_fold(run: Path, fold: int | str | None) -> None:
    """Refuse a ``fold`` that is not the run's: it is a key of the training, and chooses no patients here.

    Args:
        run: the run folder; where it is none, or its patients were given by a list, it has no fold.
        fold: that was given; None where none was.

    Raises:
        SystemExit: with one line.
    """
    own = read_datalist(run / DATALIST).get("fold") if (run / DATALIST).is_file() else None
    if fold is not None and own is not None and str(fold) != str(own):
        message = (
            f"{run} tests on fold {own}, not {fold}: an evaluation scores the run's own patients, so leave --fold out, "
            "or give the --output_dir of a run that tests on this fold"
        )
        raise LggError(message)


class EvaluationWriter:
    """Score every patient as the evaluator yields it, and write the results when all are done.

    The results replace those of an earlier evaluation of the same run as a whole: a table and pictures of different
    models never lie side by side. Volumes wait on the disk till then, so any number of patients fits into memory.

    Args:
        output_dir: the run folder; results go to ``evaluation/`` in it.
        datalist: what :func:`lgg_monai.data.evaluation_datalist` returned; its order is that of the loader.
        checkpoint: the weights that are scored, for the record.
        device: where it runs, for the record.
        precision: as the inferer's, for the record.
        pictures: write ``overlays/`` of the best, median and worst patient.
    """

    @exits_with_one_line
    def __init__(
        self,
        output_dir: str,
        datalist: dict[str, Any],
        checkpoint: str,
        device: torch.device,
        precision: str = "auto",
        pictures: bool = True,
    ) -> None:
        self.folder = Path(output_dir) / EVALUATION
        self.datalist = datalist
        self.pictures = pictures
        self.rows: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "subset": datalist["subset"],
            "phantom": datalist["phantom"],
            "dataset_dir": datalist["dataset_dir"],
            "fingerprint": datalist["fingerprint"],
            "patients_seen_in_training_or_validation": len(datalist["seen"]),
            "checkpoint": str(checkpoint),
            "device": describe_device(torch.device(device)),
            # Not "precision": the metric of that name stands beside it.
            "dtype": str(autocast_dtype(torch.device(device), precision) or torch.float32).removeprefix("torch."),
            "versions": versions(),
            "commit": commit(),
            "config": effective_config(),
        }
        trained = trained_config(Path(output_dir)) if self.record["config"] else None
        require_own_fold(Path(output_dir), self.record["config"].get("fold"))
        given = self.record["config"].get("datalist_file")
        if given and not (trained is not None and datalist["subset"] == "all"):
            require_listed(Path(str(given)), datalist, trained is not None)
        self.changed = [] if trained is None else changed_settings(trained, self.record["config"])
        for key, name in (("preprocessing", "preprocessing_as_trained"), ("network_def", "network_as_trained")):
            self.record[name] = None if trained is None else key not in self.changed
        record, own = Path(output_dir) / RUN, Path(output_dir) / "checkpoints" in Path(str(checkpoint)).parents
        self.goes_on = own and record.is_file() and not has_ended(read_object(record, "run record"))
        self._volumes = WaitingFolder("lgg-evaluation-")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose batches are one patient."""
        run = self.folder.parent
        if self.goes_on:
            logger.warning("the training of %s has not ended: its weights of up to now are scored", run)
        if "preprocessing" in self.changed:
            logger.warning(
                "volumes are prepared in another way than those %s was trained on: compare its run.json", run
            )
        if "network_def" in self.changed:
            logger.warning("the network is not as %s trained it: repeat the overrides of network_def", run)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._write)

    @exits_with_one_line
    def _score(self, engine: Engine) -> None:
        entry = self.datalist["patients"][len(self.rows)]
        output: Any = engine.state.output
        prediction = output["pred"][0, 0].cpu().numpy().astype(bool)
        label = output["label"][0, 0].cpu().numpy().astype(bool)
        row: dict[str, Any] = {key: entry[key] for key in ("patient", "site", "part")}
        row["missing_sequences"] = len(entry["copied_sequences"])
        self.rows.append(row | score_volume(prediction, label))
        with self._volumes.told():
            write_prediction(self._volumes.path / PREDICTIONS / f"{row['patient']}.npz", prediction)
            if self.pictures:
                # Which three patients are drawn is known at the end; till then the volumes wait on the disk.
                image = output["image"][0].cpu().numpy().astype(np.float16)
                path = self._volumes.path / f"{len(self.rows) - 1}.npz"
                np.savez(path, image=image, label=label)

    @exits_with_one_line
    def _write(self, engine: Engine) -> None:
        summary = self.record | {"evaluated": datetime.now(UTC).isoformat(timespec="seconds")} | summarise(self.rows)
        what = f"the scores {self.folder}"
        with (
            self._volumes,
            told_in_one_line(what, EVALUATE_AGAIN),
            replacing_folder(self.folder, earlier=True) as partial,
        ):
            write_patients_csv(partial / "patients.csv", self.rows)
            write_json(partial / "summary.json", summary)
            if self.rows:
                shutil.copytree(self._volumes.path / PREDICTIONS, partial / PREDICTIONS)
            if self.pictures:
                self._draw(partial / "overlays")
        stamp = "PHANTOM " if self.datalist["phantom"] else ""
        logger.info("%s%s patients (%s):\n%s", stamp, self.datalist["subset"], self.folder, format_summary(summary))

    def _draw(self, folder: Path) -> None:
        numbers = {row["patient"]: number for number, row in enumerate(self.rows)}
        for rank, row in select_best_median_worst(self.rows).items():
            with np.load(self._volumes.path / f"{numbers[row['patient']]}.npz") as volumes:
                picture = patient_panel(
                    volumes["image"].astype(np.float32),
                    volumes["label"],
                    read_prediction(self._volumes.path / PREDICTIONS / f"{row['patient']}.npz"),
                    title=f"{row['patient']}: {rank} patient, volume Dice {row['volume_dice']:.3f}",
                    stamp="PHANTOM" if self.datalist["phantom"] else "",
                )
            save_png(folder / f"{rank}_{row['patient']}.png", picture)
