"""What a packaged training needs, looked for before it begins: patients, weights, and folders to write into."""

from __future__ import annotations

import os
from multiprocessing.dummy import active_children
from pathlib import Path
from typing import Any

import torch
from monai.utils import ensure_tuple

from lgg_monai.engines.config_check import current_parser
from lgg_monai.engines.parts_check import root_cause
from lgg_monai.errors import LggError, exits_with_one_line


@exits_with_one_line
def check_patients(lists: dict[str, str]) -> None:
    """Refuse lists of patients that cannot be read, that lack masks, or whose files are not there.

    Args:
        lists: for each key of the config that a user may give a list by, the id of the list that is used. The first one
            has to hold somebody; MONAI would resolve a reference here, and end with a traceback where it cannot.

    Raises:
        SystemExit: with one line that names the list or the patient.
    """
    parser = current_parser()
    if parser is None:
        return
    options = "--dataset_dir (a folder with dataset.json), or --" + " and --".join(lists)
    for number, (key, name) in enumerate(lists.items()):
        try:
            patients = parser.get_parsed_content(name)
        except Exception as error:  # whatever reading a list may raise
            reason = " ".join(str(root_cause(error)).split())[:300]
            raise LggError(f"no list of patients ({reason}): give {options}") from error
        if not isinstance(patients, list | tuple) or not all(isinstance(patient, dict) for patient in patients):
            form = "[{'image': FILE, 'label': FILE}]"
            raise LggError(f'{key} is {repr(patients)[:200]}, no list of patients: give it as "{form}"')
        if not patients and number == 0:
            raise LggError(f"{key} is empty: give patients by {options}")
        for patient in patients:
            _check_patient(patient, key)


def _check_patient(patient: dict[str, Any], key: str) -> None:
    for part, what in (("image", "scan"), ("label", "mask")):
        if not patient.get(part):
            raise LggError(f"{key} lists a patient without {what} ({part}), {patient}: correct dataset.json or --{key}")
    for file in (*ensure_tuple(patient["image"]), *ensure_tuple(patient["label"])):
        if isinstance(file, str) and not os.path.exists(file):
            raise LggError(f"{key} lists {file}, which does not exist: correct dataset.json or --{key}")


@exits_with_one_line
def begin_with(network: torch.nn.Module, checkpoint: str) -> None:
    """Load the weights that a training begins with, before anything is read that takes long.

    Args:
        network: gets the weights.
        checkpoint: path of a plain state dictionary, as packages and their trainings write it, or of one as ``model``,
            as NVIDIA FLARE writes it.

    Raises:
        SystemExit: with one line, where the file cannot be read, or holds compact weights or those of another network.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        # Under "model" where other things lie beside the weights, as MONAI's CheckpointLoader takes them for a score.
        network.load_state_dict(content.get("model", content))
    except Exception as error:  # PyTorch raises many kinds, of many lines
        compact = ".weight.scale" in str(error)
        advice = (
            "they are compact; unpack them with lgg-monai package --checkpoint"
            if compact
            else "name others with --checkpoint, or begin without any by --finetune False"
        )
        raise LggError(f"cannot load weights of this network from {checkpoint}: {advice}") from error


@exits_with_one_line
def check_volumes(lists: dict[str, str]) -> None:
    """Read the volumes, which a data set in memory does as it is built; it stays, so nothing is read twice.

    Args:
        lists: for each key of the config that a user may give a list by, the id of the data set made of it.

    Raises:
        SystemExit: with one line that says what is wrong with the first volume that cannot be trained on.
    """
    parser = current_parser()
    if parser is None:
        return
    for key, name in lists.items():
        try:
            parser.get_parsed_content(name)
        except Exception as error:  # whatever reading and preparing a volume may raise
            # MONAI's threads go on with another volume; one that still ran as Python ends could abort the process.
            for reader in active_children():
                reader.join()
            reason = " ".join(str(root_cause(error)).split())[:500]
            raise LggError(f"cannot train on a patient of {key} ({reason}): correct it, or leave it out") from error


@exits_with_one_line
def check_validation(name: str) -> None:
    """Refuse to validate where no mask shows a tumour: scores would be undefined, and no epoch better than another.

    Args:
        name: the id of the data set to validate on; an empty one is not validated on.

    Raises:
        SystemExit: with one line.
    """
    parser = current_parser()
    if parser is None:
        return
    dataset = parser.get_parsed_content(name)
    if len(dataset) and not any(bool(item["label"].any()) for item in dataset):
        raise LggError(
            "no tumour in any mask of val_datalist, so no epoch could be told the best: give other patients with "
            "--val_datalist, another --seed, or none to validate on (--validation_fraction 0)"
        )


@exits_with_one_line
def check_places(files: dict[str, str | None], folders: dict[str, str]) -> None:
    """Refuse files that are not there, and folders that cannot be written into or made. Nothing is made.

    Args:
        files: paths by the key of the config; None is not looked for.
        folders: the same of folders, which need not exist.

    Raises:
        SystemExit: with one line that names the key and the path.
    """
    for key, file in files.items():
        if file is not None and not os.path.isfile(file):
            raise LggError(f"there is no file {file}: name another with --{key}")
    for key, folder in folders.items():
        place = Path(folder).absolute()
        nearest = next(one for one in (place, *place.parents) if os.path.exists(one))
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise LggError(f"cannot write into {nearest}: name another folder with --{key}")
