"""Reports of patients that were read before and have not changed since."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lgg_monai.data.channels import require_order
from lgg_monai.data.identity import code_state, files_state, short_hash
from lgg_monai.data.integrity import DatasetReport, PatientReport, inspect_dataset, inspect_patient, require_sound
from lgg_monai.data.lost_slices import lost_slices
from lgg_monai.data.patient_problems import image_problems
from lgg_monai.data.patients import Patient, read_patient
from lgg_monai.data.spacing import spacing_of
from lgg_monai.data.tiff_stack import TiffStackReader
from lgg_monai.data.volume_cache import cache_folder, chosen_folder
from lgg_monai.files import write_json
from lgg_monai.progress import ProgressLines, followed

logger = logging.getLogger(__name__)

REPORTS = "reports"


class ReportCache:
    """One small file a patient, found by the state of the patient's files and of the code that reads them.

    Only reports without problems are kept. A damaged file is noticed by its checksum and made anew.

    Args:
        folder: holds all caches; None keeps nothing.
    """

    def __init__(self, folder: str | Path | None) -> None:
        folder = chosen_folder(folder)
        self.folder = None if folder is None else folder / REPORTS
        # One of each module.
        readers = (inspect_patient, image_problems, read_patient, TiffStackReader, lost_slices, spacing_of)
        self._code = "" if folder is None else code_state(*readers)

    def report(self, patient: Patient) -> PatientReport:
        """Return what is known of a patient, or read it."""
        path = self._path(patient)
        if path is None:
            return inspect_patient(patient)
        kept = _read(path, patient)
        if kept is not None:
            return kept
        report = inspect_patient(patient)
        # Files that changed while they were read belong to neither name.
        if not report.problems and self._path(patient) == path:
            try:
                cache_folder(path.parent.parent)
                for outdated in path.parent.glob(f"{path.name.split('-')[0]}-*"):
                    outdated.unlink(missing_ok=True)
                write_json(path, _sealed(report))
            except OSError as error:
                logger.warning("cannot write to the cache %s (%s): every start will read all", path, error.strerror)
                self.folder = None
        return report

    def _path(self, patient: Patient) -> Path | None:
        if self.folder is None:
            return None
        paths = [path.absolute() for path in (patient.image, patient.label) if path is not None]
        state = files_state(paths)
        if state is None:
            return None
        place = short_hash("\n".join([patient.name, *map(str, paths)]))
        return self.folder / f"{place[:16]}-{state[:16]}-{self._code[:16]}.json"


def _sealed(report: PatientReport) -> dict[str, Any]:
    content = {name: value for name, value in asdict(report).items() if name not in ("patient", "problems")}
    content["digests"] = sorted(report.digests)
    return {"content": content, "checksum": short_hash(json.dumps(content, sort_keys=True))}


def _read(path: Path, patient: Patient) -> PatientReport | None:
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        content = sealed["content"]
        if sealed["checksum"] != short_hash(json.dumps(content, sort_keys=True)):
            raise ValueError("checksum")
        content |= {name: tuple(content[name]) for name in ("size", "spacing", "copied") if content[name] is not None}
        content["digests"] = frozenset(content["digests"])
        return PatientReport(patient, **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the cached report %s is damaged (%s) and is made anew", path, type(error).__name__)
        return None


def _logged(patients: Iterable[Patient]) -> Iterator[Patient]:
    lines = ProgressLines(partial(logger.info, "reading the data set: %s"))
    return followed(list(patients), lines, lambda patient: patient.name)


def sound_report(dataset_dir: str | Path, cache_dir: str | Path | None) -> DatasetReport:
    """Read the data set, but for what was read before and has not changed, and refuse one with problems.

    Raises:
        LggError: names the problems.
    """
    require_order(Path(dataset_dir))  # before thousands of patients are read
    report = inspect_dataset(Path(dataset_dir), _logged, ReportCache(cache_dir).report)
    require_sound(report)
    return report
