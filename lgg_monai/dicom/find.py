"""Finding the scans in folders of DICOM files."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lgg_monai.data.scan import ScanSource, refused
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.dicom.search import dicom_files
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages

if TYPE_CHECKING:
    from lgg_monai.dicom.headers import Series

LOGGER = logging.getLogger(__name__)


def find_dicom(
    paths: list[Path],
    choices: dict[str, str] | None = None,
    keep_identity: bool = False,
    leave_out: Iterable[Path] = (),
) -> list[ScanSource]:
    """Find the scans in files and folders that may hold anything; only headers are read.

    A study is a scan. One without a FLAIR series is listed too: its ``load`` says in one line what it holds instead.

    Args:
        paths: files and folders, searched to any depth.
        choices: which series are to be used, by sequence (``flair``, ``pre``, ``post``): SeriesInstanceUID, number or
            description; ``none`` leaves out a T1.
        keep_identity: name scans by PatientID (and the study's pseudonym), and fill in the patient in a DICOM SEG.
        leave_out: folders that are not searched but where a path is one of them or lies in it.

    Returns:
        The scans, by path; empty where no file is DICOM.

    Raises:
        LggError: a choice means no series, or pydicom and highdicom are missing.
    """
    choices = dict(choices or {})
    unknown = sorted(choices.keys() - set(SEQUENCES))
    if unknown:
        raise LggError(f"unknown sequence {unknown[0]} in the choice of series: choose for {', '.join(SEQUENCES)}")
    files = dicom_files(paths, leave_out)
    if not files:
        return []
    require_packages("dicom", "pydicom", "highdicom", what=f"reading DICOM files in {paths[0]}")
    from lgg_monai.dicom.choose import LEFT_OUT, matches
    from lgg_monai.dicom.headers import read_series

    series, unreadable = read_series(files)
    for sequence, choice in choices.items():
        if choice != LEFT_OUT and not any(matches(one, choice) for one in series):
            listed = ", ".join(one.title for one in series[:8]) + (", …" if len(series) > 8 else "")
            found = f"no series matches {sequence}={choice} among {len(series)} ({listed})"
            raise LggError(f"{found}: give its number, description or SeriesInstanceUID")
    studies: dict[str, list[Series]] = {}
    for one in series:
        studies.setdefault(one.study, []).append(one)
    sources = [_study_source(study, choices, keep_identity, unreadable) for study in studies.values()]
    sources += _unreadable_sources(unreadable, series)
    return sorted(sources, key=lambda source: (source.path, source.name))


def _study_source(
    study: list[Series], choices: Mapping[str, str], keep_identity: bool, unreadable: list[Path]
) -> ScanSource:
    from pydicom.uid import MRImageStorage

    from lgg_monai.dicom.choose import select
    from lgg_monai.dicom.identity import same_person
    from lgg_monai.dicom.load import load_scan
    from lgg_monai.dicom.tags import text

    # An earlier run's SEG last, as it names its study in place of the patient.
    study = sorted(study, key=lambda one: text(one.header, "Modality").upper() == "SEG")
    name = _name(study[0], keep_identity)
    try:
        selection = select(study, choices)
    except LggError as error:
        return refused(_folder(study, keep_identity), str(error), name, "dicom")
    name = _name(selection.series["flair"], keep_identity)  # as a study may hold series under another number
    folders = {frame.path.parent for one in study for frame in one.frames}
    damaged = sum(file.parent in folders for file in unreadable)
    if damaged:
        selection.warnings.append(f"{damaged} damaged or incomplete DICOM files beside the scan are left out")
    for one in study:
        if one not in selection.series.values():
            LOGGER.info("%s: %s is not used", name, one.title)
    flair = selection.series["flair"]
    # highdicom refers to many files of one frame, or to one of many.
    seg = len({frame.path for frame in flair.frames}) == 1 or flair.header.SOPClassUID == MRImageStorage
    if not seg:
        selection.warnings.append(f"no DICOM SEG: {flair.title} lies in several files of many frames")
    # FLAIR's folder, as an earlier run's SEG belongs to the study too and may lie anywhere.
    path = _folder([flair], keep_identity)
    files = {frame.path for one in selection.series.values() for frame in one.frames}
    load = partial(load_scan, selection, name, keep_identity)
    roles = repr({sequence: one.uid for sequence, one in sorted(selection.series.items())})
    person = same_person(flair.patient_id, flair.people)
    return ScanSource(name, "dicom", path, load, files=tuple(sorted(files)), roles=roles, seg=seg, person=person)


def _name(series: Series, keep_identity: bool) -> str:
    from lgg_monai.dicom.identity import pseudonym

    name = pseudonym(series.study)
    if keep_identity and series.patient_id:
        # A patient may come with several studies, now or in a later run, so the study stays in the name.
        patient = re.sub(r"[^\w.-]+", "_", series.patient_id).strip("._")[:64]
        name = f"{patient or 'patient'}-{name.removeprefix('study-')}"
    return name


def _folder(series: list[Series], keep_identity: bool) -> Path:
    """Return the folder that holds all files of some series, or the nearest above that does not name the patient."""
    folders = {frame.path.parent for one in series for frame in one.frames}
    if len({folder.is_absolute() for folder in folders}) > 1:
        folders = {folder.absolute() for folder in folders}
    path = Path(os.path.commonpath(folders))
    return path if keep_identity else series[0].identity.nearest_neutral(path)


def _unreadable_sources(unreadable: Iterable[Path], series: list[Series]) -> list[ScanSource]:
    """List folders in which nothing but damaged DICOM files lies."""
    from lgg_monai.dicom.identity import pseudonym

    readable = {frame.path.parent for one in series for frame in one.frames}
    counts: dict[Path, int] = {}
    for file in unreadable:
        if file.parent not in readable:
            counts[file.parent] = counts.get(file.parent, 0) + 1
    return [
        refused(
            folder,
            f"damaged or incomplete DICOM files ({count}) in a folder without others: copy them again",
            pseudonym(str(folder)).replace("study", "damaged"),
            "dicom",
        )
        for folder, count in counts.items()
    ]
