"""One folder a patient, written so that its last file says it is complete, and the table over all of them."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.sequences import FLAIR
from lgg_monai.data.tiff_stack import TiffStackReader
from lgg_monai.errors import LggError
from lgg_monai.files import PARTIAL, read_json, replacing, sha256, write_json
from lgg_monai.prediction.inputs import RESULT
from lgg_monai.prediction.masks import load_mask
from lgg_monai.prediction.measurements import DEFINITIONS
from lgg_monai.prediction.nifti import write_volume
from lgg_monai.prediction.scan import Scan, ScanSource

MASK, PROBABILITY, FLAIR_VOLUME, REFERENCE, SEG = (
    "mask.nii.gz", "probability.nii.gz", "flair.nii.gz", "reference.nii.gz", "seg.dcm",
)  # fmt: skip
MEASUREMENTS, SETTINGS = "measurements.csv", "settings.json"
# Names that the output folder gives to something else.
RESERVED = {"viewer", MEASUREMENTS, SETTINGS, "report.html"}


@dataclass
class Prediction:
    """What is known of one scan when it is done.

    Args:
        scan: that was segmented.
        mask: boolean [X, Y, Z].
        probability: alike, 0 to 1.
        measurements: see `lgg_monai.prediction.measurements.DEFINITIONS`.
        warnings: what a reader of the results should know.
        label: the reference mask, where there is one.
    """

    scan: Scan
    mask: np.ndarray
    probability: np.ndarray
    measurements: dict[str, Any]
    warnings: list[str]
    label: np.ndarray | None = None


def patient_folder(output: Path, name: str) -> Path:
    """Return a patient's folder.

    Raises:
        LggError: a link lies in its place, which would lead out of the output folder.
    """
    folder = output / (f"{name}_" if name.casefold() in RESERVED else name)
    if folder.is_symlink():
        raise LggError(f"{folder} is a link: remove it, or choose another --output")
    return folder


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


def is_done(folder: Path, source: ScanSource, settings: str) -> bool:
    """Tell whether a patient's results are complete and were made with these settings from this scan as it is now.

    Raises:
        LggError: they are of another scan of the same name.
    """
    if not (folder / RESULT).is_file():
        return False
    result = read_json(folder / RESULT, "result")
    # Results of before 2026-11-26 have a DICOM scan's path here, and are made anew as they know nothing of its files.
    if result.get("source") not in (source_digest(source), _digest(source, source.path.resolve())):
        raise LggError(f"{folder} holds the results of another scan of this name: --overwrite, or another --output")
    return bool(result.get("settings") == settings and result.get("inputs") == inputs_digest(source))


def read_label(source: ScanSource, scan: Scan) -> np.ndarray | None:
    """Read the reference mask beside a scan; one that cannot be used is a warning, as it is not needed."""
    if source.label is None:
        return None
    try:
        if source.kind == "tiff":
            reader = TiffStackReader(mask=True)
            label, _ = reader.get_data(reader.read(source.label))
            if label.shape[1:] != scan.image.shape[1:]:
                raise LggError(f"the masks in {source.label} are not of the slices' size or number")
            return label[0] > 0
        return load_mask(source.label, scan)
    except LggError as error:
        scan.warnings.append(f"reference mask left out: {error}")
        return None


def write_prediction(
    folder: Path, source: ScanSource, prediction: Prediction, settings: str, *, probabilities: bool, viewed: bool
) -> dict[str, Any]:
    """Write a patient's folder; ``result.json`` comes last, so a folder that holds it is complete.

    Args:
        folder: of the patient.
        source: of the scan.
        prediction: to write.
        settings: digest of what it was made with.
        probabilities: write the probability map.
        viewed: write FLAIR and the reference mask too, for the report.

    Returns:
        What `read_results` would read of it.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    scan = prediction.scan
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [folder / name for name in (RESULT, MASK, PROBABILITY, FLAIR_VOLUME, REFERENCE, SEG)]
    for path in (*earlier, *folder.glob(f"{PARTIAL}*")):  # the latter where it was killed
        path.unlink(missing_ok=True)
    write_volume(folder / MASK, prediction.mask.astype(np.uint8), scan)
    if probabilities:
        write_volume(folder / PROBABILITY, prediction.probability.astype(np.float32), scan)
    if viewed:
        write_volume(folder / FLAIR_VOLUME, compact(scan.image[FLAIR]), scan)
        if prediction.label is not None:
            write_volume(folder / REFERENCE, prediction.label.astype(np.uint8), scan)
    if source.kind == "dicom":
        from lgg_monai.dicom import write_seg

        write_seg(folder / SEG, prediction.mask, scan)
    content = {
        "patient": source.name,
        "mask": sha256(folder / MASK),
        "kind": source.kind,
        "source": source_digest(source),
        "inputs": inputs_digest(source),
        "settings": settings,
        "phantom": source.phantom,
        "spacing_known": scan.spacing_known,
        "missing_sequences": list(scan.missing),
        "measurements": prediction.measurements,
        "warnings": prediction.warnings,
    }
    write_json(folder / RESULT, content)
    return {**content, "folder": folder}


def read_results(output: Path, settings: str) -> list[dict[str, Any]]:
    """Read the results of all patients in the output folder that were made with these settings, by name."""
    found = []
    for path in sorted(output.glob(f"*/{RESULT}")):
        result = read_json(path, "result")
        if result.get("settings") == settings:
            found.append({**result, "folder": path.parent})
    return found


def write_table(output: Path, results: list[dict[str, Any]]) -> Path:
    """Write ``measurements.csv``: a row a patient, a column a measurement; what is not defined is empty."""
    path = output / MEASUREMENTS
    columns = ["patient", "input", "missing_sequences", *DEFINITIONS, "warnings"]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for result in results:
            writer.writerow(
                {
                    "patient": result["patient"],
                    "input": result["kind"],
                    "missing_sequences": " ".join(result["missing_sequences"]),
                    **{name: result["measurements"].get(name) for name in DEFINITIONS},
                    "warnings": "; ".join(result["warnings"]),
                }
            )
    return path


def compact(volume: np.ndarray) -> np.ndarray:
    """Return a volume of whole numbers in the smallest type that holds them."""
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= volume.min() and volume.max() <= limits.max and np.array_equal(volume, np.rint(volume)):
            return volume.astype(dtype)
    return volume.astype(np.float32)
