"""The patient's name and birth date stay in the files."""

from __future__ import annotations

import json
import logging
import re
import threading
import traceback
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from synthesis import AXIAL, edit, some_volume

from benchmarks.dicom_series import BORN, NAME, synthesise_series
from lgg_monai.dicom.find import find_dicom
from lgg_monai.dicom.identity import HIDDEN, Identity, quietly
from lgg_monai.dicom.seg import write_seg
from lgg_monai.errors import LggError

PARTS = [*re.split(r"\W+", NAME), BORN, "1961-02-03", "HOSP-4711", "Who", "A12345"]


def assert_anonymous(text: str) -> None:
    found = [part for part in PARTS if re.search(rf"(?<![^\W_]){part}(?![^\W_])", text, re.IGNORECASE)]
    assert found == [], text


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A study whose folder, files and descriptions say whose it is."""
    folder = tmp_path / "clinic" / "DOE_JANE" / "19610203"
    files = synthesise_series(folder, some_volume(), AXIAL, "FLAIR Jane Doe b. 1961-02-03", 5)
    for path in files:
        path.rename(path.with_name(f"SECRETNAME_{path.name}.dcm"))
    synthesise_series(folder, some_volume(), AXIAL, "FLAIR DOE^JANE", 6)
    synthesise_series(folder, some_volume(), AXIAL, "T1 Secretname", 7, BodyPartExamined="BRAIN")
    return tmp_path / "clinic"


def test_nothing_that_a_scan_shows_or_writes_names_the_patient(
    named: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    (source,) = find_dicom([named])
    scan = source.load()
    write_seg(tmp_path / "mask.dcm", scan.image[1] > 30000, scan)
    assert source.path == named
    assert len(scan.warnings) == 1
    assert HIDDEN in scan.warnings[0]
    for shown in (
        source.name,
        source.path.name,
        repr(source),
        scan.name,
        *scan.warnings,
        repr(scan.source),
        caplog.text,
    ):
        assert_anonymous(shown)
    assert_anonymous("".join(capfd.readouterr()))
    assert_anonymous((tmp_path / "mask.dcm").read_bytes().decode("latin-1"))
    assert_anonymous(json.dumps(dcmread(tmp_path / "mask.dcm").to_json_dict()))


def test_the_name_of_a_scan_is_the_same_on_every_run_and_of_a_kept_identity_the_number(named: Path) -> None:
    names = {find_dicom([named])[0].name for _ in range(2)}
    assert len(names) == 1
    name = names.pop()
    assert re.fullmatch(r"study-[0-9a-f]{8}", name)
    (kept,) = find_dicom([named], keep_identity=True)
    assert kept.name == f"HOSP-4711-{name[-8:]}"
    assert kept.path == named / "DOE_JANE" / "19610203"


def test_an_earlier_seg_does_not_stand_for_the_patient(named: Path) -> None:
    (before,) = find_dicom([named], keep_identity=True)
    scan = find_dicom([named])[0].load()
    write_seg(named / "A" / "seg.dcm", scan.image[1] > 30000, scan)  # found first
    (after,) = find_dicom([named], keep_identity=True)
    assert (after.name, after.path) == (before.name, before.path)
    for path in (named / "DOE_JANE" / "19610203").iterdir():
        edit(path, SeriesDescription="T2")
    (named / "A").rename(named / "DOE_JANE" / "A")
    (refused,) = find_dicom([named])
    assert refused.path == named


@pytest.mark.parametrize(("number", "expected"), [("../../etc", "etc"), ("Ä b/ç:*", "Ä_b_ç"), ("///", "patient")])
def test_a_patients_number_becomes_a_file_name(tmp_path: Path, number: str, expected: str) -> None:
    synthesise_series(tmp_path, some_volume((4, 4, 2)), AXIAL, "FLAIR", PatientID=number)
    (source,) = find_dicom([tmp_path], keep_identity=True)
    assert source.name.rsplit("-", 1)[0] == expected


@pytest.mark.parametrize("damage", ["missing slice", "pixels", "patients", "vanished", "no flair", "no such choice"])
def test_no_refusal_names_the_patient(named: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    files = sorted(path for path in named.rglob("*") if path.is_file())
    flair = [path for path in files if dcmread(path).SeriesNumber == 5]
    choices = {"flair": "5"}
    if damage == "missing slice":
        flair.sort(key=lambda path: dcmread(path).ImagePositionPatient[2])
        flair[2].unlink()
    elif damage == "pixels":
        flair[1].write_bytes(flair[1].read_bytes()[:-50])
    elif damage == "patients":
        edit(flair[1], PatientName="Secretname^Other")
    elif damage == "no flair":
        choices = {}
        for path in files:
            edit(path, Modality="CT")
    elif damage == "no such choice":
        choices = {"flair": "77"}

    def find_and_load() -> None:
        (source,) = find_dicom([named], choices)
        if damage == "vanished":
            flair[1].unlink()
        source.load()

    with pytest.raises(LggError) as caught:
        find_and_load()
    shown = "".join(traceback.format_exception_only(caught.value))
    assert_anonymous(shown)
    assert caught.value.__cause__ is None
    assert_anonymous(caplog.text)


def test_short_parts_of_a_name_are_hidden_as_whole_words_only() -> None:
    header = Dataset()
    header.PatientName, header.PatientBirthDate = "Li^Axelina", "20010101"
    identity = Identity.of(header)
    assert identity.hide("AX FLAIR li_axelina2 Axial Lid\n2001.01.01") == "AX FLAIR ***_***2 Axial Lid ***"
    header.PatientIdentityRemoved = "YES"
    assert Identity.of(header).hide("Li") == "Li"


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Wang^Li=王^丽", "FLAIR 王丽 2", "FLAIR ****** 2"),
        ("山田^太郎", "FLAIR 山田太郎", "FLAIR ******"),
        ("김^민수", "FLAIR김민수", "FLAIR******"),
        ("Müller^Ö", unicodedata.normalize("NFD", "FLAIR Müller Höhe"), "FLAIR *** Höhe"),
        (unicodedata.normalize("NFD", "Müller"), "FLAIR MÜLLER", "FLAIR ***"),
        ("Müßig^Jörg", "FLAIR MUESSIG Joerg", "FLAIR *** ***"),
        ("MUESSIG^J", "FLAIR Müßig", "FLAIR ***"),
        ("Иванов^И", "FLAIR Иванов голова", "FLAIR *** голова"),
        ("García^José", "FLAIR GARCIA_JOSE", "FLAIR ***_***"),
        ("GARCIA^JOSE", "FLAIR García José", "FLAIR *** ***"),
        ("Müller^Jürgen", "FLAIR Muller JURGEN Mull", "FLAIR *** *** Mull"),
        ("Łukasz^Świątek", "FLAIR LUKASZ SWIATEK", "FLAIR *** ***"),
        ("Sørensen^Åse", "FLAIR Soerensen SORENSEN Aase", "FLAIR *** *** ***"),
        ("Nguyễn^Văn", "FLAIR NGUYEN VAN Vanilla", "FLAIR *** *** Vanilla"),
        ("Saal^Lí", "nasal Saal, LI Líx", "nasal ***, *** Líx"),
    ],
)
def test_names_of_every_script_are_hidden(name: str, text: str, shown: str) -> None:
    header = Dataset()
    header.SpecificCharacterSet, header.PatientName = "ISO_IR 192", name
    identity = Identity.of(header)
    assert identity.hide(text) == shown
    assert identity.nearest_neutral(Path("/Köln") / text) == Path("/Köln")
    decomposed = Path(unicodedata.normalize("NFD", "/Köln"))
    assert identity.nearest_neutral(decomposed) == decomposed  # names nobody, however it is written


@pytest.mark.parametrize("born", ["19610203", "1961.02.03"])
@pytest.mark.parametrize(
    "date", ["03.02.1961", "02/03/1961", "03-02-1961", "3.2.1961", "3. 2. 1961", "03021961", "19610203", "1961_02_03"]
)
def test_birth_dates_are_hidden_in_every_order(born: str, date: str) -> None:
    header = Dataset()
    with quietly():
        header.PatientBirthDate = born
    identity = Identity.of(header)
    assert identity.hide(f"FLAIR b. {date} AX") == f"FLAIR b. {HIDDEN} AX"
    assert identity.hide("FLAIR 13.02.1961 1.2.3") == "FLAIR 13.02.1961 1.2.3"


def test_threads_stay_quiet_until_the_last_one_is_done() -> None:
    logger, filters = logging.getLogger("pydicom"), list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quietly():
            inside.set()
            assert leave.wait(30)
            warnings.warn("PatientName", UserWarning, stacklevel=1)  # an error, were it heard

    with ThreadPoolExecutor() as pool:
        with quietly():
            future = pool.submit(other)
            assert inside.wait(30)
        assert logger.disabled
        leave.set()
        future.result()
    assert not logger.disabled
    assert warnings.filters == filters
