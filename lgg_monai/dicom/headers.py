"""Reading headers, and sorting them into series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import MediaStorageDirectoryStorage

from lgg_monai.dicom.identity import Identity, Person, quietly
from lgg_monai.dicom.tags import number, numbers, text

_IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "PatientIdentityRemoved")
_SERIES = (
    *("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("SeriesNumber", "SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined"),
    *("Modality", "ImageType", "PhotometricInterpretation", "SamplesPerPixel", "NumberOfFrames"),
    *("ScanningSequence", "EchoPulseSequence", "EchoTime", "RepetitionTime", "InversionTime"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime"),
)
# Where an enhanced MR image says what one of a single frame says itself: functional group and attribute.
_GROUPED = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
}
_IMAGE = (
    *("SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_TAGS: list[BaseTag] = [Tag(keyword) for keyword in (*_IDENTITY, *_SERIES, *_IMAGE)]


@dataclass(frozen=True)
class Frame:
    """One slice: a file, or a frame of a multi-frame file.

    Args:
        path: of the file.
        index: of the frame in the file, from 0.
        uid: SOPInstanceUID.
        number: InstanceNumber, or the frame's number, for messages.
        shape: rows and columns.
        position: of the centre of the first voxel, in millimetres towards the patient's left, back and head (LPS).
        orientation: direction of a row, then of a column, in the same axes.
        spacing: millimetres between rows, then between columns.
        thickness: of the slice in millimetres, or 0 where unknown.
        slope, intercept: from stored to real values.
    """

    path: Path = field(repr=False)  # may hold the patient's name
    index: int
    uid: str
    number: int
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float
    slope: float
    intercept: float


@dataclass
class Series:
    """The slices of one series, in no order.

    Args:
        study: StudyInstanceUID.
        uid: SeriesInstanceUID.
        header: what its first file says of the series; without the patient.
        identity: what messages must not show.
        patient_id: PatientID.
    """

    study: str
    uid: str
    header: Dataset = field(repr=False)
    identity: Identity = field(repr=False)
    patient_id: str = field(repr=False)
    frames: list[Frame] = field(default_factory=list, repr=False)
    people: set[Person] = field(default_factory=set)

    @property
    def number(self) -> int:
        """SeriesNumber, or 0 where there is none."""
        return int(number(self.header, "SeriesNumber") or 0)

    @property
    def description(self) -> str:
        """SeriesDescription, or ProtocolName where there is none."""
        return text(self.header, "SeriesDescription") or text(self.header, "ProtocolName")

    @property
    def title(self) -> str:
        """How messages name it, such as ``series 5 "AX T2 FLAIR"``."""
        shown = self.identity.hide(self.description)[:60].replace('"', "'")
        return f'series {self.number} "{shown}"' if shown else f"series {self.number} (no description)"


def read_series(files: Iterable[Path]) -> tuple[list[Series], list[Path]]:
    """Read the headers of DICOM files, without pixels.

    A file that lies twice (one SOPInstanceUID) counts once, and a DICOMDIR not at all.

    Returns:
        The series in the order of their first files, and the files that cannot be read.
    """
    series: dict[tuple[str, str], Series] = {}
    seen: set[tuple[str, str]] = set()
    unreadable = []
    for path in files:
        read = _read(path)
        if read is None:
            unreadable.append(path)
            continue
        header, frames = read
        if _is_directory(header):
            continue
        # Files without the identifiers that group them are grouped by folder.
        study = text(header, "StudyInstanceUID") or str(path.parent)
        key = (study, text(header, "SeriesInstanceUID") or str(path.parent))
        identity = Identity.of(header)
        if key not in series:
            series[key] = Series(*key, _without_patient(header), identity, text(header, "PatientID"))
        series[key].people.add(identity.person)
        image = (key[1], frames[0].uid)
        if image not in seen:
            seen.add(image)
            series[key].frames.extend(frames)
    return list(series.values()), unreadable


def _read(path: Path) -> tuple[Dataset, list[Frame]] | None:
    """Read one header and the slices it describes; None where it is damaged, or of no DICOM object."""
    try:
        with quietly():
            header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            for keyword in (*_IDENTITY, *_SERIES, *_IMAGE):
                header.get(keyword)  # pydicom decodes a value, and finds it damaged, when it is first asked for
            frames = _frames(path, text(header, "SOPInstanceUID") or str(path), header)
    except Exception:  # pydicom raises many kinds on a damaged file
        return None
    return (header, frames) if "SOPClassUID" in header or _is_directory(header) else None


def _is_directory(header: Dataset) -> bool:
    """Tell a DICOMDIR, which lists other files, whatever its name."""
    return header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def _without_patient(header: Dataset) -> Dataset:
    kept = Dataset()
    for keyword in _SERIES:
        if keyword in header:
            kept[keyword] = header[keyword]
    shared, groups = _groups(header)
    for keyword, (group, attribute) in _GROUPED.items():
        value = _macro(group, groups[0], shared, Dataset()).get(attribute)
        if keyword not in kept and value:
            setattr(kept, keyword, value[0] if isinstance(value, MultiValue) else value)
    if "ScanningSequence" not in kept and text(header, "EchoPulseSequence") == "SPIN":
        kept.ScanningSequence = "SE"
    usage = _macro("ContrastBolusUsageSequence", groups[0], shared, Dataset())
    if text(usage, "ContrastBolusAgentAdministered") == "NO":
        kept.pop("ContrastBolusAgentSequence", None)  # which names the study's agent
    kept.file_meta = header.file_meta
    return kept


def _groups(header: Dataset) -> tuple[Dataset, list[Dataset]]:
    """Return what a multi-frame file says of all frames, and of each; of a file of one frame nothing, and itself."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    return shared, list(header.get("PerFrameFunctionalGroupsSequence") or [header])


def _frames(path: Path, uid: str, header: Dataset) -> list[Frame]:
    """List the slices of a file: one, or as many as a multi-frame file describes."""
    shared, groups = _groups(header)
    frames = []
    for index, group in enumerate(groups):
        measures = _macro("PixelMeasuresSequence", group, shared, header)
        rescale = _macro("PixelValueTransformationSequence", group, shared, header)
        position = _macro("PlanePositionSequence", group, shared, header)
        orientation = _macro("PlaneOrientationSequence", group, shared, header)
        slope = number(rescale, "RescaleSlope")
        frames.append(
            Frame(
                path=path,
                index=index,
                uid=uid,
                number=int(number(header, "InstanceNumber") or 0) if len(groups) == 1 else index + 1,
                shape=(int(number(header, "Rows") or 0), int(number(header, "Columns") or 0)),
                position=numbers(position, "ImagePositionPatient", 3),
                orientation=numbers(orientation, "ImageOrientationPatient", 6),
                spacing=numbers(measures, "PixelSpacing", 2),
                thickness=number(measures, "SliceThickness") or 0.0,
                slope=1.0 if slope is None else slope,
                intercept=number(rescale, "RescaleIntercept") or 0.0,
            )
        )
    return frames


def _macro(name: str, group: Dataset, shared: Dataset, header: Dataset) -> Dataset:
    """Return where a functional group's attributes stand: for this frame, for all frames, or in the header itself."""
    sequence = group.get(name) or shared.get(name)
    return sequence[0] if sequence else header
