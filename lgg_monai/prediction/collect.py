"""Making a data set to train on out of scans and the masks that people outlined or corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.convert import decathlon, require_empty, whole, write_nifti
from lgg_monai.data.file_names import is_nifti, parse, safe_name
from lgg_monai.data.phantom import PHANTOM_MARKER
from lgg_monai.data.scan import Scan, ScanSource
from lgg_monai.errors import LggError
from lgg_monai.files import read_object, writable_folder, write_json, write_text
from lgg_monai.prediction.earlier import inputs_digest, is_of
from lgg_monai.prediction.failures import reason_of, writing
from lgg_monai.prediction.geometry import place
from lgg_monai.prediction.inputs import COLLECTED, RESULT, earlier_result
from lgg_monai.prediction.masks import SUFFIXES, load_mask
from lgg_monai.prediction.outputs import (
    MASK,
    SEG,
    WRITTEN,
    changed_masks,
    compact,
    mask_digest,
    patient_folder,
    read_label,
)
from lgg_monai.prediction.steps import load
from lgg_monai.progress import Progress

DESCRIPTION = (
    "Pre-contrast, FLAIR and post-contrast as `lgg-monai predict` lays them out for its networks, and a mask each. "
    "A sequence that a patient lacks is a copy of FLAIR."
)
AS_PREDICTED = "is as predict wrote it: correct it, or take such masks with --accept-unchanged"


@dataclass
class Collected:
    """What became of the scans.

    Args:
        patients: names of those in the data set.
        left: why others were left out, by name, though nothing is wrong with them.
        failed: why others could not be used, by name.
        warnings: what a user should know of those in the data set, by name.
    """

    patients: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)


def collect(
    sources: list[ScanSource],
    output: Path,
    masks: Path | None = None,
    *,
    accept_unchanged: bool = False,
    keep_identity: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Write scans that have a mask as a data set in the Medical Segmentation Decathlon's layout.

    Images and masks lie as `lgg_monai.prediction.segmenter.Segmenter` shows scans to its networks: axial slices, turned
    and, where pixels are of another size, resampled in plane. ``dataset.json`` is written last: a folder that holds one
    is complete.

    Args:
        sources: from `lgg_monai.prediction.inputs.find_scans`.
        output: an empty folder, or one to create.
        masks: folder with a mask of FLAIR's voxels for each scan: ``<name>/mask.nii.gz``, as ``predict`` writes
            them, what was saved beside it (``<name>/*.seg.nrrd``, ``*.dcm``, ``Segmentation.nii.gz``), ``<name>`` with
            one of `lgg_monai.prediction.masks.SUFFIXES`, or at any depth a NIfTI file that is named as a mask beside
            the scan would be (``<name>_seg.nii.gz``); by default the masks that lie beside the scans.
        accept_unchanged: take also masks that are as ``predict`` wrote them.
        keep_identity: paths of DICOM files may be shown.
        progress: called after each scan with how many are done, how many there are, and its name.

    Raises:
        LggError: the output folder is not empty or cannot be written, there is no folder of masks, or no scan has one.
    """
    require_folders(output, masks)
    for source in sources:
        if masks is not None and source.path.resolve().is_relative_to(masks.resolve()):
            raise LggError(
                f"scans lie in the --masks {masks}, such as {source.path}: leave --masks out where masks lie beside "
                "their scans, else give a folder that holds masks alone"
            )
    output = writable_folder(output, choose="another with --output")
    done = Collected()
    names = names_by_person(sources)
    named = {} if masks is None else _named_masks(masks)
    with whole(output):
        for number, source in enumerate(sources, start=1):
            name = names[source.name]
            try:
                found = _masks_of(source, masks, named)
                why_not = _write(source, name, output, masks, found, accept_unchanged, done)
                if why_not:
                    done.left[source.name] = why_not
                else:
                    done.patients.append(name)
            except Exception as error:  # one bad scan must not stop the others
                done.failed[source.name] = reason_of(error, source, output, keep_identity)
            if progress is not None:
                progress(number, len(sources), source.name)
        if not done.patients:
            name, why = next(iter((done.failed | done.left).items()))
            raise LggError(f"none of {len(sources)} scans can be trained on, such as {name}: {why}")
        with writing(output):
            if any(source.phantom for source in sources if names[source.name] in done.patients):
                write_text(output / PHANTOM_MARKER, "Synthetic patients among these, not people.\n")
            about = {"name": COLLECTED, "description": DESCRIPTION}
            write_json(output / "dataset.json", about | decathlon(done.patients))
    return done


def require_folders(output: Path, masks: Path | None) -> None:
    """Refuse folders that `collect` cannot use, as is known before any scan is looked for.

    Raises:
        LggError: the output folder is not empty, or there is no folder of masks.
    """
    require_empty(output)
    if masks is not None and not masks.is_dir():
        raise LggError(f"no folder {masks}: give that of the masks, such as the --output of predict, with --masks")


def names_by_person(sources: list[ScanSource]) -> dict[str, str]:
    """Name scans so that no split parts one person's, as DICOM studies have a pseudonym each.

    Returns:
        Names in the data set by the scan's own. They are as BIDS has them (`lgg_monai.data.people.person_of`) where
        scans share a person, else unchanged; unchanged too where all share one, as sets are anonymised by one PatientID
        for all.
    """
    names = {source.name: source.name for source in sources}
    people: dict[str, list[str]] = {}
    for source in sources:
        if source.person:
            people.setdefault(source.person, []).append(source.name)
    if len(people) > 1:
        for scans in people.values():
            words = {name: name.removeprefix("study-").replace("_", "-") for name in sorted(scans)}
            if len(scans) > 1:
                first = next(iter(words.values()))
                names |= {name: f"sub-{first}_ses-{word}" for name, word in words.items()}
    return names


def _write(
    source: ScanSource,
    name: str,
    output: Path,
    masks: Path | None,
    found: list[Path],
    accept_unchanged: bool,
    done: Collected,
) -> str | None:
    """Write a patient with one of the masks found, or say why it is left out."""
    if not found:
        where = "beside it"
        if masks is not None:
            forms = f"{source.name}/{MASK}, {source.name}_seg.nii.gz, or {source.name}.nii.gz, .seg.nrrd or .dcm"
            where = f"in {masks} (as {forms})"
        return f"no mask {where}"
    changed = [path for path in found if not _is_as_predicted(path)]
    if len(changed) > 1:
        raise LggError(f"{' and '.join(map(str, changed))} are both masks of it: keep one")
    path = (changed or found)[0]
    ignored = [] if changed else _unknown_beside(path)
    if not changed and not accept_unchanged:
        return "; ".join([f"{path} {AS_PREDICTED}", *ignored])
    predicted = {} if masks is None or path.parent == masks else _require_of(path.parent, source)
    scan = load(source)
    label = _label(source, scan, path, masks)
    if not accept_unchanged and predicted.get("mask_voxels") == mask_digest(label):  # though its file is another
        return f"{path} {AS_PREDICTED}"
    placement = place(scan.image.shape[1:], scan.affine, scan.spacing_known)
    laid_out = placement.lay_out(label[None].astype(np.float32))[0] > 0.5
    if not laid_out.any():
        return f"the mask {path} is empty"
    image = compact(np.moveaxis(placement.lay_out(scan.image), 0, -1))
    affine = placement.affine(scan.affine, scan.image.shape[1:])
    write_nifti(image, affine, output / "imagesTr" / f"{name}.nii.gz")
    write_nifti(laid_out.astype(np.uint8), affine, output / "labelsTr" / f"{name}.nii.gz")
    renamed = [f"called {name} in the set, as it has other scans of this person"] if name != source.name else []
    missing = [f"missing sequences, replaced by FLAIR: {' '.join(scan.missing)}"] if scan.missing else []
    if notes := [*renamed, *ignored, *scan.warnings, *placement.notes, *missing]:
        done.warnings[source.name] = notes
    return None


def _label(source: ScanSource, scan: Scan, path: Path, masks: Path | None) -> np.ndarray:
    if masks is not None:
        return load_mask(path, scan)
    label = read_label(source, scan)
    if label is None:  # here it is needed, so what is a warning elsewhere is the reason
        raise LggError(scan.warnings.pop().removeprefix("reference mask left out: "))
    return label


def _named_masks(folder: Path) -> dict[str, list[Path]]:
    """List the NIfTI files at any depth whose names say that they are masks, as BIDS has them, by whose they are."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if is_nifti(path.name) and (parsed := parse(path.name)).role == "mask" and parsed.patient:
            found.setdefault(safe_name(parsed.patient), []).append(path)
    return found


def _masks_of(source: ScanSource, masks: Path | None, named: Mapping[str, list[Path]]) -> list[Path]:
    if masks is None:
        return [] if source.label is None else [source.label]
    folder = patient_folder(masks, source.name)
    candidates = [
        folder / MASK,
        *sorted([*folder.glob("*.seg.nrrd"), *folder.glob("*.dcm")]),
        *(path for path in sorted(folder.glob("*")) if path.name != MASK and _is_nameless_mask(path.name)),
        *(masks / f"{source.name}{suffix}" for suffix in SUFFIXES),
        *named.get(source.name, []),
    ]
    return [path for path in candidates if path.is_file()]


def _is_nameless_mask(name: str) -> bool:
    parsed = parse(name)
    return is_nifti(name) and parsed.role == "mask" and not parsed.patient


def _unknown_beside(mask: Path) -> list[str]:
    """Say of a volume beside a mask that nobody changed, which may be the corrected one, that it is not taken."""
    for path in sorted(mask.parent.iterdir()):
        if (is_nifti(path.name) or path.suffix.lower() == ".nrrd") and path.name not in WRITTEN:
            return [f"{path.name} beside it is no mask by its name: if it is, save it over {MASK}"]
    return []


def _is_as_predicted(path: Path) -> bool:
    """Tell whether a file is the one that ``predict`` wrote: it would teach a network what it says already."""
    result = path.with_name(RESULT)
    if path.name not in (MASK, SEG) or not result.is_file():
        return False
    return path.name not in changed_masks(path.parent, read_object(result, "result"))


def _require_of(folder: Path, source: ScanSource) -> dict[str, Any]:
    """Return the result that lies beside a patient's mask, if any, proven to be of this scan, wherever it lies now."""
    result = earlier_result(folder)
    if result is None:
        return {}
    if not is_of(result, source) and result.get("inputs") != inputs_digest(source):
        raise LggError(
            f"{folder} holds the results of another scan of this name: if the mask is this one's, put it into a folder "
            f"of its own as {source.name}.nii.gz"
        )
    return result
