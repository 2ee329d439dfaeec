"""The page's text, and the data beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageFont
from report_patients import OBLIQUE, MakePatient, save

from lgg_monai.errors import LggError
from lgg_monai.viewer import ReportPatient
from lgg_monai.viewer.data import embed, identity_of
from lgg_monai.viewer.report import format_value, write_report
from lgg_monai.viewer.templates import SHARED

TITLE = ImageFont.load_default(14)
HOSTILE = """</script><img src=x onerror="alert(1)">'{{ 7*7 }}é漢\u202e"""


def write(folder: Path, patients: list[ReportPatient], **changes: Any) -> str:
    options = {"title": "Masks", "phantom": False, "notes": []} | changes
    return write_report(folder, patients, **options).read_text(encoding="utf-8")


def content_of(folder: Path, name: str) -> dict[str, Any]:
    """Read a patient's script as a browser would: one call with one object."""
    comment, call, rest = (folder / "viewer" / identity_of(name) / "volumes.js").read_text().split("\n")
    assert comment.startswith("// {")
    assert not rest
    content: dict[str, Any] = json.loads(call.removeprefix("lggViewer.receive(").removesuffix(");"))
    return content


def volume_of(content: dict[str, Any], role: str) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content["layers"][role])))


def test_names_warnings_and_notes_are_text_and_never_markup(make_patient: MakePatient, tmp_path: Path) -> None:
    patient = make_patient(HOSTILE, warnings=[HOSTILE], measurements={HOSTILE: HOSTILE})
    failed = ReportPatient("x" + HOSTILE, error=HOSTILE)
    page = write(tmp_path, [patient, failed], title=HOSTILE, notes=[HOSTILE], definitions={HOSTILE: HOSTILE})
    assert "<img src=x" not in page
    assert page.count("</script>") == 1
    assert 'onerror="' not in page
    assert html.escape(HOSTILE, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
    assert "{{ 7*7 }}" in page
    script = (tmp_path / "viewer" / identity_of(HOSTILE) / "volumes.js").read_text()
    assert "<" not in script
    assert "alert" not in script


def test_the_page_asks_nothing_of_the_network(make_patient: MakePatient, tmp_path: Path) -> None:
    page = write(tmp_path, [make_patient()])
    markup = re.sub(r"<script>.*?</script>|data:image/webp;base64,[A-Za-z0-9+/=]*", "", page, flags=re.DOTALL)
    assert "//" not in markup
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", page)
    sources = re.findall(r'(?:src|href)="([^"]*)"', markup)
    assert {source for source in sources if re.match(r"[a-z]+:|/", source)} == {"data:,"}  # no icon is asked for


def test_a_page_says_what_it_is_and_what_it_is_not(make_patient: MakePatient, tmp_path: Path) -> None:
    page = write(tmp_path / "a", [make_patient()])
    assert "not a medical device" in page
    assert "an outline does not prove a tumour, nor an empty mask its absence" in page
    assert "PHANTOM" not in page
    assert "<strong>1 scan</strong>" in page  # of which a patient may have several
    page = write(tmp_path / "b", [make_patient()], phantom=True)
    assert page.count("PHANTOM") >= 3
    assert "PHANTOM" in re.search("<title>(.*)</title>", page).group(1)  # type: ignore[union-attr]


def test_a_patient_shows_thumbnail_measurements_warnings_and_files(make_patient: MakePatient, tmp_path: Path) -> None:
    page = write(tmp_path / "out", [make_patient("a b", warnings=["odd spacing"])])
    assert "12.3" in page
    assert "odd spacing" in page
    # Beside the name, which is read before each of the row's values, the picture says nothing of its own.
    assert re.search(r'<a href="[^"]+" title="slice 4 of 7 with the outline">\s*<img [^>]+ alt=""', page)
    assert re.search(r'href="p\d+/mask.nii.gz"', page)
    place = tmp_path / "out" / "viewer" / identity_of("a b")
    thumbnail = base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", page).group(1))  # type: ignore[union-attr]
    picture = np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB")).astype(int)
    assert max(picture.shape) == 112
    magenta = (picture[..., 0] > 150) & (picture[..., 1] < 110)
    assert magenta.any()
    with Image.open(place / "slices.webp") as slices:
        assert slices.width > 600


def test_a_failed_patient_appears_with_its_reason_and_stops_no_other(make_patient: MakePatient, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    page = write(
        tmp_path / "out",
        [make_patient("good"), make_patient("bad", image=broken), ReportPatient("gone", error="the scan is a CT")],
    )
    assert "2 failed" in page
    assert "failed: the scan is a CT" in page
    # Its empty measurements are passed over, so that the reason stands beside the name.
    columns = page.partition("</thead>")[0].count('scope="col"')
    row = page.partition('data-name="gone"')[2].partition("</tr>")[0]
    assert re.findall(r"<td [^>]*?(hidden|colspan=\"\d+\")>", row) == ["hidden"] * (columns - 2) + [
        f'colspan="{columns - 1}"'
    ]
    assert "failed: cannot read the volume" in page
    assert " hidden>" not in page.partition('data-name="bad"')[2].partition("</td>")[0]  # it was measured
    assert page.count("data-volumes=") == 1


def test_a_narrow_volume_makes_a_picture_that_its_format_can_hold(make_patient: MakePatient, tmp_path: Path) -> None:
    flair = np.broadcast_to(np.arange(600.0)[None, :, None], (10, 600, 13)).astype(np.float32)
    patient = make_patient(image=save(tmp_path / "narrow.nii.gz", flair, np.eye(4)), mask=None)
    page = write(tmp_path / "out", [patient])
    assert "failed" not in page.partition("<tbody")[2].partition("</tbody>")[0]
    with Image.open(tmp_path / "out" / "viewer" / identity_of(patient.name) / "slices.webp") as slices:
        assert slices.height > 2000
        assert slices.width / 3 > TITLE.getlength("slice 13 of 13") + 8  # pixels left of it


def test_the_address_of_a_file_is_its_name_in_bytes(make_patient: MakePatient, tmp_path: Path) -> None:
    """A folder whose name is no text, or is read under a locale that does not know its letters."""
    patient = make_patient(measurements={})
    assert patient.mask is not None
    try:
        folder = Path(shutil.move(patient.mask.parent, tmp_path / "out" / os.fsdecode(b"\xff\xe9")))
    except OSError:
        pytest.skip("the file system takes text alone")
    page = write(tmp_path / "out", [replace(patient, mask=folder / "mask.nii.gz", image=folder / "flair.nii.gz")])
    assert 'href="%FF%E9/mask.nii.gz"' in page


def test_a_patient_that_cannot_be_drawn_is_said_so_and_stops_no_other(
    make_patient: MakePatient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        monkeypatch.undo()  # of the first patient alone
        raise ValueError("encoding error 5\ntoo high")

    monkeypatch.setattr("lgg_monai.viewer.data.draw_pictures", refuse)
    page = write(tmp_path / "out", [make_patient("odd"), make_patient("good")])
    assert "cannot draw odd for the page (ValueError: encoding error 5 too high): open its files" in page
    assert page.count("data-volumes=") == 1


def test_embedded_volumes_are_those_of_the_files(make_patient: MakePatient, tmp_path: Path) -> None:
    patient = make_patient()
    patient = make_patient(truth=patient.mask, probability=patient.mask)
    write(tmp_path / "out", [patient])
    content = content_of(tmp_path / "out", "patient")
    assert patient.mask is not None
    mask = nibabel.load(patient.mask).get_fdata() > 0
    for role in ("flair", "mask", "truth", "probability"):
        image = volume_of(content, role)
        assert np.allclose(image.affine, OBLIQUE, atol=1e-5)
        assert image.get_data_dtype() == np.uint8
    shown = np.asarray(volume_of(content, "mask").dataobj)
    assert ((shown > 0) == mask).all()
    assert (np.asarray(volume_of(content, "probability").dataobj) == 255 * mask).all()
    # The edge is the outermost voxels in each slice: every voxel within touches only mask in its slice.
    x, y, z = np.nonzero(shown == 1)
    assert x.size
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert mask[x + dx, y + dy, z].all()
    flair = np.asarray(volume_of(content, "flair").dataobj)
    assert (flair.min(), flair.max()) == (0, 255)


def test_slices_are_numbered_as_in_the_file(make_patient: MakePatient, tmp_path: Path) -> None:
    """The oblique affine runs from superior to inferior, against the viewer's axis."""
    write(tmp_path / "out", [make_patient()])
    content = content_of(tmp_path / "out", "patient")
    assert content["axes"][2] == {"plane": "axial", "size": 7, "flipped": True}
    assert content["centre"][2] == 7 - 1 - 3


def test_only_what_changed_is_written_again(make_patient: MakePatient, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first, second = make_patient("first"), make_patient("second")
    embed(folder, first, False)
    scripts = [folder / "viewer" / identity_of(name) / "volumes.js" for name in ("first", "second")]
    before = scripts[0].stat().st_mtime_ns
    page = write(folder, [first, second])
    assert scripts[0].stat().st_mtime_ns == before
    assert write(folder, [first, second]) == page
    second = make_patient("second", mask=None)
    write(folder, [first, second])
    assert scripts[0].stat().st_mtime_ns == before
    assert "mask" not in content_of(folder, "second")["layers"]
    write(folder, [first], phantom=True)
    assert scripts[0].stat().st_mtime_ns > before
    assert not scripts[1].exists()  # as no page names that patient any more
    (folder / "viewer" / "own notes").mkdir()
    write(folder, [first])
    assert (folder / "viewer" / "own notes").is_dir()


def test_many_patients_keep_the_page_light(tmp_path: Path) -> None:
    measurements = {f"measurement_{number}": 1.5 for number in range(12)}
    empty = len(write(tmp_path, []))
    page = write(tmp_path, [ReportPatient(f"p{number}", measurements=measurements) for number in range(500)])
    thumbnail = 3000  # in base64, seldom more
    assert len(page) - empty + 500 * thumbnail < 4e6


def test_two_patients_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LggError, match="two patients are called 'a'"):
        write(tmp_path, [ReportPatient("a"), ReportPatient("a")])


@pytest.mark.parametrize(
    ("value", "text", "key"),
    [
        (None, "–", ""),
        (float("nan"), "–", ""),
        (np.float32(0.125), "0.125", "0.125"),
        (1234.5678, "1\u202f235", "1234.5678"),
        (12.345, "12.3", "12.345"),
        (-3, "\u22123", "-3"),
        (True, "yes", "True"),
        ((1, 2), "1, 2", "1, 2"),
        ("left", "left", "left"),
    ],
)
def test_values_are_written_for_readers_and_sorted_by_what_they_are(value: object, text: str, key: str) -> None:
    cell = format_value(value)
    assert (cell.text, cell.key) == (text, key)


def test_the_library_is_the_published_one_with_its_licence() -> None:
    licence = (SHARED / "niivue.LICENSE.txt").read_text(encoding="utf-8")
    assert hashlib.sha256((SHARED / "niivue.js").read_bytes()).hexdigest() in licence
    assert "BSD 2-Clause" in licence


def test_the_command_needs_no_torch_to_start() -> None:
    code = "import sys, lgg_monai.viewer.server as s; assert 'torch' not in sys.modules; print(s.PAGE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "report.html\n"
