"""Does a scan's form matter: ``python -m benchmarks.round_trips [--dataset_dir D] [--patients 3] [--json F]``.

Writes patients of a ``kaggle_3m`` folder as NIfTI and DICOM, turned, mirrored and oblique, predicts each form as the
command ``predict`` does, and brings the masks back by their own affines to compare them with the mask of the TIFF
slices. No form needs values between voxels, so masks should agree in every voxel; FLAIR alone shows what the other
sequences are worth. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from benchmarks.dicom_series import rotated, synthesise_series
from benchmarks.report import finish, machine, table
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.data.phantom import is_phantom
from lgg_monai.data.sequences import FLAIR, SEQUENCES
from lgg_monai.data.tiff_stack import UNKNOWN_GEOMETRY
from lgg_monai.dicom.geometry import LPS_TO_RAS
from lgg_monai.engines.scores import mask_dice
from lgg_monai.errors import LggError
from lgg_monai.prediction.inputs import find_scans
from lgg_monai.prediction.models import load_segmenter
from lgg_monai.prediction.outputs import MASK, SEG
from lgg_monai.prediction.run import predict
from lgg_monai.prediction.segmenter import Segmenter

# Pixels near those of the training, which are not resampled.
AXIAL = np.diag([-0.9375, -0.9375, 5.0, 1.0])
OBLIQUE = rotated(AXIAL, (8, -12, 15), (70.0, 95.0, -40.0))
ANISOTROPIC = rotated(np.diag([-0.9, -1.0, 4.5, 1.0]), (10, -8, 20), (85.0, 60.0, -55.0))
Form = Callable[[Path, Patient, np.ndarray], tuple[Path, np.ndarray]]


def tiff(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """The kaggle_3m folder itself."""
    return patient.image, UNKNOWN_GEOMETRY


def nifti_4d(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """One 4D NIfTI file, axes mirrored to right, front, head."""
    _save(folder / "scan.nii.gz", np.moveaxis(image, 0, -1), AXIAL, "RAS")
    return folder, AXIAL


def nifti_files(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """A NIfTI file a sequence, oblique, axes in another order."""
    for name, volume in zip(SEQUENCES, image, strict=True):
        _save(folder / f"scan_{name}.nii.gz", volume, OBLIQUE, "SLA")
    return folder, OBLIQUE


def nifti_grids(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """A NIfTI file a sequence, the other sequences on larger grids that have to be resampled onto FLAIR's."""
    for channel, (name, volume) in enumerate(zip(SEQUENCES, image, strict=True)):
        margin = (0, 0, 0) if channel == FLAIR else (4 + channel, 7, 2)
        moved = OBLIQUE @ nibabel.affines.from_matvec(np.eye(3), np.negative(margin))
        _save(folder / f"scan_{name}.nii.gz", np.pad(volume, [(side, side) for side in margin]), moved, "LPS")
    return folder, OBLIQUE


def dicom(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """A DICOM series a sequence, oblique, pixels not square, files in no order."""
    titles = ("AX T1 PRE", "AX T2 FLAIR", "AX T1 POST GD")
    for number, (title, volume) in enumerate(zip(titles, image, strict=True), start=1):
        synthesise_series(folder, volume, ANISOTROPIC, title, number, shuffle=number)
    return folder, ANISOTROPIC


def flair_alone(folder: Path, patient: Patient, image: np.ndarray) -> tuple[Path, np.ndarray]:
    """FLAIR alone as NIfTI."""
    _save(folder / "scan_flair.nii.gz", image[FLAIR], AXIAL, "LPS")
    return folder, AXIAL


FORMS: tuple[Form, ...] = (tiff, nifti_4d, nifti_files, nifti_grids, dicom, flair_alone)


def measure(patients: Sequence[Patient], segmenter: Segmenter, folder: Path) -> list[dict[str, Any]]:
    """Predict patients in each form.

    Args:
        patients: with TIFF slices and masks.
        segmenter: of `lgg_monai.prediction.models.load_segmenter`.
        folder: for the files, empty.

    Returns:
        A row a patient and form: ``differ``, voxels unlike the mask of the TIFF slices; ``dice_to_tiff``,
        ``dice_to_truth``; ``off_mm``, how far the mask's voxels lie from the scan's; of DICOM ``seg_differ`` and
        ``seg_off_mm``, the same of the DICOM SEG against the NIfTI mask and the scan.

    Raises:
        LggError: a form could not be segmented.
    """
    rows = []
    for patient in patients:
        image, label = read_patient(patient)
        if label is None:
            raise LggError(f"no masks in {patient.image}: give a kaggle_3m folder with them")
        for form in FORMS:
            place = folder / patient.name / form.__name__
            place.mkdir(parents=True)
            scan, grid = form(place, patient, image)
            done = _predicted(scan, place / "out", segmenter)
            written: Any = nibabel.load(done / MASK)
            mask, off = mapped(np.asarray(written.dataobj) > 0, written.affine, grid, image.shape[1:])
            if form is tiff:
                first = mask
            row = {"patient": patient.name, "form": form.__name__, "voxels": int(mask.sum())}
            row |= {"differ": int((mask != first).sum()), "dice_to_tiff": mask_dice(mask, first)}
            row |= {"dice_to_truth": mask_dice(mask, label[0] > 0), "off_mm": off}
            row |= {"seg_differ": None, "seg_off_mm": None}
            if form is dicom:
                seg, off = mapped(*read_seg(done / SEG), grid, image.shape[1:])
                row |= {"seg_differ": int((seg != mask).sum()), "seg_off_mm": off}
            rows.append(row)
    return rows


def mapped(mask: np.ndarray, affine: np.ndarray, grid: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Bring a mask onto another grid, each voxel to the nearest one.

    Args:
        mask: boolean [I, J, K].
        affine: of the mask, voxel indices to RAS millimetres.
        grid: alike, of the other grid.
        shape: of the other grid.

    Returns:
        The mask on the other grid, and the largest distance in millimetres of a voxel from the place that it got;
        infinite where one lies outside.
    """
    places = nibabel.affines.apply_affine(np.linalg.solve(grid, affine), np.argwhere(mask))
    nearest = np.rint(places).astype(int)
    inside = ((nearest >= 0) & (nearest < shape)).all(axis=1)
    result = np.zeros(shape, dtype=bool)
    result[tuple(nearest[inside].T)] = True
    distances = np.linalg.norm((places - nearest) @ grid[:3, :3].T, axis=1)
    return result, float(distances.max(initial=0.0)) if inside.all() else float("inf")


def read_seg(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a DICOM SEG by highdicom: boolean [frames, rows, columns] in the order of space, and the affine to RAS."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    return volume.array > 0, LPS_TO_RAS @ volume.affine


def _predicted(scan: Path, output: Path, segmenter: Segmenter) -> Path:
    """Predict what is one scan, and return the folder of its results."""
    outcome = predict(find_scans([scan]), segmenter, output, report=False)
    if outcome.failed or len(outcome.done) != 1:
        raise LggError(f"{scan} did not come out as one scan ({outcome}): this form cannot be compared")
    return output / outcome.done[0]


def _save(path: Path, array: np.ndarray, affine: np.ndarray, axes: str) -> None:
    picture = nibabel.Nifti1Image(array, affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    nibabel.save(picture.as_reoriented(turn), path)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset_dir", type=Path, default=Path("data/kaggle_3m"))
    options.add_argument("--bundle", default="unet")
    options.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    options.add_argument("--patients", type=int, default=3, help="spread evenly over the folder")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    patients = find_patients(given.dataset_dir)
    patients = patients[:: max(len(patients) // given.patients, 1)][: given.patients]
    segmenter = load_segmenter(given.bundle, given.checkpoint)
    with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
        rows = measure(patients, segmenter, Path(folder))
    print(table(rows))
    content = {
        "benchmark": "round_trips",
        "machine": machine(),
        "phantom": is_phantom(patients[0].image),
        "bundle": segmenter.name,
        "weights_sha256": segmenter.digests,
        "in_training": sorted(segmenter.seen.intersection(patient.name for patient in patients)),
        "forms": {form.__name__: form.__doc__ for form in FORMS},
        "rows": rows,
    }
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
