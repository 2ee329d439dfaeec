"""Splits are by person, complete, disjoint, stratified, and the same on every machine."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lgg_monai.data.integrity import PatientReport
from lgg_monai.data.patients import Patient
from lgg_monai.data.split import PARTS, require_disjoint, split_patients
from lgg_monai.errors import LggError

FOLDS = 5


def report(name: str, tumour_voxels: int = 0, digests: tuple[str, ...] = ()) -> PatientReport:
    patient = Patient(name, Path(name), Path(name), "tiff")
    return PatientReport(patient, tumour_voxels=tumour_voxels, digests=frozenset(digests))


def made_up(count: int, seed: int = 0, sites: tuple[str, ...] = ("CS", "DU", "DU", "HT", "HT", "FG", "EZ")) -> list:
    """Patients of unequal sites whose tumours differ in volume by a factor of some thirty."""
    draw = random.Random(seed)
    return [
        report(f"TCGA_{draw.choice(sites)}_{number:04d}_20000101", int(draw.lognormvariate(9, 0.7)))
        for number in range(count)
    ]


def names(reports: list[PatientReport]) -> list[str]:
    return sorted(one.patient.name for one in reports)


@pytest.mark.parametrize("count", [10, 11, 24, 80, 110])
@pytest.mark.parametrize("fold", range(FOLDS))
def test_every_patient_is_in_one_part(count: int, fold: int) -> None:
    reports = made_up(count)
    parts = split_patients(reports, FOLDS, fold)
    assert tuple(parts) == PARTS
    assert sorted(parts["training"] + parts["validation"] + parts["test"]) == names(reports)
    assert all(parts[part] for part in PARTS)
    assert all(parts[part] == sorted(parts[part]) for part in PARTS)
    require_disjoint(parts, reports)


@pytest.mark.parametrize("count", [10, 11, 24, 80, 110])
def test_folds_test_every_patient_once(count: int) -> None:
    reports = made_up(count)
    tested = [split_patients(reports, FOLDS, fold)["test"] for fold in range(FOLDS)]
    assert sorted(name for part in tested for name in part) == names(reports)
    assert max(map(len, tested)) - min(map(len, tested)) <= 1


def test_validation_has_its_share_of_what_is_not_tested() -> None:
    reports = made_up(110)
    for fraction, people in ((0.1, 9), (0.15, 13), (0.2, 18), (0.5, 44)):
        assert len(split_patients(reports, validation_fraction=fraction)["validation"]) == people
    assert len(split_patients(made_up(10), validation_fraction=0.01)["validation"]) == 1


@pytest.mark.parametrize(
    ("fraction", "told"), [(0.15, ""), (0.4, "a share of 0.50 validates, not 0.4: 44 of 88 people")]
)
def test_another_share_than_was_asked_for_is_told(caplog: pytest.LogCaptureFixture, fraction: float, told: str) -> None:
    split_patients(made_up(110), validation_fraction=fraction)
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


def test_split_depends_on_the_seed_alone() -> None:
    reports = made_up(40)
    again = split_patients(reports, seed=3)
    assert split_patients(reports, seed=3) == again
    assert split_patients(reports, seed=4) != again


def test_order_of_the_reports_does_not_matter() -> None:
    reports = made_up(40)
    expected = split_patients(reports, fold=2)
    for seed in range(5):
        random.Random(seed).shuffle(reports)
        assert split_patients(reports, fold=2) == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("count", "folds"), [(110, 5), (83, 5), (31, 4), (15, 7)])
def test_every_fold_has_its_share_of_each_site(seed: int, count: int, folds: int) -> None:
    reports = made_up(count, seed)
    everyone = Counter(one.patient.site for one in reports)
    tested = [
        Counter(name.split("_")[1] for name in split_patients(reports, folds, f, seed)["test"]) for f in range(folds)
    ]
    for site, members in everyone.items():
        assert all(abs(one[site] - members / folds) < 1 for one in tested), site


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("sites", "factor"), [(("AA",), 1.4), (("CS", "DU", "DU", "HT", "HT", "FG", "EZ"), 2)])
def test_every_fold_has_small_and_large_tumours(seed: int, sites: tuple[str, ...], factor: float) -> None:
    reports = made_up(110, seed, sites)
    volumes = {one.patient.name: one.tumour_voxels for one in reports}
    means = [
        statistics.mean(volumes[name] for name in split_patients(reports, FOLDS, fold, seed)["test"])
        for fold in range(FOLDS)
    ]
    assert max(means) < factor * min(means)


def test_scans_of_one_person_stay_together() -> None:
    reports = made_up(30)
    twice = {one.patient.person for one in reports[::3]}
    reports += [report(f"{one.patient.person}_20050505", one.tumour_voxels) for one in reports[::3]]
    for fold in range(FOLDS):
        parts = split_patients(reports, FOLDS, fold)
        together = Counter(person for part in parts.values() for person in {name.rsplit("_", 1)[0] for name in part})
        assert len(twice & set(together)) == 10
        assert set(together.values()) == {1}
        require_disjoint(parts, reports)


def test_known_split() -> None:
    """Frozen: published figures name a fold and a seed, so these lists must be the same everywhere and for ever."""
    sites = ("CS", "CS", "DU", "DU", "DU", "DU", "FG", "HT", "HT", "HT", "HT", "EZ")
    reports = [report(f"TCGA_{site}_{n:04d}_20000101", (n * 7919) % 1009) for n, site in enumerate(sites)]
    short = {part: [name[5:12] for name in found] for part, found in split_patients(reports, 4, 1, seed=7).items()}
    assert short == {
        "training": ["CS_0000", "DU_0003", "DU_0004", "DU_0005", "EZ_0011", "FG_0006", "HT_0007"],
        "validation": ["HT_0008", "HT_0009"],
        "test": ["CS_0001", "DU_0002", "HT_0010"],
    }
    assert [[name[5:12] for name in split_patients(reports, 4, fold)["test"]] for fold in range(4)] == [
        ["DU_0005", "FG_0006", "HT_0010"],
        ["CS_0000", "DU_0002", "HT_0008"],
        ["CS_0001", "DU_0003", "HT_0009"],
        ["DU_0004", "EZ_0011", "HT_0007"],
    ]


def test_fold_all_trains_on_everybody_and_leaves_nobody_to_test() -> None:
    reports = made_up(9)
    parts = split_patients(reports, fold="all")
    assert parts == {"training": names(reports), "validation": [], "test": []}


@pytest.mark.parametrize("split", ["folds", "sites"])
def test_without_validation_the_same_patients_are_tested_and_all_others_trained_on(split: str) -> None:
    reports = made_up(40)
    for fold in range(4):
        usual = split_patients(reports, 4, fold, split=split)
        parts = split_patients(reports, 4, fold, validation_fraction=0, split=split)
        assert parts == {
            "training": sorted(usual["training"] + usual["validation"]),
            "validation": [],
            "test": usual["test"],
        }


@pytest.mark.parametrize("fold", [-1, 5, 7, "one", 0.5])
def test_unknown_fold_is_refused(fold: int) -> None:
    with pytest.raises(LggError, match=f"unknown fold {fold}: --fold takes 0 to 4"):
        split_patients(made_up(20), 5, fold)


@pytest.mark.parametrize("folds", [1, 0, -5, "five", 2.5])
def test_too_few_folds_are_refused(folds: int) -> None:
    with pytest.raises(LggError, match=rf"cannot split into {folds} fold\(s\): use at least 2 with --folds"):
        split_patients(made_up(20), folds)


@pytest.mark.parametrize("fraction", [1, 0.9, 0.51, -0.1, 15, "half", None])
def test_share_of_more_than_half_or_less_than_nothing_is_refused(fraction: Any) -> None:
    with pytest.raises(LggError, match=rf"validation_fraction is {fraction}: use a share of up to 0\.5"):
        split_patients(made_up(20), validation_fraction=fraction)


def test_too_few_patients_are_refused() -> None:
    message = r"9 patient\(s\) are too few for 5 folds: at least 10 are needed, or fewer folds with --folds"
    with pytest.raises(LggError, match=message):
        split_patients(made_up(9), 5)
    # Two scans of one person are one patient.
    reports = made_up(9)
    with pytest.raises(LggError, match=message.replace(" are", ", with 10 scans, are", 1)):
        split_patients([*reports, report(f"{reports[0].patient.person}_20050505")], 5)


@pytest.mark.parametrize("folds", [2, 5])
def test_who_has_too_few_patients_for_any_folds_is_told_what_is_left(folds: int) -> None:
    with pytest.raises(LggError, match=r"or --fold all, which trains on every patient and tests on none$"):
        split_patients(made_up(3), folds)
    assert split_patients(made_up(3), folds, "all")["test"] == []


def test_name_in_two_parts_is_refused() -> None:
    reports = [report("TCGA_AA_0001_20000101"), report("TCGA_AA_0002_20000101")]
    first, second = names(reports)
    with pytest.raises(LggError, match=rf"{first} is listed twice in the split \(training and test\): list it once"):
        require_disjoint({"training": [first], "validation": [second], "test": [first]}, reports)
    with pytest.raises(LggError, match=rf"{first} is listed twice in the split \(training and training\)"):
        require_disjoint({"training": [first, first], "validation": [second], "test": []}, reports)


def test_person_in_two_parts_is_refused() -> None:
    reports = [report("TCGA_AA_0001_20000101"), report("TCGA_AA_0001_20050505"), report("TCGA_AA_0002_20000101")]
    parts = {"training": [names(reports)[0]], "validation": [names(reports)[2]], "test": [names(reports)[1]]}
    with pytest.raises(LggError, match="are scans of one person by their names: keep them together"):
        require_disjoint(parts, reports)


def test_pixels_in_two_parts_are_refused() -> None:
    reports = [report("A", 1, ("x", "y")), report("B", 1, ("z",)), report("C", 1, ("y", "w"))]
    parts = {"training": ["A"], "validation": ["B"], "test": ["C"]}
    with pytest.raises(
        LggError, match=r"patient C \(test\) shows the same pixels as A \(training\): remove one of them"
    ):
        require_disjoint(parts, reports)
    require_disjoint({"training": ["A", "C"], "validation": ["B"], "test": []}, reports)


def test_sites_are_folds_of_their_own() -> None:
    reports = made_up(40)
    sites = sorted({one.patient.site for one in reports})
    for fold, site in enumerate(sites):
        parts = split_patients(reports, fold=fold, split="sites")
        assert parts["test"] == names([one for one in reports if one.patient.site == site])
        assert sorted(parts["training"] + parts["validation"] + parts["test"]) == names(reports)
        assert parts["training"]
        assert parts["validation"]
        require_disjoint(parts, reports)
        assert parts == split_patients(reports, folds=2, fold=fold, split="sites")  # folds is of no account
    with pytest.raises(LggError, match=f"--fold takes 0 to {len(sites) - 1}"):
        split_patients(reports, fold=len(sites), split="sites")


def test_a_site_may_be_small_but_something_has_to_be_left() -> None:
    reports = [report("TCGA_CS_1"), report("TCGA_DU_2"), report("TCGA_DU_3")]
    assert split_patients(reports, fold=0, split="sites")["test"] == ["TCGA_CS_1"]
    with pytest.raises(LggError, match="1 patient is left to train and validate on"):
        split_patients(reports, fold=1, split="sites")


def test_sites_need_two_and_the_split_a_known_name() -> None:
    with pytest.raises(LggError, match=r"all patients are of site CS by their names: .* needs two .*LGG_SITE"):
        split_patients(made_up(10, sites=("CS",)), split="sites")
    with pytest.raises(LggError, match="unknown split 'hospitals': --split takes folds or sites"):
        split_patients(made_up(10), split="hospitals")
