"""Grouping NIfTI files by patient and sequence."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel

from lgg_monai.data.channels import Channels, dataset_channels
from lgg_monai.data.file_names import NIFTI_SUFFIXES, FileName, folder_name, parse, parse_folder, safe_name, stem
from lgg_monai.data.phantom import is_phantom
from lgg_monai.data.scan import ScanSource, refused
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.errors import LggError
from lgg_monai.prediction.converted import Converted, converted_series, preference
from lgg_monai.prediction.nifti import load_sequences, load_volume

_NNUNET_CHANNEL = re.compile(r"^(?P<patient>.+)_(?P<channel>\d{4})$")

Home = tuple[Path, Path]
"""Files of one home belong together: the folder that their folders lie in, and one that they are named after."""


def homes_within(folder: Path, folders: list[str], home: Home | None) -> dict[Path, Home]:
    """Tell with which files those in folders belong that are of one sequence each, and all that lies within these.

    Folders are taken to be that only beside one of FLAIR: T1 and T2 may be the first and the second time of a patient.

    Args:
        folder: searched now.
        folders: in it.
        home: of its own files, as it is a sequence's or lies in one; None where it does not.
    """
    if home is not None:
        above, called = home
        return {folder / name: home if name.lower() in ("nifti", "nii") else (above, called / name) for name in folders}
    parsed = {name: parse_folder(name) for name in folders}
    patients = {found.patient for found in parsed.values() if found.role == "flair"}
    return {
        folder / name: (folder, folder / found.patient)
        for name, found in parsed.items()
        if found.role != "unknown" and found.patient in patients
    }


def nifti_sources(folder: Path, files: list[Path], called: Path | None = None) -> tuple[list[ScanSource], list[Path]]:
    """Group one folder's NIfTI files by patient, with those of the folders in it that are of one sequence each.

    Args:
        folder: that holds them.
        files: in it.
        called: a folder, there or not, that names the patient where files' names do not; by default that one.

    Returns:
        The scans, and the files that belong to none of them. A patient's masks and other sequences (T2, DWI) do.
    """
    groups: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    unknown: list[Path] = []
    described = dataset_channels(folder)
    channels = described.sequences
    numbered = _channel_numbers(folder, files, described)
    named = {index: sequence for sequence, index in channels.items()} or dict(enumerate(SEQUENCES))
    converted = converted_series(path for path in files if path not in numbered)
    parsed = {path: _parse(path, folder) for path in files}
    of_one = _are_of_one_patient(parsed, folder)
    for path, own in parsed.items():
        if path in numbered:
            patient, number = numbered[path]
            groups[patient][named.get(number, "other")].append(path)
            continue
        if path in converted:
            groups[converted[path].patient][converted[path].role].append(path)
            continue
        if own.role == "unknown":
            unknown.append(path)
        else:
            groups["" if of_one else own.patient][own.role].append(path)
    sources, patients = [], []
    for patient, found in groups.items():
        named_after = patient or folder_name(called or folder)
        if any(sequence in found for sequence in SEQUENCES):
            assumed = not channels and any(path in numbered for paths in found.values() for path in paths)
            sources.append(_group(safe_name(named_after), folder, found, converted, assumed))
            patients.append(patient)
    grouped = {path for patient in patients for paths in groups[patient].values() for path in paths}
    files = [path for path in files if path not in grouped]
    if any("flair" in found for found in groups.values()):
        return sources, _of_nobody(files, patients)  # beside named sequences, other files are maps and masks
    for path in unknown:
        name = safe_name(stem(path.name))
        label, notes = _label_of(path, groups.get(stem(path.name), {}).get("mask", []), folder)
        load = partial(load_volume, name, path, channels or None, notes)
        roles = repr(channels) if channels else ""
        sources.append(ScanSource(name, "nifti", path, load, label, is_phantom(folder.parent), (path,), roles))
    return sources, _of_nobody(files, [*patients, *(stem(path.name) for path in unknown)])


def _parse(path: Path, folder: Path) -> FileName:
    """Tell role and patient by a file's name, and by that of the folder of one sequence in which it may lie."""
    parsed = parse(path.name)
    if path.parent == folder:
        return parsed
    within = parse_folder(path.relative_to(folder).parts[0]).role
    if within == "mask" and parsed.role in SEQUENCES:  # masks may be called as the scans that they were drawn on
        return replace(parsed, role="mask")
    if within == "post" and parsed.role == "pre":  # T1post/T1, whose own name says nothing of contrast
        return replace(parsed, role="post")
    if parsed.role == "mask" and within not in ("mask", "flair"):  # of what T1 or T2 shows, such as the brain
        return replace(parsed, role="other")
    return replace(parsed, role=within) if parsed.role == "unknown" else parsed


def _are_of_one_patient(files: Mapping[Path, FileName], folder: Path) -> bool:
    """Tell whether files that share no name lie one each in folders of a sequence, so that their names say nothing."""
    within = [path.relative_to(folder).parts[0] for path in files if path.parent != folder]
    names = {parsed.patient for parsed in files.values()}
    return len(names) > 1 and len(set(within)) == len(files)


def _of_nobody(files: list[Path], patients: list[str]) -> list[Path]:
    """List the files whose names hold no patient's name; what lies beside a nameless FLAIR is of its patient."""
    if not patients or "" in patients:
        return [] if patients else files
    names = "|".join(map(re.escape, patients))
    anybody = re.compile(rf"(?<![^\W_])({names})(?![^\W_])")
    return [path for path in files if not anybody.search(stem(path.name))]


def _channel_numbers(folder: Path, files: list[Path], described: Channels) -> dict[Path, tuple[str, int]]:
    """Tell patient and channel of nnU-Net's files (``<patient>_<channel>``, four digits).

    Patients may be numbered like this too. Then none of the folder's files is a channel.
    """
    if not described.sequences and not folder.name.lower().startswith("images"):
        return {}
    matches = {path: match for path in files if (match := _NNUNET_CHANNEL.match(stem(path.name)))}
    numbers = {path: (match["patient"], int(match["channel"])) for path, match in matches.items()}
    by_patient: dict[str, set[int]] = defaultdict(set)
    for patient, number in numbers.values():
        by_patient[patient].add(number)
    if described.sequences:
        fits = all(found <= set(described.names) for found in by_patient.values())
    else:
        fits = all({0, 1} <= found <= {0, 1, 2} for found in by_patient.values())
    # nnU-Net's masks have no number, and its files one channel.
    if not fits or any(_mask_of(path, stem(path.name)) or _is_4d(path) for path in numbers):
        return {}
    return numbers


def _is_4d(path: Path) -> bool:
    try:
        picture: Any = nibabel.load(path)  # the header alone
        return math.prod(picture.shape[3:]) > 1
    except Exception:  # of many kinds, which are told where the scan is read
        return False


def _group(
    name: str, folder: Path, found: Mapping[str, list[Path]], converted: Mapping[Path, Converted], assumed: bool = False
) -> ScanSource:
    found = _best_of_each(found, converted)
    files = {sequence: found[sequence][0] for sequence in SEQUENCES if sequence in found}
    if "flair" not in files:
        listed = ", ".join(f"{path.name} ({sequence})" for sequence, path in files.items())
        return refused(folder, f"no FLAIR beside {listed} in {folder}: name its file ..._flair.nii.gz", name)

    warnings = tuple(
        f"{len(found[sequence])} files could be {sequence}: {_took(found[sequence], folder)}"
        for sequence in files
        if len(found[sequence]) > 1
    )
    warnings += tuple(
        f"{path.name} is taken to be T1 weighted ({sequence}), as its name says T1 FLAIR"
        for sequence, path in files.items()
        if path not in converted and parse(path.name).t1_flair
    )
    if assumed:
        listed = ", ".join(f"{path.name} ({sequence})" for sequence, path in files.items())
        warnings += (f"sequences taken by nnU-Net's numbers, as no dataset.json names them: {listed}",)
    flair = files["flair"]
    label, notes = _label_of(flair, found.get("mask", []), folder)
    load = partial(load_sequences, name, files, (*warnings, *notes))
    return ScanSource(
        name, "nifti", flair, load, label, is_phantom(folder.parent), tuple(files.values()), _roles(files)
    )


def _best_of_each(found: Mapping[str, list[Path]], converted: Mapping[Path, Converted]) -> dict[str, list[Path]]:
    """Put the best file of each role first: by what dcm2niix noted of all of them, else by their names."""
    ordered, plane = {}, "axial"
    for role in sorted(found, key=lambda role: role != "flair"):  # first, as T1 is to lie in its plane
        paths = found[role]
        if all(path in converted for path in paths):
            ordered[role] = sorted(paths, key=lambda path: preference(converted[path], plane))
            plane = converted[ordered[role][0]].plane if role == "flair" else plane
        else:
            ordered[role] = sorted(paths, key=lambda path: _distance(role, path))
    return ordered


def _roles(files: Mapping[str, Path]) -> str:
    return repr({sequence: files[sequence].name for sequence in SEQUENCES if sequence in files})


def _distance(role: str, path: Path) -> int:
    """Rank files of one role: FLAIR as it was acquired, and of T1 what was registered to it, come first."""
    onto = parse(path.name).onto
    if role == "flair":
        return int(onto != "")
    return {"flair": 0, "": 1}.get(onto, 2)


def _label_of(scan: Path, masks: list[Path], folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Choose a scan's reference mask among those of its name, and warn of others.

    Those that somebody corrected come first: TCGA's lie beside the automatic ones (``_ManuallyCorrected``).
    """
    masks = sorted(masks, key=lambda path: ("manuallycorrected" not in path.name.lower(), path.name))
    notes = (f"{len(masks)} files could be the reference mask: {_took(masks, folder)}",) if len(masks) > 1 else ()
    return next(iter([*masks, *_label_beside(scan)]), None), notes


def _took(paths: list[Path], folder: Path) -> str:
    return f"took {paths[0].relative_to(folder)}, not {paths[1].relative_to(folder)}"


def _label_beside(path: Path) -> list[Path]:
    """List the masks of the Decathlon's and nnU-Net's layouts that belong to a file of imagesTr."""
    name = stem(path.name)
    match = _NNUNET_CHANNEL.match(name)
    names = [name, match["patient"]] if match else [name]
    return [file for name in names for file in _mask_of(path, name)]


def _mask_of(path: Path, name: str) -> list[Path]:
    if not path.parent.name.lower().startswith("images"):
        return []
    labels = path.parent.with_name("labels" + path.parent.name[len("images") :])
    return [file for suffix in NIFTI_SUFFIXES if (file := labels / f"{name}{suffix}").is_file()]


def explicit_source(files: Mapping[str, Path]) -> ScanSource:
    """Take files whose sequences the user named as one scan.

    Raises:
        LggError: there is no FLAIR, or a file is missing.
    """
    if "flair" not in files:
        raise LggError("no --flair beside --pre or --post: the mask is drawn on FLAIR, so it is needed")
    for path in files.values():
        try:
            there = path.is_file()
        except OSError as error:
            raise LggError(f"cannot read {path} ({error.strerror}): give a file that you may read") from error
        if not there:
            raise LggError(f"no such file: {path}: give the path of a NIfTI volume")
    flair = files["flair"].absolute()
    parsed = parse(flair.name)
    name = safe_name(parsed.patient or folder_name(flair.parent))
    load = partial(load_sequences, name, dict(files))
    return ScanSource(name, "nifti", flair, load, None, is_phantom(flair.parent), tuple(files.values()), _roles(files))
