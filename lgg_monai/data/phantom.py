"""Synthetic patients in the kaggle_3m layout, so that everything can run before the data set is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lgg_monai.data.phantom_patient import SITES, draw_patient
from lgg_monai.errors import LggError
from lgg_monai.files import replacing_folder

PHANTOM_MARKER = "PHANTOM.txt"
SMALLEST_SIZE = 32


def is_phantom(dataset_dir: Path) -> bool:
    """Tell whether a data set is synthetic: its marker lies in the folder, just above a patient's, or below it."""
    folder = Path(dataset_dir)
    if (folder / PHANTOM_MARKER).is_file():
        return True
    if any(folder.glob("*.tif")):
        return (folder.parent / PHANTOM_MARKER).is_file()
    return any(any(folder.glob(f"{below}/{PHANTOM_MARKER}")) for below in ("*", "*/*"))


def write_phantom(
    directory: Path, patients: int = 15, seed: int = 0, size: int = 128, *, slices: tuple[int, int] | None = None
) -> Path:
    """Write synthetic patients with gliomas, and a marker file that says what they are.

    The same arguments give the same bytes. A folder that holds exactly these patients is left as it is. About one
    patient in five lacks post-contrast, or both sequences but FLAIR; there stands a copy of FLAIR, as in the real set.

    Args:
        directory: folder to create; it appears complete or not at all.
        patients: how many; their sites take turns.
        seed: of all that is random.
        size: rows and columns of a slice, in pixels.
        slices: fewest and most slices of a patient; 20 to 30 otherwise, and 88 in one of 15 or more patients.

    Returns:
        ``directory``.

    Raises:
        LggError: the folder holds something else, cannot be written, or an argument is out of range.
    """
    directory = Path(directory)
    low, high = slices or (20, 30)
    if patients < 1 or size < SMALLEST_SIZE or not 1 <= low <= high or seed < 0:
        raise LggError(
            f"cannot make a phantom of patients={patients}, size={size}, slices={low} to {high}, seed={seed}: give at "
            f"least one patient, {SMALLEST_SIZE} pixels, one slice (fewest first) and a seed of 0 or more"
        )
    marker = (
        "These are synthetic pictures made by a computer program, and not patients: "
        "whatever is trained or measured on them says nothing about real brains.\n"
        f"patients={patients} seed={seed} size={size} slices={'default' if slices is None else f'{low}-{high}'}\n"
    )
    plan = np.random.default_rng([seed, 0])
    counts = plan.integers(low, high + 1, patients)
    counts[0] = low
    if slices is None and patients >= 15:
        counts[7] = 88
    lacking = _lacking(plan, patients)
    names = [f"PHANTOM_{SITES[i % len(SITES)].code}_{i + 1:04d}_20000101" for i in range(patients)]
    if _already_there(directory, marker, names):
        return directory
    try:
        with replacing_folder(directory) as temporary:
            for i, name in enumerate(names):
                rng = np.random.default_rng([seed, i + 1])
                image, mask = draw_patient(rng, SITES[i % len(SITES)], int(counts[i]), size)
                for channel in lacking[i]:
                    image[..., channel] = image[..., 1]
                _write_slices(temporary / name, image, mask)
            (temporary / PHANTOM_MARKER).write_text(marker, encoding="utf-8")
    except OSError as error:
        # Another process of the same run may have been quicker; what it wrote is the same to the byte.
        if not _already_there(directory, marker, names):
            message = f"cannot write the phantom to {directory} ({error.strerror}): choose another folder"
            raise LggError(message) from error
    return directory


def _already_there(directory: Path, marker: str, names: list[str]) -> bool:
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise LggError(f"cannot write the phantom to {directory}: it is a file; choose another folder")
    found = {path.name for path in directory.iterdir()}
    if not found:
        return False
    path = directory / PHANTOM_MARKER
    if not path.is_file():
        raise LggError(f"{directory} holds something that is not a phantom: choose another folder or an empty one")
    if path.read_text(encoding="utf-8") != marker:
        raise LggError(f"{directory} holds a phantom of other parameters: choose another folder or remove this one")
    if found != {PHANTOM_MARKER, *names}:
        odd = sorted(found ^ {PHANTOM_MARKER, *names})[0]
        raise LggError(f"the phantom in {directory} was changed ({odd}): remove the folder or choose another")
    return True


def _lacking(rng: np.random.Generator, patients: int) -> list[tuple[int, ...]]:
    """Choose the channels that each patient lacks: one patient in five lacks post, or pre and post, by turns."""
    lacking: list[tuple[int, ...]] = [()] * patients
    for turn, i in enumerate(rng.permutation(patients)[: round(patients / 5)]):
        lacking[i] = (0, 2) if turn % 2 else (2,)
    return lacking


def _write_slices(folder: Path, image: np.ndarray, mask: np.ndarray) -> None:
    folder.mkdir()
    for n, (picture, outline) in enumerate(zip(image, mask, strict=True), start=1):
        Image.fromarray(picture).save(folder / f"{folder.name}_{n}.tif")
        Image.fromarray(outline).save(folder / f"{folder.name}_{n}_mask.tif")
