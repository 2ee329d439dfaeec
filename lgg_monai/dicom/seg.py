"""Masks as DICOM SEG: writing one that refers to the FLAIR series it was drawn on, and reading any."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription, segread
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import lgg_monai
from lgg_monai.data.scan import Scan
from lgg_monai.dicom.geometry import UNEVEN_REFUSED
from lgg_monai.dicom.identity import quietly
from lgg_monai.dicom.load import DicomSource
from lgg_monai.errors import LggError
from lgg_monai.files import replacing

SEGMENT = "Glioma (FLAIR abnormality)"
ALGORITHM = "lgg_monai"
SERIES_NUMBER = 1000
"""Added to FLAIR's number, so that the mask stands apart from, and in the order of, the scanner's series."""
UNEVEN_STEP = 2 * UNEVEN_REFUSED
"""Largest change of a step between frames, as a share: of two neighbours in a series that is not refused."""
_COLOUR = highdicom.color.CIELabColor.from_rgb(214, 39, 148)

# What a SEG needs of its source. Nothing else is copied where the identity is not kept.
_KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "StudyDate", "StudyTime", "Modality", "ImageType", "LossyImageCompression"),
    *("Rows", "Columns", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
# Type 2 in DICOM's words: they must be there, and may be empty. Old files lack them.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_seg(path: Path, mask: np.ndarray, scan: Scan) -> None:
    """Write a binary DICOM SEG with one segment, at once or not at all.

    Every slice is written, empty ones too: the SEG then spans what the series spans, and no viewer takes the first
    frame with tumour for the first slice. An empty mask is a SEG of empty frames. The frames are in highdicom's
    order, each with its position.

    Args:
        path: of the file to write, ``.dcm``.
        mask: true in the tumour [X, Y, Z], on the scan's grid.
        scan: from `find_dicom`.

    Raises:
        LggError: FLAIR's files can no longer be read, or their headers are invalid.
        ValueError: the mask is not on the scan's grid, or the scan is not from DICOM.
    """
    source = scan.source
    if not isinstance(source, DicomSource):
        raise ValueError(f"{scan.name} was not read from DICOM")
    if mask.shape != scan.image.shape[1:]:
        raise ValueError(f"mask of shape {mask.shape} for a scan of shape {scan.image.shape[1:]}")
    headers = _source_headers(source)
    order = np.arange(len(source.frames))
    if len(headers) == 1:  # a multi-frame file: its frames in its own order, whatever theirs in space
        order = np.argsort([frame.index for frame in source.frames])
    # DICOM's frames are [rows, columns].
    frames = np.ascontiguousarray(mask.transpose(2, 1, 0)[order], dtype=np.uint8)
    with quietly():
        try:
            segmentation = _segmentation(headers, frames, source)
        except Exception:  # highdicom raises several kinds; the cause, not kept, may quote the header
            advice = "leave out --keep-identity" if source.keep_identity else "repair the headers"
            raise LggError(f"invalid values in the headers of {scan.name} make no DICOM SEG: {advice}") from None
        with replacing(path) as temporary:
            segmentation.save_as(temporary)


def read_seg(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read a DICOM SEG, whose segments are taken together.

    Returns:
        A mask ``[X, Y, Z]`` in the SEG's own order of axes, its affine to RAS [4, 4], and the names of its segments.

    Raises:
        LggError: it is no SEG, is damaged, or its frames do not lie evenly spaced.
    """
    with quietly():
        try:
            segmentation = segread(path)
            volume = _volume(segmentation)
        except MemoryError:
            raise
        except Exception:  # many kinds; the cause, not kept, may quote the header
            message = f"cannot read {path} as DICOM SEG with evenly spaced frames: export the segmentation again"
            raise LggError(message) from None
        names = tuple(
            str(segmentation.get_segment_description(number).segment_label) for number in segmentation.segment_numbers
        )
    marked = volume.array > 0.5  # [planes, rows, columns] and, where segments are apart, [segments]
    mask = np.asarray(marked.any(axis=tuple(range(3, marked.ndim)))) if marked.ndim > 3 else marked
    return mask, volume.get_affine("RAH"), names


def _volume(segmentation: Segmentation) -> highdicom.Volume:
    try:
        return segmentation.get_volume()
    except RuntimeError:
        # Scanners' slices are often a little uneven, and so are the frames of a mask on them. Frames must then not be
        # missing, as highdicom fills gaps by the smallest step, which such slices are no multiples of.
        return segmentation.get_volume(allow_missing_positions=False, rtol=UNEVEN_STEP)


def _segmentation(headers: list[Dataset], frames: np.ndarray, source: DicomSource) -> Segmentation:
    first, now = source.frames[0], datetime.now()
    number = int(headers[0].get("SeriesNumber") or 0)
    return Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment()],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER + (number if 0 < number < 1_000_000 else 0),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=ALGORITHM,
        manufacturer_model_name=ALGORITHM,
        software_versions=lgg_monai.__version__,
        device_serial_number="0",
        content_label="TUMOUR",
        content_description="Research use, not a medical device",
        series_description=f"{SEGMENT}, {ALGORITHM}",
        series_date=now.date(),
        series_time=now.time(),
        pixel_measures=highdicom.PixelMeasuresSequence(
            # The header's own SpacingBetweenSlices is often the gap, or missing.
            pixel_spacing=first.spacing or (1.0, 1.0),
            slice_thickness=first.thickness or source.step,
            spacing_between_slices=source.step,
        ),
        omit_empty_frames=False,
    )


def _segment() -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.NeoplasmPrimary,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=ALGORITHM, version=lgg_monai.__version__, family=codes.DCM.ArtificialIntelligence
        ),
        anatomic_regions=[codes.SCT.Brain],
        display_color=_COLOUR,
    )


def _source_headers(source: DicomSource) -> list[Dataset]:
    """Read FLAIR's headers along Z (once where it is one file), less the patient unless the identity is kept."""
    headers = []
    for path in dict.fromkeys(frame.path for frame in source.frames):
        try:
            with quietly():
                header: Dataset = dcmread(path, stop_before_pixels=True, force=True)
                headers.append(_in_unicode(header) if source.keep_identity else _without_patient(header, source.name))
        except Exception:  # pydicom raises many kinds; the cause, not kept, may quote the header
            raise LggError(f"cannot read the source images of {source.name} again: leave them until the end") from None
    for header in headers:
        # highdicom wants one orientation to the last digit; the geometry was proved on loading.
        if len(headers) > 1 and "ImageOrientationPatient" in headers[0]:
            header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        for keyword in _REQUIRED:
            if keyword not in header or not _valid(keyword, str(header[keyword].value)):
                setattr(header, keyword, "")
        # highdicom wants these two, though the first is not used: see pixel_measures.
        if not header.get("SliceThickness"):
            header.SliceThickness = source.step
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(header.SeriesInstanceUID)])
    return headers


def _in_unicode(header: Dataset) -> Dataset:
    """Let all texts be UTF-8: highdicom refuses sets that many scanners name, such as an empty first one of two."""
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    return header


def _valid(keyword: str, value: str) -> bool:
    """Tell whether highdicom accepts a value; of old files it refuses these."""
    if keyword == "PatientSex":
        return value in ("M", "F", "O")
    date = r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
    time = r"[0-2]\d([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
    pattern = {"StudyDate": date, "PatientBirthDate": date, "StudyTime": time}.get(keyword)
    return pattern is None or re.fullmatch(pattern, value) is not None


def _without_patient(header: Dataset, name: str) -> Dataset:
    kept = Dataset()
    kept.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _KEPT:
        if keyword in header:
            kept[keyword] = header[keyword]
    kept.SeriesNumber = header.get("SeriesNumber")
    kept.PatientName, kept.PatientID = f"{name}^", name  # a name without ^ is a form that DICOM has retired
    return kept
