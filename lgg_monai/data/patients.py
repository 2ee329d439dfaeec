"""Finding patients in a folder: kaggle_3m's TIFF slices, or NIfTI volumes in the Decathlon's layout."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lgg_monai.data.file_names import composed, is_nifti, stem
from lgg_monai.data.people import person_of
from lgg_monai.data.tiff_stack import MASK_SUFFIX, TiffStackReader, tiff_files
from lgg_monai.errors import LggError
from lgg_monai.files import PARTIAL, is_broken_link, require_whole_gzip

# Folders of the published download hold `<patient>/<patient>_<n>.tif`; one or two more levels lie above them.
SEARCH_DEPTH = 3
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
HALF_MADE = f"{PARTIAL}dataset"
"""What lies in a folder of NIfTI while a data set is written into it."""
NETWORK_AXES = ("L", "P", "S")
"""Where X, Y and Z of a training volume grow to: the patient's left, back and head."""
_PATIENT_NAME = re.compile(r"^[^_]+_(?P<site>[^_]+)_[^_]+(_\d{8})?$")


@dataclass(frozen=True)
class Patient:
    """One patient's scan: where its image and its mask lie.

    Args:
        name: folder or file name, such as ``TCGA_CS_4941_19960909`` (project, site, patient, date of the scan); accents
            are part of their letters in it (NFC), however the file system spells them.
        image: the folder of TIFF slices, or the NIfTI file.
        label: the folder of TIFF masks (the same one), the NIfTI mask, or None where there is none.
        format: ``"tiff"`` or ``"nifti"``.
    """

    name: str
    image: Path
    label: Path | None
    format: Literal["tiff", "nifti"]

    @property
    def site(self) -> str:
        """The institution's code, the second part of a TCGA name (``CS``, ``DU``, …); ``unknown`` in other names.

        In capitals and without accents, as a person's name is: one hospital's code is typed in several ways.
        """
        match = _PATIENT_NAME.match(self.person)
        return match["site"] if match else "unknown"

    @property
    def person(self) -> str:
        """Who was scanned, as :func:`lgg_monai.data.people.person_of` tells: no split must part one person's scans."""
        return person_of(self.name)


def find_patients(dataset_dir: Path) -> list[Patient]:
    """List the patients of a folder, sorted by name; pixels are not read.

    Args:
        dataset_dir: a ``kaggle_3m`` folder (or one that holds it), or a folder with ``imagesTr`` and ``labelsTr``.

    Raises:
        LggError: the folder is missing, half made, of another layout or holds no patient, or a patient lies in it twice
            or has a name that is no text.
    """
    folder = Path(dataset_dir)
    try:
        if not folder.is_dir():
            way = "give the kaggle_3m folder, or one that holds imagesTr"
            if folder.is_file() and folder.suffix.lower() == ".zip":
                way = f"unpack it by `lgg-monai download DIR --source {folder}`"
            raise LggError(f"no such dataset folder: {folder}: {way}")
        patients = _nifti_patients(folder) if (folder / "imagesTr").is_dir() else _tiff_patients(folder)
    except OSError as error:
        raise LggError(f"cannot list the files of {folder} ({error}): give a folder that you may read") from error
    if not patients:
        around = next((path.parent for path in sorted(folder.glob("*/imagesTr"))), None)
        if folder.absolute().name in ("imagesTr", "labelsTr"):
            around = folder.absolute().parent
        if around is not None:
            raise LggError(f"no patients in {folder} itself: give the folder that holds imagesTr, {around}")
        raise LggError(
            f"no patients in {folder}: expected <patient>/<patient>_<n>.tif with _mask.tif beside it, "
            "or imagesTr/*.nii.gz with labelsTr/*.nii.gz; of other NIfTI or DICOM scans and their masks, "
            f"`lgg-monai collect {folder} --output OUT` makes such a folder"
        )
    _require_text(patients)
    patients.sort(key=lambda patient: patient.name)
    twice = [(one, other) for one, other in itertools.pairwise(patients) if one.name == other.name]
    if twice:
        one, other = twice[0]
        more = f", and {len(twice) - 1} more alike" if len(twice) > 1 else ""
        # As the published zip does, which holds all patients twice.
        apart = one.image.parent != other.image.parent
        give = f"give one of the folders, such as {one.image.parent}, or " if apart else ""
        message = f"patient {one.name} lies twice in {folder} ({one.image} and {other.image}{more})"
        raise LggError(f"{message}: {give}remove one of them, or rename it where it is another scan")
    return patients


def patients_by_name(dataset_dir: Path | None) -> dict[str, Patient]:
    """List the patients of a folder that was named, see `find_patients`; none where none was."""
    return {patient.name: patient for patient in find_patients(dataset_dir)} if dataset_dir else {}


def patient_of(entry: dict[str, Any]) -> Patient:
    """Turn an entry of a datalist into a patient that can be read."""
    folder, label = Path(entry["image"]), entry.get("label")
    masked = None if label in (None, "None") else Path(str(label))
    return Patient(entry["patient"], folder, masked, "tiff" if folder.is_dir() else "nifti")


def _require_text(patients: list[Patient]) -> None:
    """Refuse names in another encoding than the system's: neither lists nor tables of patients could hold them."""
    for patient in patients:
        name = os.fsencode(patient.image).decode(errors="replace")
        if name != str(patient.image):
            raise LggError(f"the name of {name} is not in UTF-8, as names from other systems may be: rename it")


def read_patient(patient: Patient) -> tuple[np.ndarray, np.ndarray | None]:
    """Read one patient's arrays as they are stored.

    Returns:
        The image ``[3, X, Y, Z]`` and the mask ``[1, X, Y, Z]`` (None where the patient has none), NIfTI turned to LPS.

    Raises:
        LggError: a file cannot be read, or the slices do not form a volume.
    """
    if patient.format == "tiff":
        image, _ = _read_tiff(patient.image, mask=False)
        label = None if patient.label is None else _read_tiff(patient.label, mask=True)[0]
        return image, label
    image = _voxels(patient.image)
    # The Decathlon's 4D files hold the sequences last.
    image = np.moveaxis(image, -1, 0) if image.ndim == 4 else image[None]
    return image, None if patient.label is None else _voxels(patient.label)[None]


def load_nifti(path: Path) -> Any:
    """Open a NIfTI file and turn its axes to LPS, in which the slices of the data set lie; its geometry stays.

    Returns:
        nibabel's image, whose ``affine`` and ``dataobj`` are those of the turned axes.

    Raises:
        LggError: it cannot be read, or its affine tells no directions.
    """
    import nibabel
    from nibabel import orientations

    try:
        picture: Any = nibabel.load(path)  # its type says nothing of voxels
        turn = orientations.ornt_transform(
            orientations.io_orientation(picture.affine), orientations.axcodes2ornt(NETWORK_AXES)
        )
        return picture.as_reoriented(turn)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds on a damaged file
        raise _unreadable(path, error) from error


def _read_tiff(folder: Path, mask: bool) -> tuple[np.ndarray, dict]:
    reader = TiffStackReader(mask=mask)
    return reader.get_data(reader.read(folder))


def is_turned(patient: Patient) -> bool:
    """Tell whether reading a patient turns its axes: a NIfTI file that is not stored as LPS."""
    if patient.format != "nifti":
        return False
    import nibabel

    try:
        picture: Any = nibabel.load(patient.image)
        return tuple(nibabel.aff2axcodes(picture.affine)) != NETWORK_AXES
    except Exception as error:
        raise _unreadable(patient.image, error) from error


def _voxels(path: Path) -> np.ndarray:
    picture = load_nifti(path)
    try:
        require_whole_gzip(path)
        voxels = np.asanyarray(picture.dataobj)
    except Exception as error:  # where no axis had to be turned, voxels are read only here
        raise _unreadable(path, error) from error
    if voxels.dtype.kind not in "biuf":
        raise LggError(f"{path} holds colours or complex numbers ({voxels.dtype}), expected grey values: export it so")
    return voxels


def _unreadable(path: Path, error: Exception) -> LggError:
    if is_broken_link(path):
        return LggError(f"{path} is a broken link: fetch what it leads to, or replace it")
    if not path.exists():  # such as a folder of TIFF slices that a run remembers, and that was moved since
        return LggError(f"there is no {path}: copy it there, or give --dataset_dir, the folder that holds it now")
    message = f"cannot read {path} as NIfTI ({type(error).__name__}: {error}): replace the file"
    return LggError(" ".join(message.split()))


def _folders(folder: Path, depth: int = SEARCH_DEPTH) -> Iterator[tuple[Path, list[Path]]]:
    """Go through the folders in which patients are looked for, each with what lies in it."""
    members = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    yield folder, members
    for path in members if depth else []:
        if path.is_dir():
            yield from _folders(path, depth - 1)


def _tiff_patients(folder: Path) -> list[Patient]:
    return [
        Patient(composed(path.absolute().name), path, path, "tiff") for path, _ in _folders(folder) if tiff_files(path)
    ]


def folders_left_out(folder: Path) -> tuple[list[Path], list[Path]]:
    """List folders beside those of patients that may have been meant to be some.

    Returns:
        Those that are named like a patient's and hold nothing, as an interrupted copy leaves them; and those that hold
        masks as other pictures than TIFF alone.
    """
    empty, pictures = [], []
    for path, members in _folders(folder):
        if not members and _PATIENT_NAME.match(path.name):
            empty.append(path)
        is_picture = any(
            member.stem.endswith(MASK_SUFFIX) and member.suffix.lower() in PICTURE_SUFFIXES for member in members
        )
        if is_picture and not tiff_files(path):
            pictures.append(path)
    return empty, pictures


def _nifti_patients(folder: Path) -> list[Patient]:
    if (folder / HALF_MADE).exists():
        raise LggError(
            f"{folder} is half made: wait until it is done, or, where that was ended, empty it and begin again"
        )
    labels = {nifti_name(path): path for path in nifti_labels(folder)}
    images = [path for path in sorted((folder / "imagesTr").iterdir()) if is_nifti(path.name)]
    for image in images:
        patient, channel = nifti_name(image)[:-5], nifti_name(image)[-5:]
        if re.fullmatch(r"_\d{4}", channel) and patient in labels and patient + channel not in labels:
            raise LggError(
                f"{image} is one of several files of {patient}, as nnU-Net's layout has them, expected one 4D file: "
                f"`lgg-monai collect {folder} --output OUT` joins them"
            )
    return [Patient(nifti_name(image), image, labels.get(nifti_name(image)), "nifti") for image in images]


def nifti_name(path: Path) -> str:
    """Give the name of the patient that a NIfTI file of a data set belongs to."""
    return composed(stem(path.name))


def nifti_labels(folder: Path) -> list[Path]:
    """List the NIfTI masks of a data set in the Decathlon's layout, those that are compressed last."""
    found = (
        path for path in folder.glob("labelsTr/*") if is_nifti(path.name) and (path.is_file() or is_broken_link(path))
    )
    return sorted(found, key=lambda path: (path.suffix.lower() == ".gz", path))
