"""Everything that can be wrong with one patient: its files, its slices, and what they hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from lgg_monai.data.lost_slices import written_runs
from lgg_monai.data.patients import Patient, load_nifti
from lgg_monai.data.sequences import FLAIR, SEQUENCES
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


def file_problems(patient: Patient) -> list[str]:
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


def slice_problems(patient: Patient) -> list[str]:
    """List everything wrong with a patient's single slices; the reader itself stops at the first."""
    if patient.format == "nifti":
        return []
    problems = []
    for mask, find, read in ((False, image_files, read_slice), (True, mask_files, read_mask_slice)):
        shapes = {}
        try:
            paths = find(patient.image)
        except LggError:  # wrong file names are listed by file_problems
            continue
        for path in paths.values():
            try:
                shapes[path] = read(path).shape
            except LggError as error:
                problems.append(str(error))
        problem = shape_problem(patient.image, shapes, mask)
        problems += [] if problem is None else [problem]
    return problems


def array_problems(patient: Patient, image: np.ndarray, label: np.ndarray | None) -> list[str]:
    """List what is wrong with a patient's image ``[3, X, Y, Z]`` and mask ``[1, X, Y, Z]``, in themselves and together.

    Either may be of another shape, which is what is listed then.
    """
    if image.ndim != 4 or image.shape[0] != len(SEQUENCES):
        return image_problems(patient, image)
    if label is None:
        return [f"{patient.image} has no mask: add it"]
    if label.shape[1:] != image.shape[1:]:
        sizes = " and ".join(" x ".join(map(str, array.shape[1:])) for array in (image, label))
        return [f"image and mask of {patient.image} differ in size ({sizes}): export them alike"]
    problems = image_problems(patient, image)
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


def image_problems(patient: Patient, image: np.ndarray) -> list[str]:
    """List what makes an image no scan of three sequences ``[3, X, Y, Z]``."""
    if image.ndim != 4 or image.shape[0] != len(SEQUENCES):
        found = f"{image.shape[0]} sequence(s)"
        if image.ndim != 4:
            found = " x ".join(map(str, image.shape[1:])) + " voxels"  # of more axes than four, one after another
        way = f"join pre, FLAIR and post, or {_collected(patient)}"
        return [f"{patient.image} has {found}, expected {len(SEQUENCES)} sequences: {way}"]
    if not image.size:
        return [f"{patient.image} holds no voxels: replace the file"]
    if not np.isfinite(image).all():
        way = "replace them, such as by 0 in the air; `lgg-monai collect` and `predict` take NaN for air"
        return [f"{patient.image} holds NaN or infinite values: {way}"]
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
