"""Writing the data set as NIfTI for other tools: Medical Segmentation Decathlon layout, or nnU-Net's raw layout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import nibabel
import numpy as np

from lgg_monai.data.channels import DATASET_JSON, require_order
from lgg_monai.data.integrity import inspect_patient
from lgg_monai.data.patients import HALF_MADE, Patient, find_patients, load_nifti, read_patient
from lgg_monai.data.phantom import PHANTOM_MARKER, is_phantom
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.data.tiff_stack import UNKNOWN_GEOMETRY
from lgg_monai.errors import LggError
from lgg_monai.files import read_object, replacing, told_in_one_line, writable_folder, write_json
from lgg_monai.progress import Progress

Layout = Literal["msd", "nnunet"]
NNUNET_FOLDER = "Dataset501_LGG"
NAMES = {"pre": "pre", "flair": "FLAIR", "post": "post"}
SEQUENCE_NAMES = {str(i): NAMES[sequence] for i, sequence in enumerate(SEQUENCES)}
REFERENCE = (
    "Buda et al., Computers in Biology and Medicine 109 (2019), 10.1016/j.compbiomed.2019.05.002; "
    "Mazurowski et al., Journal of Neuro-Oncology 133 (2017), 10.1007/s11060-017-2420-1"
)
PLACEHOLDER = "The slices record neither spacing nor orientation: 1 mm is a placeholder."
OWN = ("name", "description", "reference", "licence", "license", "release")
LICENCE = "CC BY-NC-SA 4.0: non-commercial, share alike; cite Buda 2019 and Mazurowski 2017"


def convert(dataset_dir: Path, output_dir: Path, layout: Layout = "msd", progress: Progress | None = None) -> Path:
    """Write every patient as NIfTI, with the grey values as they are.

    Spacing and orientation of TIFF slices were never recorded, so their files say 1 mm and radiological order; neither
    is a measurement. A NIfTI input keeps its own, with its axes turned to LPS.
    ``dataset.json`` is written last, and a failure or an interruption takes back what was written.

    Args:
        dataset_dir: a folder that `find_patients` accepts.
        output_dir: an empty folder, or one to create.
        layout: ``"msd"`` for one 4D file a patient ``[X, Y, Z, 3]`` in ``imagesTr`` and a mask in ``labelsTr``;
            ``"nnunet"`` for one 3D file a sequence (``_0000`` pre, ``_0001`` FLAIR, ``_0002`` post) in
            ``Dataset501_LGG``, as nnU-Net v2 reads it.
        progress: called after each patient with how many are done, how many there are, and the patient's name.

    Returns:
        The folder that holds ``dataset.json``.

    Raises:
        LggError: ``output_dir`` is not empty or cannot be written, or `lgg-monai check` finds something wrong with a
            patient, such as a slice without its mask, or with the order of the channels.
    """
    if layout not in get_args(Layout):
        raise LggError(f"unknown layout {layout!r}: choose one of {', '.join(get_args(Layout))}")
    output_dir = Path(output_dir)
    require_empty(output_dir)
    patients = find_patients(dataset_dir)
    require_order(dataset_dir)  # or the copy's own dataset.json would name the channels wrongly
    for patient in patients:
        # Before anything is written: masks of other slices than the images would look complete in the copy.
        problems = inspect_patient(patient).problems
        if problems:
            raise LggError(f"patient {patient.name} cannot be converted: {problems[0]}")
    root = writable_folder(output_dir, choose="another")
    synthetic = is_phantom(dataset_dir)
    if layout == "nnunet":
        root = root / NNUNET_FOLDER
    with told_in_one_line(f"NIfTI files to {root}", "free space or choose another folder"), whole(root):
        for done, patient in enumerate(patients, start=1):
            _write_patient(patient, root, layout)
            if progress is not None:
                progress(done, len(patients), patient.name)
        if synthetic:
            _copy_marker(Path(dataset_dir), root)
        write_json(root / DATASET_JSON, _description(Path(dataset_dir), patients, layout, synthetic))
    return root


def require_empty(folder: Path) -> None:
    """Refuse a folder that holds something already; it need not exist."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise LggError(f"the output folder {folder} is not empty: choose another, or empty it")


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """Write a data set whole or not at all: where the block fails or is interrupted, its files are removed.

    Meanwhile, and where the program was killed, a mark says that it is half made: `find_patients` refuses it.

    Args:
        folder: created where it is missing.

    Raises:
        LggError: the folder holds something by now, such as what another program began meanwhile.
    """
    require_empty(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / HALF_MADE
    mark.touch(exist_ok=False)
    try:
        yield
    except BaseException:
        for name in ("imagesTr", "labelsTr"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (PHANTOM_MARKER, DATASET_JSON, HALF_MADE):
            (folder / name).unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise
    mark.unlink()


def _write_patient(patient: Patient, root: Path, layout: Layout) -> None:
    image, label = read_patient(patient)
    assert label is not None  # or `convert` would have refused the patient
    affine = UNKNOWN_GEOMETRY if patient.format == "tiff" else load_nifti(patient.image).affine
    if layout == "msd":
        write_nifti(np.moveaxis(image, 0, -1), affine, root / "imagesTr" / f"{patient.name}.nii.gz")
    else:
        for channel, volume in enumerate(image):
            write_nifti(volume, affine, root / "imagesTr" / f"{patient.name}_{channel:04d}.nii.gz")
    write_nifti((label[0] > 0).astype(np.uint8), affine, root / "labelsTr" / f"{patient.name}.nii.gz")


def write_nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write an array ``[X, Y, Z]`` or ``[X, Y, Z, C]`` in its own type, at once or not at all."""
    picture = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    picture.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nibabel.save(picture, temporary)


def _description(dataset_dir: Path, patients: list[Patient], layout: Layout, synthetic: bool) -> dict[str, Any]:
    about = _about(dataset_dir, synthetic, published=all(patient.format == "tiff" for patient in patients))
    if layout == "nnunet":
        return {
            **about,
            "channel_names": SEQUENCE_NAMES,
            "labels": {"background": 0, "tumour": 1},
            "numTraining": len(patients),
            "file_ending": ".nii.gz",
        }
    return about | decathlon([patient.name for patient in patients])


def _about(dataset_dir: Path, synthetic: bool, published: bool) -> dict[str, str]:
    """Say what the data are and on which terms: of NIfTI what its own description says, of nobody else's."""
    if synthetic:
        return {
            "name": "LGG (phantom: synthetic, not patients)",
            "description": f"Synthetic pictures, not patients. {PLACEHOLDER}",
        }
    if published:
        return {
            "name": "LGG",
            "description": f"FLAIR abnormality of lower-grade glioma in brain MR. {PLACEHOLDER}",
            "reference": REFERENCE,
            "licence": LICENCE,
        }
    try:
        own = read_object(dataset_dir / DATASET_JSON, "description")
    except LggError:  # a set needs none
        own = {}
    texts = {key: own[key] for key in OWN if isinstance(own.get(key), str)}
    return {"name": dataset_dir.resolve().name} | texts


def decathlon(names: list[str]) -> dict[str, Any]:
    """Say in the Medical Segmentation Decathlon's terms what 4D images and masks of these patients hold."""
    return {
        "tensorImageSize": "4D",
        "modality": SEQUENCE_NAMES,
        "labels": {"0": "background", "1": "tumour"},
        "numTraining": len(names),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": [],
    }


def _copy_marker(dataset_dir: Path, root: Path) -> None:
    """Carry the phantom's marker along, so that what is computed on the copy still says what it comes from."""
    marker = next((path for path in dataset_dir.rglob(PHANTOM_MARKER)), dataset_dir.parent / PHANTOM_MARKER)
    with replacing(root / PHANTOM_MARKER) as temporary:
        shutil.copyfile(marker, temporary)
