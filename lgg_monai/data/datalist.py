"""The list of patients of a run: found, checked, split, written to ``datalist.json``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lgg_monai.data.channels import require_order
from lgg_monai.data.integrity import DatasetReport, PatientReport, require_sound_images
from lgg_monai.data.patients import find_patients
from lgg_monai.data.people import scans_of
from lgg_monai.data.phantom import is_phantom, write_phantom
from lgg_monai.data.report_cache import sound_report
from lgg_monai.data.seen import (
    BEFORE,
    DATALIST,
    WEIGHTS,
    datalist_of,
    digest_of,
    given_parts,
    identities,
    is_complete,
    parts_by_identity,
    read_datalist,
    require_unseen,
    seen_before,
)
from lgg_monai.data.split import FOLDS, PARTS, PLAN, require_disjoint, require_split, split_patients
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.files import told_in_one_line, writable_folder, write_json
from lgg_monai.words import counted

logger = logging.getLogger(__name__)

KAGGLE_DIR = Path("data/kaggle_3m")
PHANTOM_DIR = Path("data/phantom")
SUBSETS = {"test": ("test",), "val": ("validation",), "train": ("training",)}


@exits_with_one_line
def default_dataset_dir() -> str:
    """Name the data that a run without ``--dataset_dir`` uses: the real set where it was downloaded, or the phantom."""
    if KAGGLE_DIR.is_dir():
        return str(KAGGLE_DIR)
    logger.warning("PHANTOM: no --dataset_dir given and no %s here, so synthetic patients are used", KAGGLE_DIR)
    return str(write_phantom(PHANTOM_DIR))


@exits_with_one_line
def prepare_datalist(
    dataset_dir: str,
    output_dir: str,
    folds: int = 5,
    fold: int | str = 0,
    seed: int = 0,
    validation_fraction: float = 0.15,
    datalist: str | None = None,
    resume: bool = False,
    cache_dir: str | None = None,
    split: str = FOLDS,
    initial_weights: str | None = None,
    writes: bool = True,
) -> dict[str, Any]:
    """Read and check the data, split it, prove that nothing leaks, and write ``datalist.json`` to the run folder.

    The list of an earlier run is left there, until ``RunRecord`` writes that of the new one or of its continuation.

    Args:
        dataset_dir: folder of the patients.
        output_dir: the run folder.
        folds: number of folds, see :func:`lgg_monai.data.split.split_patients`.
        fold: the fold that is tested on, or ``all``: every patient is trained on.
        seed: of the split.
        validation_fraction: share of the remaining patients used for validation; 0 for none.
        datalist: a ``datalist.json`` with the parts to use, instead of a new split.
        resume: the run folder's own list has to be that of the data and the split asked for now.
        cache_dir: keeps what was read of each patient; files that have not changed are not read again.
        split: ``folds``, or ``sites``: a fold for each site.
        initial_weights: file of weights that the training begins with, which must not know those it is judged by.
        writes: False refuses what is wrong, and makes no run folder.

    Returns:
        ``training``, ``validation`` and ``test`` entries (``patient``, ``site``, ``image``, ``label``, …) and what is
        known of the data (``fingerprint``, ``phantom``, numbers) and of the first weights (``seen_before``,
        ``initial_weights_sha256``).

    Raises:
        SystemExit: with one line, for everything that is wrong with the folders, the split or the data.
    """
    # Reading may take minutes, so what can be refused without it is refused first.
    given = None if datalist is None else given_parts(Path(datalist))
    if given is None:
        require_split(folds, fold, seed, validation_fraction, split)
    run_folder = _run_folder(output_dir) if writes else Path(output_dir)
    report = _read(dataset_dir, cache_dir) if writes else sound_report(dataset_dir, cache_dir)
    parts = given or split_patients(report.patients, folds, fold, seed, validation_fraction, split)
    for names in parts.values():
        _entries(names, report)
    require_disjoint(parts, report.patients)
    with_tumour = {r.patient.name for r in report.patients if r.tumour_slices}
    if with_tumour.isdisjoint(parts["training"]):
        raise LggError(f"no tumour in any mask of the training patients of {dataset_dir}: there is nothing to learn")
    if parts["validation"] and with_tumour.isdisjoint(parts["validation"]):
        raise LggError(
            f"no tumour in any mask of the validation patients ({', '.join(parts['validation'][:3])}), so "
            "no epoch could be told the best: take another --split_seed, other patients in --datalist_file, or none to "
            "validate on (--validation_fraction 0)"
        )
    content: dict[str, Any] = {
        "dataset_dir": str(dataset_dir),
        "phantom": is_phantom(Path(dataset_dir)),
        "fingerprint": report.fingerprint,
        "split": split if datalist is None else None,
        "folds": folds if datalist is None and split == FOLDS else None,
        "fold": fold if datalist is None else None,
        "seed": seed if datalist is None else None,
        **{part: _entries(parts[part], report) for part in PARTS},
    }
    if initial_weights is not None:
        require_unseen(content, Path(str(initial_weights)))
        content[BEFORE] = seen_before(Path(str(initial_weights)))
        content[WEIGHTS] = digest_of(initial_weights)
    if not writes:
        return content
    there = (run_folder / DATALIST).is_file()
    if resume and there:
        _require_same(read_datalist(run_folder / DATALIST), content, run_folder)
    if not there:
        # Another list is that of an earlier run, which has not been set aside yet, or which may turn out not to be
        # continued. `RunRecord` writes ours when the training starts.
        with told_in_one_line(f"the datalist {run_folder / DATALIST}"):
            write_json(run_folder / DATALIST, content)
    counts = ", ".join(f"{len(parts[part])} {part}" for part in PARTS)
    phantom = "PHANTOM: " if content["phantom"] else ""
    people = len({r.patient.person for r in report.patients})
    of = f" ({scans_of(people)})" if people < len(report.patients) else ""
    logger.info("%s%s%s: %s", phantom, counted(len(report.patients), "patient"), of, counts)
    return content


@exits_with_one_line
def inference_datalist(dataset_dir: str) -> list[dict[str, str]]:
    """List the image of every patient of a folder, outlined or not.

    Raises:
        SystemExit: with one line, where there are none, one is no scan, such as a FLAIR of one value, or the channels
            are in another order.
    """
    patients = find_patients(Path(dataset_dir))
    require_order(Path(dataset_dir))
    require_sound_images(patients)
    return [{"image": str(patient.image)} for patient in patients]


@exits_with_one_line
def evaluation_datalist(
    dataset_dir: str,
    output_dir: str,
    subset: str | None = "test",
    checkpoint: str | Sequence[str] | None = None,
    cache_dir: str | None = None,
    writes: bool = True,
) -> dict[str, Any]:
    """List the patients to score, each with the part it had in training (``unseen`` where it had none).

    Args:
        dataset_dir: folder of the patients.
        output_dir: the run folder, whose ``datalist.json`` tells the parts.
        subset: ``test``, ``val``, ``train``, or ``all`` (every patient of the folder); None is ``test`` of a run, and
            ``all`` where no run is.
        checkpoint: the weights, one file or several; the ``datalist.json`` of their own trainings tells the parts, and
            that of the run folder where they have none.
        cache_dir: as in :func:`prepare_datalist`.
        writes: the scores are to be written to the run folder, so prove before the work that they can be.

    Raises:
        SystemExit: with one line, where the run has no such part, the folder lacks its patients, or the run folder
            cannot be written or is that of a cross-validation.
    """
    if subset not in (None, *SUBSETS, "all"):
        raise LggError(f"unknown subset {subset!r}: --subset takes test, val, train or all")
    path = (_run_folder(output_dir) if writes else Path(output_dir)) / DATALIST
    if subset is None:
        subset = "test" if path.is_file() else "all"
    files = [Path(file) for file in ([checkpoint] if isinstance(checkpoint, str) else checkpoint or [])]
    lists = [datalist_of(file) for file in files]
    if not path.is_file() and len(files) == 1:  # several are of different trainings
        path = lists[0] or path
    if subset != "all" and not path.is_file():
        raise LggError(
            f"no {DATALIST} in {output_dir}, so the {subset} patients are unknown: train there first, or --subset all"
        )
    report = _read(dataset_dir, cache_dir)
    known = read_datalist(path) if path.is_file() else {}
    unknown = [str(file) for file, found in zip(files, lists, strict=True) if found is None]
    if unknown:
        logger.warning("no %s says which patients %s has seen: scores may flatter", DATALIST, unknown[0])
    # What the weights saw counts, not what the run did in whose folder they are scored.
    trainings = [read_datalist(found) for found in dict.fromkeys(lists) if found is not None]
    if not all(map(is_complete, trainings)):
        logger.warning("nothing says which patients the first weights of a training have seen: scores may flatter")
    part_of = parts_by_identity(trainings or [known])
    if subset == "all":
        names = [r.patient.name for r in report.patients]
    else:
        names = [entry["patient"] for part in SUBSETS[subset] for entry in known.get(part, [])]
    if not names:
        raise LggError(f"{path} lists no {subset} patients: choose another --subset")
    entries = [
        {**entry, "part": _strongest(part_of[identity] for identity in identities(entry) if identity in part_of)}
        for entry in _entries(names, report)
    ]
    _warn_of_changed_pixels(entries, known)
    seen = [entry["patient"] for entry in entries if entry["part"] in ("training", "validation")]
    if seen:
        logger.warning(
            "%d of %d patients took part in training or validation: their scores flatter", len(seen), len(names)
        )
    return {
        "subset": subset,
        "dataset_dir": str(dataset_dir),
        "phantom": is_phantom(Path(dataset_dir)),
        "fingerprint": report.fingerprint,
        "seen": seen,
        "patients": entries,
    }


def _run_folder(output_dir: str) -> Path:
    """Make a run's folder. That of a cross-validation is none, or its folds were taken for nothing ever after."""
    if (Path(output_dir) / PLAN).is_file():
        raise LggError(
            f"{output_dir} is the folder of a cross-validation, whose folds are runs: "
            f"give one of them, such as --output_dir {Path(output_dir) / 'fold_0'}, or a folder elsewhere"
        )
    return writable_folder(Path(output_dir))


def _read(dataset_dir: str, cache_dir: str | None) -> DatasetReport:
    """Read the data, refuse what has problems, and tell of what is odd."""
    report = sound_report(dataset_dir, cache_dir)
    for warning in report.warnings:
        logger.warning("%s", warning)
    return report


def _strongest(parts: Iterable[str]) -> str:
    return min(parts, key=PARTS.index, default="unseen")


def _require_same(before: dict[str, Any], now: dict[str, Any], run_folder: Path) -> None:
    """Refuse to continue a run on other data, which would train on patients it is to be tested on."""
    if before.get("fingerprint") != now["fingerprint"]:
        raise LggError(
            f"the data, or how they are read, changed since {run_folder} began: "
            "give the same --dataset_dir, or another --output_dir"
        )
    for part in PARTS:
        if [entry["patient"] for entry in before.get(part, [])] != [entry["patient"] for entry in now[part]]:
            raise LggError(
                f"{run_folder} began with other {part} patients: "
                "resume with the same --fold, --folds and --datalist_file"
            )


def _entries(names: Sequence[str], report: DatasetReport) -> list[dict[str, Any]]:
    by_name = {r.patient.name: r for r in report.patients}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise LggError(
            f"patient {missing[0]} of the datalist is not in {report.folder} ({len(missing)} missing in all): "
            "give the --dataset_dir that the list was written for, or another list"
        )
    return [_entry(by_name[name]) for name in names]


def _entry(report: PatientReport) -> dict[str, Any]:
    return {
        "patient": report.patient.name,
        "site": report.patient.site,
        "image": str(report.patient.image),
        "label": str(report.patient.label),
        "slices": report.slices,
        "tumour_slices": report.tumour_slices,
        "tumour_voxels": report.tumour_voxels,
        "copied_sequences": list(report.copied),
        "fingerprint": report.fingerprint,
        "image_fingerprint": report.image_fingerprint,
    }


def _warn_of_changed_pixels(entries: list[dict[str, Any]], known: dict[str, Any]) -> None:
    before = {
        entry["patient"]: entry["fingerprint"]
        for part in PARTS
        for entry in known.get(part, [])
        if "fingerprint" in entry  # a list that was written by hand knows none
    }
    changed = [e["patient"] for e in entries if before.get(e["patient"], e["fingerprint"]) != e["fingerprint"]]
    if changed:
        logger.warning("%d patient(s) hold other pixels than in training, such as %s", len(changed), changed[0])
