"""NIfTI files that dcm2niix made of DICOM series: what each is, and whose, told by the sidecar that it wrote beside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgg_monai.data.file_names import parse, stem
from lgg_monai.extras import require_packages

if TYPE_CHECKING:
    from pydicom import Dataset

_TEXTS = ("Modality", "BodyPartExamined", "SeriesDescription", "ProtocolName", "StudyDescription")
_LONGEST_TEXT = 64  # in DICOM, from where it comes
_SECONDS = ("EchoTime", "RepetitionTime", "InversionTime")
_WORD = re.compile(r"[^\W_]+")
# Slices put at equal distances, or upright, by dcm2niix: the volume beside it is not.
_CORRECTED = re.compile(r"(_(Eq|Tilt)_\d+)+$")


@dataclass(frozen=True)
class Converted:
    """A converted series.

    Args:
        role: the sequence, or ``other``.
        patient: what is left of the file's name without number and description of the series, which the files of a
            study share; may be empty.
        plane: the anatomical plane of its slices, or empty.
        derived: whether the scanner calculated it from another series.
        corrected: whether dcm2niix resampled it, as slices were at unequal distances or tilted.
        number: of the series.
    """

    role: str
    patient: str
    plane: str
    derived: bool
    corrected: bool
    number: int


def converted_series(files: Iterable[Path]) -> dict[Path, Converted]:
    """Read what dcm2niix noted of a folder's NIfTI files.

    Names alone do not group such files: each has its series' number and description in it, in an order that the user
    chose (``-f``, by default ``%f_%p_%t_%s``: ``patient_Ax_T2_FLAIR_20200131093000_5.nii.gz``).

    Returns:
        The series by file; nothing where dcm2niix made none of them, or somebody named some otherwise, as in BIDS.

    Raises:
        LggError: pydicom, which tells sequences, is not installed.
    """
    notes = {path: note for path in files if (note := _sidecar(path)) and parse(path.name).role != "mask"}
    patients = {path: _patient(stem(path.name), note) for path, note in notes.items()}
    if not notes or None in patients.values():
        return {}
    require_packages("dicom", "pydicom", what=f"telling what dcm2niix converted in {next(iter(notes)).parent}")
    return {path: _converted(path, note, patients[path] or "") for path, note in notes.items()}


def preference(series: Converted, plane: str) -> tuple[bool, bool, bool, int]:
    """Rank the series of one sequence, the best lowest: in a plane, original, corrected, later."""
    return series.plane != plane, series.derived, not series.corrected, -series.number


def _patient(name: str, note: dict[str, Any]) -> str | None:
    return None if name.lower().startswith("sub-") else _without_series(_CORRECTED.sub("", name), note)


def _converted(path: Path, note: dict[str, Any], patient: str) -> Converted:
    from lgg_monai.dicom.sequences import kind_of_header

    header = _header(note)
    return Converted(
        role=kind_of_header(header).sequence or "other",
        patient=patient,
        plane=_plane(note),
        derived=bool({"DERIVED", "SECONDARY"}.intersection(header.ImageType)),
        corrected=bool(_CORRECTED.search(stem(path.name))),
        number=note["SeriesNumber"],
    )


def _sidecar(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.with_name(f"{stem(path.name)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(note, dict) and note.get("ConversionSoftware") == "dcm2niix"
    return note if known and isinstance(note.get("SeriesNumber"), int) else None


def _without_series(name: str, note: dict[str, Any]) -> str | None:
    """Take the series' description or protocol, and its number, out of a name; None where it has neither."""
    words = [(match.group().lower(), match.span()) for match in _WORD.finditer(name)]
    taken: set[int] = set()
    for key in ("SeriesDescription", "ProtocolName"):
        sought = [word.lower() for word in _WORD.findall(str(note.get(key, "")))]
        for place in range(len(words) - len(sought), -1, -1):
            if sought and [word for word, _ in words[place : place + len(sought)]] == sought:
                taken.update(range(place, place + len(sought)))
                break
    # Counted up with letters where two volumes of a series would have had one name.
    number = re.compile(rf"0*{note['SeriesNumber']}[a-z]?")
    places = [place for place, (word, _) in enumerate(words) if place not in taken and number.fullmatch(word)]
    taken.update(places[-1:])
    if not taken:
        return None
    return "_".join(name[slice(*span)] for place, (_, span) in enumerate(words) if place not in taken)


def _header(note: dict[str, Any]) -> Dataset:
    """Make of a sidecar what the series' own header said, as far as `kind_of` asks."""
    from pydicom import Dataset, uid

    header = Dataset()
    # dcm2niix converts other classes too, but says only of a few what they were.
    header.SOPClassUID = uid.MRImageStorage
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    for key in _TEXTS:
        if isinstance(note.get(key), str):
            setattr(header, key, note[key][:_LONGEST_TEXT])
    for key in _SECONDS:
        if isinstance(note.get(key), int | float):
            setattr(header, key, round(1000 * note[key], 3))
    header.ImageType = [str(value).upper() for value in _list(note.get("ImageType"))]
    header.ScanningSequence = re.split(r"[\\_]", str(note.get("ScanningSequence", "")))
    header.ContrastBolusAgent = str(note.get("ContrastBolusIngredient", ""))[:_LONGEST_TEXT]
    return header


def _plane(note: dict[str, Any]) -> str:
    orientation = _list(note.get("ImageOrientationPatientDICOM"))
    if len(orientation) != 6 or not all(isinstance(value, int | float) for value in orientation):
        return ""
    from lgg_monai.dicom.geometry import nearest_plane

    return nearest_plane(orientation)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
