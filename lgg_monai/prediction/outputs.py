"""One folder a patient, written so that its last file says it is complete, and the table over all of them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.data.sequences import FLAIR
from lgg_monai.data.tiff_stack import TiffStackReader, image_files, mask_files
from lgg_monai.errors import LggError
from lgg_monai.files import PARTIAL, read_json, replacing, sha256, write_json
from lgg_monai.prediction.inputs import RESULT, SETTINGS
from lgg_monai.prediction.masks import load_mask
from lgg_monai.prediction.measurements import DEFINITIONS
from lgg_monai.prediction.nifti import write_volume
from lgg_monai.viewer import PAGE

MASK, PROBABILITY, FLAIR_VOLUME, REFERENCE, SEG = (
    "mask.nii.gz", "probability.nii.gz", "flair.nii.gz", "reference.nii.gz", "seg.dcm",
)  # fmt: skip
MEASUREMENTS, REPORT = "measurements.csv", PAGE
WRITTEN = (RESULT, MASK, PROBABILITY, FLAIR_VOLUME, REFERENCE, SEG)
"""What a patient's folder may hold."""
# Names that the output folder gives to something else.
RESERVED = {"viewer", MEASUREMENTS, SETTINGS, REPORT}


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


def read_label(source: ScanSource, scan: Scan) -> np.ndarray | None:
    """Read the reference mask beside a scan; one that cannot be used is a warning, as it is not needed."""
    if source.label is None:
        return None
    try:
        if source.kind == "tiff":
            reader = TiffStackReader(mask=True)
            label, _ = reader.get_data(reader.read(source.label))
            if image_files(source.label).keys() != mask_files(source.label).keys():
                raise LggError(f"the masks in {source.label} are not of the same numbers as the slices")
            if label.shape[1:] != scan.image.shape[1:]:
                raise LggError(f"the masks in {source.label} are not of the slices' size or number")
            return label[0] > 0
        return load_mask(source.label, scan)
    except LggError as error:
        scan.warnings.append(f"reference mask left out: {error}")
        return None


def write_prediction(
    folder: Path,
    source: ScanSource,
    prediction: Prediction,
    made_from: Mapping[str, str],
    *,
    probabilities: bool,
    viewed: bool,
) -> dict[str, Any]:
    """Write a patient's folder; ``result.json`` comes last, so a folder that holds it is complete.

    What lies there of an earlier prediction is removed first: see `lgg_monai.prediction.earlier.require_free`.

    Args:
        folder: of the patient.
        source: of the scan.
        prediction: to write.
        made_from: digests of what it was made from and with: ``source``, ``inputs`` and ``settings``.
        probabilities: write the probability map.
        viewed: write FLAIR and the reference mask too, for the report.

    Returns:
        What `read_results` would read of it.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    scan = prediction.scan
    with _emptied(folder):
        write_volume(folder / MASK, prediction.mask.astype(np.uint8), scan)
        if probabilities:
            write_volume(folder / PROBABILITY, prediction.probability.astype(np.float32), scan)
        if viewed:
            write_volume(folder / FLAIR_VOLUME, compact(scan.image[FLAIR]), scan)
            if prediction.label is not None:
                write_volume(folder / REFERENCE, prediction.label.astype(np.uint8), scan)
        if source.seg:
            from lgg_monai.dicom.seg import write_seg

            write_seg(folder / SEG, prediction.mask, scan)
        content = {
            "patient": source.name,
            "mask": sha256(folder / MASK),
            "seg": sha256(folder / SEG) if source.seg else None,
            "mask_voxels": mask_digest(prediction.mask),
            "kind": source.kind,
            **made_from,
            "phantom": source.phantom,
            "spacing_known": scan.spacing_known,
            "missing_sequences": list(scan.missing),
            "measurements": prediction.measurements,
            "warnings": prediction.warnings,
        }
        write_json(folder / RESULT, content)
    return {**content, "folder": folder}


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Take earlier results out of a patient's folder, and what is written in the block too where it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = folder / f"{PARTIAL}result"  # while it lies there, as where it was killed, the rest is ours to remove
    begun.touch()
    results = [folder / name for name in WRITTEN]
    for path in (*results, *(left for left in folder.glob(f"{PARTIAL}*") if left != begun)):
        path.unlink(missing_ok=True)
    try:
        yield
    except Exception:
        for path in results:
            path.unlink(missing_ok=True)
        raise
    finally:
        begun.unlink()


def mask_digest(mask: np.ndarray) -> str:
    """Hash the voxels of a mask ``[X, Y, Z]``, in whatever form a file holds them."""
    voxels = np.packbits(np.ascontiguousarray(mask, dtype=bool)).tobytes()
    return hashlib.sha256(repr(mask.shape).encode() + voxels).hexdigest()


def read_results(output: Path, settings: Container[str]) -> list[dict[str, Any]]:
    """Read the results of all patients in the output folder that were made with these settings, by name.

    A mask that somebody changed since has a warning: its measurements are those of the mask before.
    """
    found = []
    for path in sorted(output.glob(f"*/{RESULT}")):
        result = read_json(path, "result")
        if result.get("settings") not in settings:
            continue
        if changed := changed_masks(path.parent, result):
            others = [name for name in (MASK, SEG) if name not in changed and (path.parent / name).is_file()]
            was = "was changed after it was" if len(changed) == 1 else "were changed after they were"
            older = " and ".join(["measurements", *others])
            note = f"{' and '.join(changed)} {was} written: {older} are of the mask before"
            result["warnings"] = [*result["warnings"], note]
        found.append({**result, "folder": path.parent})
    return found


def changed_masks(folder: Path, result: Mapping[str, Any]) -> list[str]:
    """List the files of a patient's mask that are others than were written; results of old do not tell."""
    written = {MASK: result.get("mask"), SEG: result.get("seg")}
    there = {name: digest for name, digest in written.items() if digest and (folder / name).is_file()}
    return [name for name, digest in there.items() if sha256(folder / name) != digest]


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
