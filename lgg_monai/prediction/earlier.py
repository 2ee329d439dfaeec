"""What an output folder holds already: results that need not be made again, and what is not to be replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from lgg_monai.data.scan import ScanSource
from lgg_monai.errors import LggError
from lgg_monai.files import PARTIAL, read_json
from lgg_monai.prediction.inputs import RESULT, earlier_result
from lgg_monai.prediction.outputs import WRITTEN, changed_masks


def source_digest(source: ScanSource) -> str:
    """Tell scans of one name apart without writing down their path, which may name a patient.

    A DICOM study has its own name, wherever it lies and whichever of its series is used.
    """
    return _digest(source, source.name if source.kind == "dicom" else source.path.resolve())


def _digest(source: ScanSource, what: object) -> str:
    return hashlib.sha256(f"{source.kind}\0{what}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def inputs_digest(source: ScanSource) -> str:
    """Tell whether a scan is what it was: its files and its reference mask by names, sizes and times, and their roles.

    Raises:
        LggError: one of its files is gone.
    """
    try:
        files: list[Any] = sorted(_state(path) for path in source.files)
    except OSError as error:  # whose text would name the path, and so perhaps the patient
        reason = error.strerror or type(error).__name__
        raise LggError(f"cannot read the files of {source.name} again ({reason}): leave them until the end") from None
    if source.roles:
        files.append(source.roles)
    if source.label is not None and source.label.is_file():  # of TIFF it is a folder, and the masks are among the files
        files.append(("label", *_state(source.label)))
    return hashlib.sha256(repr(files).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _state(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return path.name, state.st_size, state.st_mtime_ns


def is_done(folder: Path, source: ScanSource, settings: Container[str]) -> bool:
    """Tell whether a patient's results are complete and were made with these settings from this scan as it is now.

    Raises:
        LggError: they are of another scan of the same name.
    """
    if not (folder / RESULT).is_file():
        return False
    result = read_json(folder / RESULT, "result")
    if not is_of(result, source):
        raise LggError(f"{folder} holds the results of another scan of this name: --overwrite, or another --output")
    return bool(result.get("settings") in settings and result.get("inputs") == inputs_digest(source))


def is_of(result: Mapping[str, Any], source: ScanSource) -> bool:
    """Tell whether a result is of this scan, or of another one of the same name."""
    # Results of before 2026-11-26 have a DICOM scan's path here, and are made anew as they know nothing of its files.
    return result.get("source") in (source_digest(source), _digest(source, source.path.resolve()))


def require_free(folder: Path, source: ScanSource) -> None:
    """Prove that a patient's results would replace nothing but earlier ones that nobody has worked on.

    Raises:
        LggError: the scan's own files lie in the folder, or others that are no results; or the mask was changed.
    """
    if not folder.exists():
        return
    real = folder.resolve()
    own = {path.parent for path in source.files}
    if source.label is not None:
        own.add(source.label)
    if any(place.resolve().is_relative_to(real) for place in own):
        raise LggError(f"{folder} holds the scan itself: choose another --output")
    there = [name for name in WRITTEN if (folder / name).exists()]
    result = earlier_result(folder)
    if result is not None:
        if changed := changed_masks(folder, result):
            raise LggError(
                f"{folder / changed[0]} was changed after it was written: move it away, or choose another --output"
            )
    elif there and not any(folder.glob(f"{PARTIAL}*")):  # which an interrupted prediction leaves
        raise LggError(f"{folder / there[0]} is no earlier result: move it away, or choose another --output")
