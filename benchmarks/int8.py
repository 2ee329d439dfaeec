"""What 8 bits cost: ``python -m benchmarks.int8 RUN... [--dataset_dir D] [--json F]``.

Makes the 8-bit network of each run (`lgg-monai quantize`: beside its weights), and has it and the network itself
outline the run's test patients, as `lgg-monai predict` does, with all sequences and with FLAIR alone. Given the folds
of a cross-validation, every patient is outlined by networks that did not see it. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import finish, machine, table
from lgg_monai.analysis.paired import paired_difference
from lgg_monai.data.patients import Patient, patients_by_name, read_patient
from lgg_monai.data.seen import DATALIST, read_datalist
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.scores import mask_dice
from lgg_monai.errors import LggError
from lgg_monai.prediction.api import segment
from lgg_monai.prediction.int8 import INT8
from lgg_monai.prediction.models import load_segmenter
from lgg_monai.prediction.segmenter import Segmenter
from lgg_monai.sharing.quantize import quantize


def measure(run: Path, patients: dict[str, Patient], dataset_dir: Path) -> list[dict[str, Any]]:
    """Outline a run's test patients with 32 and with 8 bits.

    Args:
        run: folder of a training.
        patients: of the data set, by name.
        dataset_dir: its folder.

    Returns:
        A row a patient and input: ``dice`` with the label in float32, ``dice_int8``, ``agreement`` of the two masks.

    Raises:
        LggError: a test patient is not there, or has no masks.
    """
    quantize(str(run), dataset_dir)
    whole, small = (load_segmenter(run, device="cpu", precision=precision) for precision in ("fp32", INT8))
    rows = []
    for entry in read_datalist(run / DATALIST)["test"]:
        name = entry["patient"]
        if name not in patients:
            raise LggError(f"the test patient {name} of {run} is not in {dataset_dir}: give its data set")
        image, label = read_patient(patients[name])
        if label is None:
            raise LggError(f"no masks of {name} in {dataset_dir}: give a data set with them")
        for what, scan in (("all sequences", image), ("FLAIR alone", image[FLAIR])):
            own, theirs = (_mask(scan, segmenter) for segmenter in (whole, small))
            scores = {"dice": mask_dice(own, label[0] > 0), "dice_int8": mask_dice(theirs, label[0] > 0)}
            rows.append(
                {"patient": name, "run": run.name, "input": what} | scores | {"agreement": mask_dice(theirs, own)}
            )
    return rows


def _mask(scan: Any, segmenter: Segmenter) -> Any:
    return segment(scan, segmenter=segmenter).mask


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("runs", type=Path, nargs="+", help="folders of trainings, such as runs/cv/fold_*")
    options.add_argument("--dataset_dir", type=Path, default=Path("data/kaggle_3m"))
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    patients = patients_by_name(given.dataset_dir)
    rows: list[dict[str, Any]] = []
    for run in given.runs:
        rows += measure(run, patients, given.dataset_dir)
        print(f"{run}: done", flush=True)
    content: dict[str, Any] = {"benchmark": "int8", "machine": machine(), "rows": rows, "inputs": {}}
    for what in ("all sequences", "FLAIR alone"):
        own, small = (
            [{"patient": row["patient"], "volume_dice": row[key]} for row in rows if row["input"] == what]
            for key in ("dice", "dice_int8")
        )
        agreement = [row["agreement"] for row in rows if row["input"] == what]
        content["inputs"][what] = {
            "patients": len(own),
            "dice": sum(row["volume_dice"] for row in own) / len(own),
            "dice_int8": sum(row["volume_dice"] for row in small) / len(small),
            "agreement": sum(agreement) / len(agreement),
            "paired": paired_difference("volume_dice", own, small),
        }
    summaries = content["inputs"].items()
    print(
        table(
            [
                {"input": what}
                | {key: found[key] for key in ("patients", "dice", "dice_int8", "agreement")}
                | {key: found["paired"][key] for key in ("difference", "ci95")}
                for what, found in summaries
            ]
        )
    )
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
