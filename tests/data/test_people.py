"""Scans of one person are of one person whatever they are called, and people stay apart."""

import pytest

from lgg_monai.data.people import person_of


@pytest.mark.parametrize("one", ["P01", "LGG-104", "Garc\u00eda", "TCGA_CS_4941", "sub-07", "UCSF-PDGM-0004"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("_20010131", "_20020301"),
        ("_2001_01_31", "_2002_03_01"),
        (".31.01.2001", "_01-31-2002"),
        ("_20010131101500", "_20010131_111500"),
        ("_2001-01-31T10-15", " 2001-01-31"),
        ("_ses-pre", "_ses-1_run-2"),
        (" baseline", ".recurrence"),
        ("_initial", "_postRT"),
        ("_BL", "_FU"),
        ("_6months", "_12mo"),
        ("_pre", "_early-postop"),
        ("_mri", "_ses-2_anat"),
        ("_anat_2001-01-31", "_6 months_images"),
    ],
)
def test_scans_of_one_person_are_known_as_such(one: str, first: str, second: str) -> None:
    people = {person_of(one + first), person_of(one.upper() + second), person_of(one)}
    assert len(people) == 1


def test_letters_for_times_count_behind_a_number() -> None:
    assert {person_of(f"P01{end}") for end in ("_T0", "_v2", "-M12", "_3m", "_scan2", "_MR1")} == {"P01"}
    assert len({person_of(name) for name in ("LGG_T1", "LGG_T2", "LGG_scan1", "LGG_mr2")}) == 4


@pytest.mark.parametrize("first", ["2001-01-31_", "20010131_", "T0_", "ses-1_", "baseline_"])
def test_times_may_come_first(first: str) -> None:
    assert person_of(f"{first}P01") == person_of("P01_20020301")


def test_accents_and_case_are_no_other_person() -> None:
    spelt = ("Garc\u00eda_1", "Garci\u0301a_1", "GARCIA_1", "garcia_1")
    assert {person_of(name) for name in spelt} == {"GARCIA_1"}
    # Marks that make another letter of one, outside Latin.
    assert person_of("\u0439") != person_of("\u0438")
    assert person_of("\u304c") != person_of("\u304b")


FORMS = [
    *("p{}", "LGG_{:03}", "case_{:05}", "{:08}", "19{:06}", "1.2.3.{}", "2021-{:03}", "C1_P{:02}", "T{:02}_1", "V{}"),
    *("BraTS20_Training_{:03}", "BraTS-GLI-{:05}-000", "TCIA01_{:03}_1", "UCSF-PDGM-{:04}", "UPENN-GBM-{:05}_11"),
]


@pytest.mark.parametrize("form", FORMS)
def test_people_stay_apart(form: str) -> None:
    names = [form.format(number) for number in range(1, 32)]
    assert len({person_of(name) for name in names}) == len(names)
