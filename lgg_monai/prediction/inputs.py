"""Finding the scans in whatever files and folders the user names."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.data.channels import DATASET_JSON
from lgg_monai.data.file_names import is_nifti, is_of_masks, parse, safe_name
from lgg_monai.data.patients import Patient, read_patient
from lgg_monai.data.phantom import is_phantom
from lgg_monai.data.scan import Scan, ScanSource, refused
from lgg_monai.data.tiff_stack import MASK_SUFFIX, UNKNOWN_GEOMETRY, missing_numbers, tiff_files
from lgg_monai.errors import LggError
from lgg_monai.prediction.nifti_groups import Home, explicit_source, homes_within, nifti_sources
from lgg_monai.prediction.scan_names import with_own_names

LOGGER = logging.getLogger(__name__)

RESULT, SETTINGS = "result.json", "settings.json"
"""What marks a patient's folder of an earlier prediction, which is no input, and the folder of all."""
BESIDE_SUBJECTS = {
    "derivatives": "computed of the scans beside it",
    "sourcedata": "of which the scans beside it were made",
}
"""Folders of a BIDS set that hold its scans a second time, and how."""
COLLECTED = "LGG, own patients"
"""What `lgg-monai collect` calls the data sets that it writes, of scans that may lie beside them."""
NOT_READ = (".mgz", ".mgh", ".mha", ".mhd")
"""Suffixes of scans in formats of other programs, which may be what someone misses among those found."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def find_scans(
    paths: Iterable[Path],
    *,
    explicit: Mapping[str, Path] | None = None,
    series: Mapping[str, str] | None = None,
    keep_identity: bool = False,
    leave_out: Path | None = None,
    masks: Path | None = None,
) -> list[ScanSource]:
    """Find the scans in files and folders, searched to any depth; pixels are not read.

    Of a BIDS set, what was computed of its scans (``derivatives``) and of what they were made (``sourcedata``) are
    searched only where they are among the paths themselves; a data set that `collect` wrote also where there is nothing
    else.

    Args:
        paths: kaggle_3m folders, NIfTI files or folders of them, DICOM files or folders; folders may be mixed.
        explicit: the NIfTI files of one more scan by sequence.
        series: which DICOM series to use, by sequence.
        keep_identity: name DICOM scans by PatientID.
        leave_out: a folder that is not searched, such as the output.
        masks: another one, of masks, if it is below a path, or one of several.

    Returns:
        The scans, in the order of the paths, with names of their own. What cannot be used is listed too: its ``load``
        says why. NIfTI files that belong to no scan are warned of.

    Raises:
        LggError: a path does not exist, cannot be read or is ``leave_out``, or nothing found looks like a scan.
    """
    sources: list[ScanSource] = []
    if explicit:
        sources.append(explicit_source(explicit))
    paths = [Path(path) for path in paths]
    apart = None if masks is None else masks.resolve()
    skipped = {folder.resolve() for folder in (leave_out, masks) if folder is not None}
    search = _Search(skipped, {path.resolve() for path in paths})
    files: dict[Path, list[Path]] = defaultdict(list)
    maybe_dicom: list[Path] = []
    for path in paths:
        _require_there(path)
        if leave_out is not None and path.resolve() == leave_out.resolve():
            _require_named_in_passing(path, paths)
        elif len(paths) > 1 and path.resolve() == apart:
            continue  # which a shell's * names beside the scans
        elif path.is_dir():
            maybe_dicom.append(path)
            sources += search.below(path)
        elif is_nifti(path.name):
            files[path.parent].append(path)
        elif path.suffix.lower() in PICTURES:
            sources.append(refused(path, f"{path} is a picture, not a scan: give NIfTI, DICOM or a kaggle_3m folder"))
        else:
            maybe_dicom.append(path)
    for folder, own in files.items():
        sources += search.nifti(folder, own)
    sources += _dicom_sources(maybe_dicom, series or {}, keep_identity, search.skipped)
    if not sources:
        sources = [source for folder in [*search.collected] for source in search.below(folder)]
    elif collected := [folder for folder in search.collected if folder.resolve() not in search.named]:
        such = "which collect wrote of scans: give it as an input too if it is meant"
        LOGGER.warning("left out: %s, %s", ", ".join(map(str, collected)), such)
    if not sources:
        outside = "" if masks is None else f" outside of the --masks {masks}"
        raise LggError(f"no scan in {', '.join(map(str, paths))}{outside} {search.instead()}")
    if series and not any(source.kind == "dicom" for source in sources):
        choice = ", ".join(f"{sequence}={value}" for sequence, value in series.items())
        raise LggError(
            f"--series {choice}, but no DICOM among the inputs: leave it out, or use --flair, --pre and --post"
        )
    if search.left:
        files_are = "1 NIfTI file that is" if len(search.left) == 1 else f"{len(search.left)} NIfTI files that are"
        LOGGER.warning("left out: %s no FLAIR nor beside one by name, such as %s", files_are, search.left[0])
    if not_read := [f"{search.others[suffix]} {suffix}" for suffix in NOT_READ if search.others[suffix]]:
        LOGGER.warning("left out: files (%s) of formats that are not read: convert scans to NIfTI", ", ".join(not_read))
    return with_own_names(sources)


def _require_there(path: Path) -> None:
    try:
        there = path.exists()
    except OSError as error:
        raise LggError(f"cannot read {path} ({error.strerror}): give a path that you may read") from error
    if not there:
        what = "a broken link" if path.is_symlink() else "no such file or folder"
        raise LggError(f"{what}: {path}: give the path of a scan")


def _require_named_in_passing(output: Path, paths: list[Path]) -> None:
    """Refuse the output among the inputs, but where a shell's ``*`` names it beside the scans."""
    if not output.is_dir():
        raise LggError(f"{output} is an input and the --output too: give a folder to write to")
    if len(paths) == 1 or not ((output / SETTINGS).is_file() or not any(output.iterdir())):
        raise LggError(f"{output} is the output folder too: choose another --output, such as {output / 'masks'}")


@dataclass
class _Search:
    """A search of folders, but for DICOM: what it leaves out, and what it came across beside scans.

    Args:
        skipped: resolved folders that are not searched, but where one is what is to be searched.
        named: resolved paths that the user gave.
        others: the files of any kind, by suffix.
        left: NIfTI files that belong to no scan.
        collected: data sets that `collect` wrote, which are not searched.
    """

    skipped: set[Path]
    named: set[Path]
    others: Counter[str] = field(default_factory=Counter)
    left: list[Path] = field(default_factory=list)
    collected: list[Path] = field(default_factory=list)

    def nifti(self, folder: Path, files: list[Path], called: Path | None = None) -> list[ScanSource]:
        """Group NIfTI files into scans, see `nifti_sources`."""
        found, beside = nifti_sources(folder, files, called)
        self.left += beside
        return found

    def below(self, root: Path) -> list[ScanSource]:
        """List the scans in a folder, at any depth."""
        sources: list[ScanSource] = []
        seen: set[str] = set()
        not_searched = set(map(str, self.skipped)) - {os.path.realpath(root)}

        def unreadable(error: OSError) -> None:
            folder = Path(error.filename or root)
            sources.append(refused(folder, f"cannot list {folder} ({error.strerror}): give a folder that you may read"))

        files: dict[Home, list[Path]] = defaultdict(list)
        homes: dict[Path, Home] = {}
        for name, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
            folder, real = Path(name), os.path.realpath(name)
            # A link may lead back to where the search has been.
            if real in seen or real in not_searched or _is_of_results(folder, names):
                folders.clear()
                continue
            seen.add(real)
            if name != str(root) and _is_collected(folder, names):
                self.collected.append(folder)
                folders.clear()
                continue
            folders[:] = sorted(other for other in folders if not other.startswith("."))
            self._leave_out_copies(folder, folders)
            if tiff_files(folder):
                sources += _tiff_sources(folder)
            labels = folder.name.lower().startswith("labels")
            homes |= homes_within(folder, folders, homes.get(folder))
            if not labels or folder in homes:
                own = [folder / file for file in sorted(names) if is_nifti(file)]
                if folder not in homes and any(map(is_of_masks, folder.relative_to(root).parts)):
                    # Their names may be those of the scans, images/p1 and masks/p1, and then say nothing of masks.
                    masks = [path for path in own if parse(path.name).role == "unknown"]
                    self.left += masks
                    own = [path for path in own if path not in masks]
                files[homes.get(folder, (folder, folder))] += own
            where = f" in {folder.name}, a folder of masks" if labels else ""
            self.others.update(f"{_suffix(file)}{where}" for file in names if not file.startswith("."))
        for (home, called), within in files.items():
            sources += self.nifti(home, within, called)
        return sources

    def _leave_out_copies(self, folder: Path, folders: list[str]) -> None:
        """Take those of a BIDS set's folders out of ``folders`` that hold its scans a second time, and say so."""
        if not any(other.startswith("sub-") for other in folders):
            return
        for again in [again for again in BESIDE_SUBJECTS if again in folders]:
            folders.remove(again)
            real = (folder / again).resolve()
            if real not in self.skipped | self.named:
                what = BESIDE_SUBJECTS[again]
                LOGGER.warning("left out: %s, %s: give it as an input too if it is meant", folder / again, what)
            self.skipped.add(real)

    def instead(self) -> str:
        """Say what was found where no scan was: NIfTI files and what their names say, or files of which kinds."""
        if not self.left:
            seen = ", ".join(f"{count} {suffix}" for suffix, count in self.others.most_common(4))
            return f"(files: {seen or 'none'}): expected NIfTI (.nii, .nii.gz), DICOM, or folders of <patient>_<n>.tif"
        first, count = self.left[0].name, len(self.left)
        is_mask = parse(first).role in ("mask", "unknown")  # the latter in a folder of masks
        looks = "a mask" if is_mask else "another sequence than FLAIR or T1"
        such = f"{first} is" if count == 1 else f"of {count} NIfTI files none is FLAIR: {first} is"
        return f"({such} {looks} by its name): if it is FLAIR, name it with --flair"


def _suffix(name: str) -> str:
    return ".nii.gz" if name.lower().endswith(".nii.gz") else Path(name).suffix.lower() or "without suffix"


def _is_of_results(folder: Path, names: list[str]) -> bool:
    # Earlier versions wrote results also into a patient's own folder of slices.
    return RESULT in names and earlier_result(folder) is not None and not tiff_files(folder)


def _is_collected(folder: Path, names: list[str]) -> bool:
    return DATASET_JSON in names and _object_in(folder / DATASET_JSON).get("name") == COLLECTED


def earlier_result(folder: Path) -> dict[str, Any] | None:
    """Read an earlier prediction's result; None where there is none, or a file of that name that is the user's own."""
    content = _object_in(folder / RESULT)
    return content if {"patient", "settings"} <= content.keys() else None


def _object_in(path: Path) -> dict[str, Any]:
    """Read a JSON file that may be somebody else's: nothing where it is missing or holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _tiff_sources(folder: Path) -> list[ScanSource]:
    folder = folder.absolute()
    pictures = tiff_files(folder)
    masks = [path for path in pictures if path.stem.endswith(MASK_SUFFIX)]
    if len(masks) == len(pictures):
        return []
    label = folder if masks else None
    patient = Patient(folder.name, folder, label, "tiff")
    name = safe_name(folder.name)
    return [
        ScanSource(name, "tiff", folder, partial(_load_tiff, name, patient), label, is_phantom(folder), tuple(pictures))
    ]


def _load_tiff(name: str, patient: Patient) -> Scan:
    image, _ = read_patient(replace(patient, label=None))
    warnings = missing_numbers(patient.image)
    return Scan(name, image.astype(np.float32), UNKNOWN_GEOMETRY.copy(), spacing_known=False, warnings=warnings)


def _dicom_sources(
    paths: list[Path], series: Mapping[str, str], keep_identity: bool, skipped: Collection[Path]
) -> list[ScanSource]:
    if not paths:
        return []
    from lgg_monai.dicom.find import find_dicom
    from lgg_monai.dicom.search import dicom_files

    strange = [path for path in paths if not path.is_dir() and not dicom_files([path])]
    sources = [
        refused(path, f"{path} is no image that is known here: give NIfTI (.nii, .nii.gz) or DICOM") for path in strange
    ]
    known = [path for path in paths if path not in strange]
    return sources + find_dicom(known, dict(series), keep_identity, skipped)
