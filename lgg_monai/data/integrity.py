"""Reading every pixel of a data set once: what is there, and everything that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from lgg_monai.data.channels import order_problems
from lgg_monai.data.lost_slices import lost_slices, written_runs
from lgg_monai.data.patients import (
    Patient,
    empty_patient_folders,
    find_patients,
    load_nifti,
    nifti_labels,
    read_patient,
)
from lgg_monai.data.sequences import FLAIR, OTHERS, SEQUENCES
from lgg_monai.data.tiff_stack import (
    distinct_values,
    image_files,
    is_binary,
    mask_files,
    read_mask_slice,
    read_slice,
    shape_problem,
    slices_name,
)
from lgg_monai.errors import LggError

Progress = Callable[[Iterable[Patient]], Iterable[Patient]]


@dataclass
class PatientReport:
    """What one patient's files hold.

    Args:
        patient: the patient that was read.
        size: columns and rows of a slice, in pixels.
        slices: number of slices.
        tumour_slices: slices with at least one tumour voxel.
        tumour_voxels: voxels of the mask.
        copied: sequences that are copies of FLAIR, so were never acquired.
        digests: hashes of the slices that are not of one value, to find the same picture under another name.
        fingerprint: hash of all pixels and masks.
        image_fingerprint: hash of all pixels, whatever was outlined in them.
        warnings: what is odd about this patient, a line each, though it can be trained on.
        problems: everything wrong with this patient, a line each; the numbers above are 0 where it could not be read.
    """

    patient: Patient
    size: tuple[int, int] = (0, 0)
    slices: int = 0
    tumour_slices: int = 0
    tumour_voxels: int = 0
    copied: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    fingerprint: str = ""
    image_fingerprint: str = ""
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Inspect = Callable[[Patient], PatientReport]


@dataclass
class DatasetReport:
    """What a whole folder holds: one report a patient and the problems between patients."""

    folder: Path
    patients: list[PatientReport]
    problems: list[str] = field(default_factory=list)

    @property
    def all_problems(self) -> list[str]:
        """Every problem found, those of single patients first."""
        return [problem for report in self.patients for problem in report.problems] + self.problems

    @property
    def warnings(self) -> list[str]:
        """What is odd about patients that can be trained on all the same."""
        return [warning for report in self.patients for warning in report.warnings]

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
    problems += [
        f"{path} is named like a patient and is empty: copy its slices, or remove it"
        for path in empty_patient_folders(folder)
    ]
    return DatasetReport(folder, reports, problems)


def inspect_patient(patient: Patient) -> PatientReport:
    """Read one patient and collect what is wrong, rather than stop at the first problem."""
    report = PatientReport(patient)
    report.problems = _file_problems(patient)
    if report.problems:
        report.problems += _slice_problems(patient)
        return report
    try:
        image, label = read_patient(patient)
    except LggError as error:
        report.problems = _slice_problems(patient) or [str(error)]
        return report
    report.problems += _array_problems(patient, image, label)
    if report.problems or label is None:
        return report
    tumour = label[0] > 0
    report.size = (int(image.shape[1]), int(image.shape[2]))
    report.slices = int(image.shape[3])
    report.tumour_slices = int(tumour.any(axis=(0, 1)).sum())
    report.tumour_voxels = int(tumour.sum())
    report.copied = tuple(SEQUENCES[c] for c in OTHERS if np.array_equal(image[c], image[FLAIR]))
    report.warnings = _lost_slices(patient, image)
    by_slice = np.ascontiguousarray(np.moveaxis(_in_one_type(image), -1, 0))
    hashes = [hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest() for picture in by_slice]
    blank = [picture.min() == picture.max() for picture in by_slice]
    report.digests = frozenset(h for h, skip in zip(hashes, blank, strict=True) if not skip)
    mask_hash = hashlib.blake2b(np.packbits(tumour).tobytes(), digest_size=16).hexdigest()
    report.fingerprint = hashlib.sha256(" ".join([*hashes, mask_hash]).encode()).hexdigest()
    report.image_fingerprint = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return report


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
        problems = _image_problems(patient, image)
        if problems:
            raise LggError(problems[0])


def require_sound(report: DatasetReport) -> None:
    """Stop before anything expensive where a data set has problems.

    Raises:
        LggError: names the first problem and how many there are.
    """
    problems = report.all_problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LggError(f"{problems[0]}{more}; `lgg-monai check {report.folder}` lists all")


def _file_problems(patient: Patient) -> list[str]:
    """Find what is wrong with a patient's files before any is read: images without masks, gaps in the numbers."""
    if patient.format == "nifti":
        without = f"{patient.image} has no mask of the same name in labelsTr: add it, or remove the image"
        return [without] if patient.label is None else []
    try:
        images, masks = image_files(patient.image), mask_files(patient.image)
    except LggError as error:
        return [str(error)]
    if not masks:
        return [f"{patient.image} has no masks: add a <patient>_<n>_mask.tif beside every slice"]
    problems = [
        f"{images[n]} has no mask beside it: add {images[n].stem}_mask.tif, all 0 where there is no tumour"
        for n in sorted(images.keys() - masks.keys())
    ]
    problems += [
        f"{masks[n]} has no image beside it: add it, or remove the mask" for n in sorted(masks.keys() - images.keys())
    ]
    names = [slices_name(next(iter(files.values()))) for files in (images, masks) if files]
    if len(set(names)) > 1:
        problems.append(
            f"the masks of {patient.image} are named after {names[1]}, its slices after {names[0]}, so may be another "
            "patient's: give those that belong to the slices, or rename them"
        )
    # Published slices count from 1; a later start means that the first ones were lost. 0 is another way to count.
    gaps = [(a + 1, b - 1) for a, b in pairwise([0, *sorted(images.keys() | masks.keys())]) if b > a + 1]
    if gaps:
        missing = written_runs(gaps)
        problems.append(f"slices {missing} are missing in {patient.image}: add them, or number all from 1 without gaps")
    return problems


def _slice_problems(patient: Patient) -> list[str]:
    """List everything wrong with a patient's single slices; the reader itself stops at the first."""
    if patient.format == "nifti":
        return []
    problems = []
    for mask, find, read in ((False, image_files, read_slice), (True, mask_files, read_mask_slice)):
        shapes = {}
        try:
            paths = find(patient.image)
        except LggError:  # wrong file names are listed by _file_problems
            continue
        for path in paths.values():
            try:
                shapes[path] = read(path).shape
            except LggError as error:
                problems.append(str(error))
        problem = shape_problem(patient.image, shapes, mask)
        problems += [] if problem is None else [problem]
    return problems


def _array_problems(patient: Patient, image: np.ndarray, label: np.ndarray | None) -> list[str]:
    if image.ndim != 4 or image.shape[0] != len(SEQUENCES):
        return _image_problems(patient, image)
    if label is None:
        return [f"{patient.image} has no mask: add it"]
    if label.shape[1:] != image.shape[1:]:
        sizes = " and ".join(" x ".join(map(str, array.shape[1:])) for array in (image, label))
        return [f"image and mask of {patient.image} differ in size ({sizes}): export them alike"]
    problems = _image_problems(patient, image)
    if not image.size:
        return problems
    if patient.format == "nifti" and patient.label is not None:
        affines = [load_nifti(path).affine for path in (patient.image, patient.label)]
        # Half a voxel at the far corner: quaternions round, other grids are further off.
        corner, smallest = [*image.shape[1:], 1], np.linalg.norm(affines[0][:3, :3], axis=0).min()
        if np.abs(affines[0] - affines[1]).dot(corner).max() > smallest / 2:
            problems.append(
                f"{patient.label} lies on another grid than its image (affines differ): copy the image's geometry "
                "where the voxels lie alike, else resample the mask"
            )
    if not is_binary(label):
        found = distinct_values(label)
        way = f"make it binary, or {_collected(patient)}, where all that is not 0 is tumour"
        problems.append(f"{patient.label} holds values other than 0 and 1 (or 255), namely {found}: {way}")
    return problems


def _image_problems(patient: Patient, image: np.ndarray) -> list[str]:
    if image.ndim != 4 or image.shape[0] != len(SEQUENCES):
        found = f"{image.shape[0]} sequence(s)"
        if image.ndim != 4:
            found = " x ".join(map(str, image.shape[1:])) + " voxels"  # of more axes than four, one after another
        way = f"join pre, FLAIR and post, or {_collected(patient)}"
        return [f"{patient.image} has {found}, expected {len(SEQUENCES)} sequences: {way}"]
    if not image.size:
        return [f"{patient.image} holds no voxels: replace the file"]
    if not np.isfinite(image).all():
        return [f"{patient.image} holds NaN or infinite values: replace them, or export the file anew"]
    if image.min() == image.max():
        return [f"{patient.image} is of one single value ({image.min()}), so no scan: replace or remove it"]
    return [
        f"{SEQUENCES[channel]} of {patient.image} is of one single value ({sequence.min()}), so no scan: give it, or "
        + ("leave the patient out" if channel == FLAIR else "a copy of FLAIR where it was not acquired")
        for channel, sequence in enumerate(image)
        if sequence.min() == sequence.max()
    ]


def _collected(patient: Patient) -> str:
    return f"let `lgg-monai collect {patient.image.parent.parent} --output OUT` write such a set"


def _lost_slices(patient: Patient, image: np.ndarray) -> list[str]:
    first, where = 1, " (slices counted from 1, from below)"
    if patient.format == "tiff":
        first, where = next(iter(image_files(patient.image))), ""
    return [
        f"{patient.image}: {phrase}{where}: replace it where the file is damaged"
        for phrase in lost_slices(image, first)
    ]


def _lone_masks(folder: Path, reports: list[PatientReport]) -> list[str]:
    """List NIfTI masks that belong to no image; lone TIFF masks are a problem of their patient."""
    labels = {report.patient.label for report in reports}
    return [
        f"{path} has no image of the same name in imagesTr: add it, or remove the mask"
        for path in sorted(nifti_labels(folder))
        if (folder / "imagesTr").is_dir() and path not in labels
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
        f"patients {' and '.join(names)} share {count} identical slice(s), so may be one patient: keep one of them"
        for names, count in sorted(pairs.items())
    ]
