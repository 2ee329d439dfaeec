"""Which runs are meant: run folders, the folds of cross-validations, bundles; each run and each person once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from lgg_monai.data.people import person_of
from lgg_monai.data.split import PLAN
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.run_folder import RUN
from lgg_monai.errors import LggError
from lgg_monai.files import read_object

logger = logging.getLogger(__name__)


def expand_sources(sources: Sequence[Path], bundles: bool = True) -> list[Path]:
    """Give all runs of several sources, see `expand_folds`.

    Raises:
        LggError: one does not exist or is neither run nor bundle, or a run is given twice, be it by itself and as a
            fold: its patients would count twice.
    """
    runs = [run for source in sources for run in expand_folds(Path(source), bundles)]
    twice = given_twice(runs)
    if twice is not None:
        raise LggError(f"{twice} is given twice, so its patients would count twice: give each run once")
    return runs


def given_twice(paths: Sequence[Path]) -> Path | None:
    """Give the first path that leads to where an earlier one leads, however either is written; None where none does."""
    seen: set[Path] = set()
    for path in paths:
        resolved = Path(path).resolve()
        if resolved in seen:
            return path
        seen.add(resolved)
    return None


def expand_folds(source: Path, bundles: bool = True) -> list[Path]:
    """Give the folds of a cross-validation's folder in their order; anything else, a run folder or a bundle, is itself.

    Folds that the cross-validation is still to have are warned of: their patients are left out.

    Args:
        source: the folder, or a bundle's config file.
        bundles: whether a bundle will do; else it has to be a run that was trained and scored.

    Raises:
        LggError: it does not exist, is a folder of neither, or holds folds that the cross-validation does not have.
    """
    asked = "a run folder such as runs/unet, or a bundle's config such as bundles/unet.yaml"
    if not bundles:
        asked = "the folder of a run that was trained and scored, such as runs/unet, or of a cross-validation"
    if not source.exists():
        raise LggError(f"no such {'run folder or bundle' if bundles else 'run folder'}: {source}: give {asked}")
    if source.is_file() and not bundles:
        raise LggError(f"{source} is no run folder, so says of no patients that they were tested: give {asked}")
    if source.is_dir() and not (source / RUN).is_file():
        numbered = {
            int(path.parent.name.removeprefix("fold_")): path.parent
            for path in source.glob(f"fold_*/{RUN}")
            if path.parent.name.removeprefix("fold_").isdecimal()
        }
        folds = [numbered[number] for number in sorted(numbered)]
        if not folds:
            scored = ", only scores of weights from elsewhere" if (source / EVALUATION).is_dir() else ""
            raise LggError(f"no {RUN} in {source} or its folds{scored}: give {asked}")
        _compare_with_plan(source, set(numbered))
        return folds
    return [source]


def planned_folds(source: Path) -> int | None:
    """Give the number of folds that a cross-validation wrote down of itself; None where it did not."""
    path = source / PLAN
    count = read_object(path, "plan of the cross-validation").get("folds") if path.is_file() else None
    return count if isinstance(count, int) else None


def _compare_with_plan(source: Path, found: set[int]) -> None:
    """Tell of the folds that are not as many as the cross-validation wrote down, where it did."""
    count = planned_folds(source)
    if count is None:
        return
    strange = sorted(found - set(range(count)))
    if strange:
        message = (
            f"{source / f'fold_{strange[0]}'} is none of the {count} folds that {source / PLAN} tells of: move it away"
        )
        raise LggError(message)
    missing = sorted(set(range(count)) - found)
    if missing:
        logger.warning(
            "fold %s of %d of the cross-validation %s is not there: its patients are left out",
            ", ".join(map(str, missing)),
            count,
            source,
        )


def require_apart(patients: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Prove that no person is counted twice: what is chosen for one run's patients must not have been on their scans.

    Args:
        patients: of each run its name and the patients that it is judged by.

    Raises:
        LggError: names a patient of two runs, or two scans of one person, and both runs.
    """
    owners: dict[str, tuple[str, str]] = {}
    for run, names in patients:
        for name in names:
            other, before = owners.setdefault(person_of(name), (run, name))
            if other != run:
                where = f"patient {name} is tested in {other} and {run}"
                if before != name:
                    where = f"{before}, tested in {other}, and {name}, tested in {run}, are one person by their names"
                raise LggError(f"{where}: give runs that were tested on different patients")
