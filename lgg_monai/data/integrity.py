"""Reading every pixel of a data set once: what is there, and everything that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lgg_monai.data.channels import order_problems
from lgg_monai.data.lost_slices import lost_slices
from lgg_monai.data.patient_problems import array_problems, file_problems, image_problems, slice_problems
from lgg_monai.data.patients import (
    Patient,
    find_patients,
    folders_left_out,
    load_nifti,
    nifti_labels,
    nifti_name,
    read_patient,
)
from lgg_monai.data.sequences import FLAIR, OTHERS, SEQUENCES
from lgg_monai.data.spacing import Spacing, longest_side, may_be_longest, spacing_of, spacing_warnings
from lgg_monai.data.tiff_stack import image_files, slices_name
from lgg_monai.errors import LggError

SHARE_OF_AIR = 0.2  # of the voxels, at the least, where there is air around the head
Progress = Callable[[Iterable[Patient]], Iterable[Patient]]


@dataclass
class PatientReport:
    """What one patient's files hold.

    Args:
        patient: the patient that was read.
        size: columns and rows of a slice, in pixels.
        spacing: of the voxels; None where it was not recorded.
        slices: number of slices.
        tumour_slices: slices with at least one tumour voxel.
        tumour_voxels: voxels of the mask.
        copied: sequences that are copies of FLAIR, so were never acquired.
        normalised: air is 0 and some of the head below it, as where somebody normalised the scan within the head.
        digests: hashes of FLAIR's slices that are not of one value, to find the same picture under another name.
        fingerprint: hash of all pixels and masks.
        image_fingerprint: hash of all pixels, whatever was outlined in them.
        warnings: what is odd about this patient, a line each, though it can be trained on.
        problems: everything wrong with this patient, a line each; the numbers above are 0 where it could not be read.
    """

    patient: Patient
    size: tuple[int, int] = (0, 0)
    spacing: Spacing | None = None
    slices: int = 0
    tumour_slices: int = 0
    tumour_voxels: int = 0
    copied: tuple[str, ...] = ()
    normalised: bool = False
    digests: frozenset[str] = frozenset()
    fingerprint: str = ""
    image_fingerprint: str = ""
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Inspect = Callable[[Patient], PatientReport]


@dataclass
class DatasetReport:
    """What a whole folder holds.

    Args:
        folder: of the set.
        patients: one report each.
        problems: what is wrong between patients and with the folder.
        notes: what is odd about the whole set, a line each, though it can be trained on.
    """

    folder: Path
    patients: list[PatientReport]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def all_problems(self) -> list[str]:
        """Every problem found, those of single patients first."""
        return [problem for report in self.patients for problem in report.problems] + self.problems

    @property
    def warnings(self) -> list[str]:
        """What is odd about patients and the whole set, which can be trained on all the same."""
        return [warning for report in self.patients for warning in report.warnings] + self.notes

    @property
    def without_tumour(self) -> list[str]:
        """The problem of a sound set without tumour in any mask: it can be scored, but not learnt from."""
        if any(report.problems or report.tumour_voxels for report in self.patients):
            return []
        return [f"no tumour in any mask of {self.folder}, so there is nothing to learn: give the masks that were drawn"]

    @property
    def fingerprint(self) -> str:
        """One hash over the names and the pixels of all patients; the same on every machine."""
        lines = sorted(f"{report.patient.name} {report.fingerprint}" for report in self.patients)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def sites(self) -> dict[str, int]:
        """Number of patients by site."""
        return dict(sorted(Counter(report.patient.site for report in self.patients).items()))


def inspect_dataset(dataset_dir: Path, progress: Progress = iter, inspect: Inspect | None = None) -> DatasetReport:
    """Read every patient of a folder.

    Args:
        dataset_dir: see :func:`lgg_monai.data.patients.find_patients`.
        progress: wraps the patients as they are read, such as ``rich.progress.track``.
        inspect: reads one patient, by default all of its pixels: :func:`inspect_patient`.

    Raises:
        LggError: there is nothing to read (a missing or empty folder, a patient that lies there twice). Everything else
            is collected in the report.
    """
    reports = [(inspect or inspect_patient)(patient) for patient in progress(find_patients(dataset_dir))]
    folder = Path(dataset_dir)
    problems = order_problems(folder) + _lone_masks(folder, reports) + _names_of_others(reports)
    problems += _shared_slices(reports)
    notes = spacing_warnings(folder, {report.patient.name: report.spacing for report in reports})
    notes += _normalised_before(reports)
    if all(report.patient.format == "tiff" for report in reports):
        empty, pictures = folders_left_out(folder)
        problems += [f"{path} is named like a patient and is empty: copy its slices, or remove it" for path in empty]
        notes += [f"{path} is left out, as its masks are no TIFF: export its slices and masks so" for path in pictures]
    return DatasetReport(folder, reports, problems, notes)


def inspect_patient(patient: Patient) -> PatientReport:
    """Read one patient and collect what is wrong, rather than stop at the first problem."""
    report = PatientReport(patient)
    report.problems = file_problems(patient)
    if report.problems:
        report.problems += slice_problems(patient)
        return report
    try:
        image, label = read_patient(patient)
    except LggError as error:
        report.problems = slice_problems(patient) or [str(error)]
        return report
    report.problems += array_problems(patient, image, label)
    if report.problems or label is None:
        return report
    tumour = label[0] > 0
    report.size = (int(image.shape[1]), int(image.shape[2]))
    report.spacing = spacing_of(load_nifti(patient.image)) if patient.format == "nifti" else None
    report.slices = int(image.shape[3])
    report.tumour_slices = int(tumour.any(axis=(0, 1)).sum())
    report.tumour_voxels = int(tumour.sum())
    report.copied = tuple(SEQUENCES[c] for c in OTHERS if np.array_equal(image[c], image[FLAIR]))
    report.normalised = bool(image[FLAIR].min() < 0 and (image[FLAIR] == 0).mean() > SHARE_OF_AIR)
    report.warnings = _lost_slices(patient, image)
    by_slice = _by_slice(image)
    hashes = _hashes(by_slice)
    # Of FLAIR alone: a copy of a scan may lack the sequences that the other has.
    flair = _by_slice(image[FLAIR : FLAIR + 1])
    report.digests = frozenset(_hashes([picture for picture in flair if picture.min() < picture.max()]))
    report.fingerprint = _with_mask(hashes, label)
    report.image_fingerprint = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return report


def fingerprint_of(image: np.ndarray, label: np.ndarray) -> str:
    """Hash all pixels and the mask of a patient as they were read, as `PatientReport` and datalists have it.

    Args:
        image: ``[3, X, Y, Z]``.
        label: ``[1, X, Y, Z]``.
    """
    return _with_mask(_hashes(_by_slice(image)), label)


def _by_slice(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(_in_one_type(image), -1, 0))


def _hashes(by_slice: Iterable[np.ndarray]) -> list[str]:
    return [hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest() for picture in by_slice]


def _with_mask(hashes: list[str], label: np.ndarray) -> str:
    mask_hash = hashlib.blake2b(np.packbits(label[0] > 0).tobytes(), digest_size=16).hexdigest()
    return hashlib.sha256(" ".join([*hashes, mask_hash]).encode()).hexdigest()


def _in_one_type(image: np.ndarray) -> np.ndarray:
    """Give values in a type that depends on them alone: an export as float32 shows the same pixels as one as int16."""
    if image.dtype == np.uint8:
        return image
    values = image.astype("<f4") + np.float32(0)  # which makes 0 of -0
    whole = values.min() >= 0 and values.max() <= 255 and np.array_equal(values, np.rint(values))
    return values.astype(np.uint8) if whole else values


def require_sound_images(patients: Iterable[Patient]) -> None:
    """Read the images of patients that need no mask, and stop before anything expensive where one is no scan.

    Raises:
        LggError: names the first problem: a file that cannot be read, or an image that no network can say anything of.
    """
    for patient in patients:
        image, _ = read_patient(replace(patient, label=None))
        problems = image_problems(patient, image)
        if problems:
            raise LggError(problems[0])
        if patient.format == "nifti" and not may_be_longest(side := longest_side(load_nifti(patient.image))):
            raise LggError(f"{patient.image} has a side of {side:.6g} mm by its affine: correct the file's spacing")


def require_sound(report: DatasetReport) -> None:
    """Stop before anything expensive where a data set has problems.

    Raises:
        LggError: names the first problem and how many there are.
    """
    problems = report.all_problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LggError(f"{problems[0]}{more}; `lgg-monai check {report.folder}` lists all")


def _lost_slices(patient: Patient, image: np.ndarray) -> list[str]:
    first, where = 1, " (slices counted from 1, from below)"
    if patient.format == "tiff":
        first, where = next(iter(image_files(patient.image))), ""
    return [
        f"{patient.image}: {phrase}{where}: replace it where the file is damaged"
        for phrase in lost_slices(image, first)
    ]


def _normalised_before(reports: list[PatientReport]) -> list[str]:
    names = [report.patient.name for report in reports if report.normalised]
    if not names:
        return []
    return [
        f"FLAIR of {len(names)} of {len(reports)} patients, such as {names[0]}, is 0 in the air and below 0 in the "
        "head, so was normalised before: networks see its air as bright as brain; give the values of the scanner"
    ]


def _lone_masks(folder: Path, reports: list[PatientReport]) -> list[str]:
    """List NIfTI masks that belong to no image; lone TIFF masks are a problem of their patient."""
    if not (folder / "imagesTr").is_dir():
        return []
    labels = {report.patient.label for report in reports}
    masks = {nifti_name(label): label for label in labels if label is not None}
    return [
        f"{path} lies beside {masks[nifti_name(path)].name}, two masks of one image: remove one of them"
        if nifti_name(path) in masks
        else f"{path} has no image of the same name in imagesTr: add it, or remove the mask"
        for path in sorted(nifti_labels(folder))
        if path not in labels
    ]


def _names_of_others(reports: list[PatientReport]) -> list[str]:
    """List folders whose slices are all named after another patient of the set, as a copy to the wrong place leaves."""
    names = {report.patient.name for report in reports}
    problems = []
    for report in reports:
        if report.patient.format != "tiff" or report.problems:
            continue
        name = slices_name(next(iter(image_files(report.patient.image).values())))
        if name != report.patient.name and name in names:
            problems.append(
                f"the slices in {report.patient.image} are named after {name}, another patient of the set: "
                "copy this patient's own, or rename them"
            )
    return problems


def _shared_slices(reports: list[PatientReport]) -> list[str]:
    owners: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        for digest in report.digests:
            owners[digest].append(report.patient.name)
    pairs = Counter(tuple(sorted(names)) for names in owners.values() if len(names) > 1)
    return [
        f"patients {' and '.join(names)} share {count} identical slice(s) of FLAIR, so may be one patient: keep one"
        for names, count in sorted(pairs.items())
    ]
