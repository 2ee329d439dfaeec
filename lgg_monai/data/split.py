"""Splitting patients into training, validation and test parts, by patient, stratified and seeded."""

from __future__ import annotations

import logging
import math
import random
from collections import defaultdict
from collections.abc import Sequence

from lgg_monai.data.integrity import PatientReport
from lgg_monai.errors import LggError

logger = logging.getLogger(__name__)

PARTS = ("training", "validation", "test")
ALL = "all"
FOLDS, SITES = "folds", "sites"
PLAN = "cross_validation.json"
"""What a cross-validation writes down of itself, in the folder that its folds lie in."""
# One training and one validation patient must be left beside a fold to test on.
MINIMUM_A_FOLD = 2
NOTICEABLE = 0.05  # difference between the share of validation that was asked for and the one there is


def split_patients(
    reports: Sequence[PatientReport],
    folds: int = 5,
    fold: int | str = 0,
    seed: int = 0,
    validation_fraction: float = 0.15,
    split: str = FOLDS,
) -> dict[str, list[str]]:
    """Part patients into training, validation and test.

    Every fold gets its share of each site and of small and large tumours. Python's own generator is used because its
    sequence is the same on every machine and version. Scans of one person stay together.

    Args:
        reports: the patients with their tumour volumes.
        folds: number of test folds.
        fold: the fold to test on, from 0; or ``all``, to train a final model on every patient: the recipe was then
            chosen before, and nothing is left to validate or test on.
        seed: of the shuffle.
        validation_fraction: share of the patients that are not tested on, up to 0.5 and at least one patient; the
            nearest of a half, a third, a quarter and so on is taken. 0 trains on all of them, and no epoch is chosen,
            as with ``all``.
        split: ``folds``; or ``sites``, a fold for each site in alphabetical order, which is tested on as a whole by a
            model that saw none of it. ``folds`` is of no account then.

    Returns:
        The names of each part, sorted.

    Raises:
        LggError: unknown fold or split, a share above a half, or too few patients or sites.
    """
    require_split(folds, fold, seed, validation_fraction, split)
    if fold == ALL:
        return {"training": sorted(r.patient.name for r in reports), "validation": [], "test": []}
    if split == SITES:
        sites = {report.patient.site for report in reports}
        if len(sites) < 2:
            found = f"all patients are of site {min(sites, default='none')} by their names"
            raise LggError(f"{found}: --split sites needs two or more, as LGG_SITE_0001 names its own")
        folds = len(sites)
    fold = _require_fold(fold, folds)
    people: dict[str, list[PatientReport]] = defaultdict(list)
    for report in sorted(reports, key=lambda report: report.patient.name):
        people[report.patient.person].append(report)
    if split == FOLDS and len(people) < MINIMUM_A_FOLD * folds:
        scans = f", with {len(reports)} scans," if len(reports) > len(people) else ""
        enough = len(people) >= MINIMUM_A_FOLD * 2
        way = "fewer folds with --folds" if enough else "--fold all, which trains on every patient and tests on none"
        message = f"{len(people)} patient(s){scans} are too few for {folds} folds"
        raise LggError(f"{message}: at least {MINIMUM_A_FOLD * folds} are needed, or {way}")
    if split == SITES:
        tests = [[person for person in people if _site(person, people) == site] for site in sorted(sites)]
    else:
        tests = _deal(list(people), people, folds, random.Random(seed))
        _even_sites(tests, people)
    rest = [person for number, part in enumerate(tests) if number != fold for person in part]
    if len(rest) < MINIMUM_A_FOLD:
        raise LggError(f"{len(rest)} patient is left to train and validate on beside fold {fold}: give more patients")
    validation = []
    if validation_fraction:
        # Seeded apart from the folds, so that every fold draws its own validation patients.
        generator = random.Random(f"{seed}/{fold}")
        shares = max(2, min(len(rest), round(1 / validation_fraction)))
        validation = _deal(sorted(rest), people, shares, generator)[0]
        effective = len(validation) / len(rest)
        if abs(effective - validation_fraction) > NOTICEABLE:
            logger.warning(
                "a share of %.2f validates, not %s: %d of %d people, as they are dealt out into %d equal parts",
                effective, validation_fraction, len(validation), len(rest), shares,
            )  # fmt: skip
    parts = {
        "training": [person for person in rest if person not in set(validation)],
        "validation": validation,
        "test": tests[fold],
    }
    return {part: sorted(r.patient.name for person in parts[part] for r in people[person]) for part in PARTS}


def require_split(folds: int, fold: int | str, seed: int, validation_fraction: float, split: str) -> None:
    """Refuse settings of `split_patients` that no patients can be split by, as is known before they are read.

    Raises:
        LggError: names the setting.
    """
    if split not in (FOLDS, SITES):
        raise LggError(f"unknown split {split!r}: --split takes folds or sites")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise LggError(f"split_seed is {seed!r}: give a whole number with --split_seed")
    if fold == ALL:
        return
    if split == FOLDS and (not isinstance(folds, int) or folds < 2):
        raise LggError(f"cannot split into {folds} fold(s): use at least 2 with --folds")
    _require_fold(fold, folds if split == FOLDS else None)
    if not isinstance(validation_fraction, int | float) or not 0 <= validation_fraction <= 0.5:
        message = f"validation_fraction is {validation_fraction}: use a share of up to 0.5, such as 0.15"
        raise LggError(f"{message}, or 0 to train on all that are not tested on")


def _require_fold(fold: int | str, folds: int | None) -> int:
    """Return the number of a fold of so many; None where it is not known yet how many there are."""
    beyond = math.inf if folds is None else folds
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < beyond:
        numbers = "numbers from 0 up" if folds is None else f"0 to {folds - 1}"
        raise LggError(f"unknown fold {fold}: --fold takes {numbers}, or all to train on every patient")
    return fold


def require_disjoint(parts: dict[str, list[str]], reports: Sequence[PatientReport]) -> None:
    """Prove that no patient is in two parts: by name, by person and by pixels.

    Raises:
        LggError: names the patients and the parts.
    """
    names: dict[str, str] = {}
    people: dict[str, tuple[str, str]] = {}
    digests: dict[str, tuple[str, str]] = {}
    by_name = {report.patient.name: report for report in reports}
    for part, members in parts.items():
        for name in members:
            report = by_name[name]
            other = names.setdefault(name, part)
            if other != part or members.count(name) > 1:
                raise LggError(f"patient {name} is listed twice in the split ({other} and {part}): list it once")
            twin, other = people.setdefault(report.patient.person, (name, part))
            if other != part:
                message = f"{twin} ({other}) and {name} ({part}) are scans of one person by their names"
                raise LggError(f"{message}: keep them together, or rename them where they are of two")
            for digest in report.digests:
                twin, other = digests.setdefault(digest, (name, part))
                if other != part:
                    message = f"patient {name} ({part}) shows the same pixels as {twin} ({other}): remove one of them"
                    raise LggError(message)


def _deal(people: list[str], reports: dict[str, list[PatientReport]], piles: int, generator: random.Random) -> list:
    """Deal people out like cards: ordered by site and tumour volume, each run of ``piles`` people is shuffled.

    So every pile gets one of each run, and sites and volumes are spread evenly.
    """

    def order(person: str) -> tuple[str, int, str]:
        return _site(person, reports), sum(r.tumour_voxels for r in reports[person]), person

    dealt: list[list[str]] = [[] for _ in range(piles)]
    ranked = sorted(people, key=order)
    for start in range(0, len(ranked), piles):
        run = ranked[start : start + piles]
        generator.shuffle(run)
        for person, pile in zip(run, dealt, strict=False):  # the last run may be short
            pile.append(person)
    return dealt


def _even_sites(dealt: list[list[str]], reports: dict[str, list[PatientReport]]) -> None:
    """Swap people of one run until a site's numbers in any two piles differ by one at most.

    A site may begin and end within a run, and chance may give one pile an extra person of it both times.
    """
    for run in range(max(len(pile) for pile in dealt)):
        seats = [pile[run] if run < len(pile) else None for pile in dealt]
        sites = [None if person is None else _site(person, reports) for person in seats]
        for site in sorted({site for site in sites if site is not None}):
            before = [sum(_site(person, reports) == site for person in pile[:run]) for pile in dealt]
            rich = [n for n, here in enumerate(sites) if here == site and before[n] > min(before)]
            poor = [n for n, here in enumerate(sites) if here != site and before[n] == min(before)]
            for one, other in zip(rich, poor, strict=False):
                seats[one], seats[other] = seats[other], seats[one]
                sites[one], sites[other] = sites[other], sites[one]
        for pile, person in zip(dealt, seats, strict=True):
            pile[run:] = [*([] if person is None else [person]), *pile[run + 1 :]]


def _site(person: str, reports: dict[str, list[PatientReport]]) -> str:
    return reports[person][0].patient.site
