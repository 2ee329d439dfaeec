"""DICOM series made from arrays: synthetic scans to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lgg_monai.dicom.geometry import LPS_TO_RAS

NAME = "Doe^Jane Secretname"
BORN = "19610203"
STUDY = generate_uid(entropy_srcs=["study"])
FRAME_OF_REFERENCE = generate_uid(entropy_srcs=["frame of reference"])


def rotated(affine: np.ndarray, degrees: tuple[float, float, float], origin: tuple[float, ...] = ()) -> np.ndarray:
    """Turn an affine about x, then y, then z, and move its first voxel to ``origin``."""
    turned = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = (i for i in range(3) if i != axis)
        turn = np.eye(4)
        turn[[one, one, other, other], [one, other, one, other]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        turned = turn @ turned
    result = turned @ affine
    if origin:
        result[:3, 3] = origin
    return result


def synthesise_series(
    folder: Path,
    volume: np.ndarray,
    affine: np.ndarray,
    description: str,
    number: int = 1,
    shuffle: int = 0,
    **tags: Any,
) -> list[Path]:
    """Write a volume as one MR image a slice, in files whose names and order say nothing.

    Args:
        folder: to write into, beside what is there.
        volume: unsigned values up to 65535 [X, Y, Z].
        affine: voxel indices to RAS millimetres, with axes at right angles, as in nibabel.
        description: SeriesDescription.
        number: SeriesNumber.
        shuffle: seed of the files' order and InstanceNumbers.
        tags: any others, in place of the defaults; None leaves one out.

    Returns:
        The files in the order of Z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    names = np.random.default_rng(shuffle).permutation(volume.shape[2])
    series = tags.pop("SeriesInstanceUID", generate_uid(entropy_srcs=[str(folder), description, str(number)]))
    files = []
    for z, name in enumerate(names):
        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(z)])
        dataset.StudyInstanceUID = STUDY
        dataset.SeriesInstanceUID = series
        dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
        dataset.PatientName = NAME
        dataset.PatientID = "HOSP-4711"
        dataset.PatientBirthDate = BORN
        dataset.PatientSex = "F"
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
        dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = f"12{number % 60:02d}00"
        dataset.AccessionNumber = "A12345"
        dataset.StudyID = "1"
        dataset.ReferringPhysicianName = "Who^Doctor"
        dataset.Manufacturer = "Synthetic"
        dataset.Modality = "MR"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        dataset.SeriesDescription = description
        dataset.SeriesNumber = number
        dataset.InstanceNumber = int(name) + 1
        dataset.BodyPartExamined = "BRAIN"
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in (lps @ [0, 0, z, 1])[:3]]
        dataset.ImageOrientationPatient = [f"{value:.10f}" for value in directions[:, :2].T.ravel()]
        dataset.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        dataset.SliceThickness = f"{spacing[2]:.6f}"
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Columns, dataset.Rows = volume.shape[:2]
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = 0
        dataset.PixelData = np.ascontiguousarray(volume[:, :, z].T, dtype="<u2").tobytes()
        for keyword, value in tags.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number}-{name:04d}"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return files
