"""Many scans at once: done ones are skipped, bad ones do not stop the others, and what is written is whole."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from scans import LPS, Bright, blob, save, scan, segmenter

import lgg_monai
from benchmarks.dicom_series import synthesise_series
from lgg_monai.data.scan import ScanSource
from lgg_monai.errors import LggError
from lgg_monai.prediction import earlier, models, outputs, settings
from lgg_monai.prediction.checks import flags
from lgg_monai.prediction.failures import reason_of
from lgg_monai.prediction.geometry import place
from lgg_monai.prediction.inputs import find_scans
from lgg_monai.prediction.measurements import DEFINITIONS, head_mask
from lgg_monai.prediction.processes import Processes
from lgg_monai.prediction.run import RESEARCH_USE, predict
from lgg_monai.prediction.segmenter import Segmenter
from lgg_monai.prediction.settings import settings_of
from lgg_monai.prediction.steps import assess, draw, read


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three scans that are fine, one with a mask beside it, and a damaged one."""
    folder = tmp_path / "cohort"
    for number, name in enumerate(("a", "b", "c")):
        save(folder / f"{name}_flair.nii.gz", blob(seed=number)[1])
        save(folder / f"{name}_t1.nii.gz", blob(seed=number)[0])
    save(folder / "a_seg.nii.gz", (blob()[1] > 110).astype(np.uint8))
    (folder / "bad_flair.nii.gz").write_bytes(b"\x1f\x8b cut")
    return folder


def run(cohort: Path, output: Path, **options: Any):
    segment = options.pop("segment", None) or segmenter()
    return predict(find_scans([cohort]), segment, output, report=options.pop("report", False), **options)


def other_weights() -> Segmenter:
    return replace(segmenter(), digests=("1",))


def table(output: Path) -> list[dict[str, str]]:
    with (output / "measurements.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_bad_scan_does_not_stop_the_others(cohort: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    output = tmp_path / "out"
    outcome = run(cohort, output, progress=lambda done, total, _: seen.append((done, total)), probabilities=True)
    assert outcome.done == ["a", "b", "c"]
    assert list(outcome.failed) == ["bad"]
    assert "cannot read" in outcome.failed["bad"]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = table(output)
    assert [row["patient"] for row in rows] == ["a", "b", "c"]
    assert set(DEFINITIONS) < set(rows[0])
    assert float(rows[0]["dice"]) > 0.8
    assert rows[1]["dice"] == ""
    assert "missing sequences, replaced by FLAIR: post" in rows[0]["warnings"]
    mask = nibabel.load(output / "a" / "mask.nii.gz")
    assert np.array_equal(mask.affine, LPS)
    assert int(np.asarray(mask.dataobj).sum()) == int(rows[0]["volume_voxels"])
    probability = np.asarray(nibabel.load(output / "a" / "probability.nii.gz").dataobj)
    assert np.array_equal(probability >= 0.5, np.asarray(mask.dataobj) > 0)
    settings = json.loads((output / "settings.json").read_text())
    assert settings["notice"] == RESEARCH_USE
    assert settings["failures"].keys() == {"bad"}
    assert not list(output.rglob(".partial-*"))


def test_done_scans_are_skipped_and_interrupted_ones_are_not(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    (output / "b" / "result.json").unlink()  # as if it had been interrupted
    (output / "b" / ".partial-1.nii.gz").write_bytes(b"half")
    before = (output / "a" / "mask.nii.gz").stat().st_mtime_ns
    outcome = run(cohort, output)
    assert (outcome.done, outcome.skipped) == (["b"], ["a", "c"])
    assert (output / "a" / "mask.nii.gz").stat().st_mtime_ns == before
    assert not list(output.rglob(".partial-*"))
    assert [row["patient"] for row in table(output)] == ["a", "b", "c"]
    outcome = run(cohort, output, overwrite=True)
    assert outcome.done == ["a", "b", "c"]
    # What was not asked for before is made when it is.
    assert run(cohort, output, probabilities=True).done == ["a", "b", "c"]
    assert run(cohort, output).skipped == ["a", "b", "c"]
    assert run(cohort, output, report=True).done == ["a", "b", "c"]
    assert run(cohort, output, report=True).skipped == ["a", "b", "c"]


def test_a_page_does_not_outlive_the_masks_that_it_shows(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output, report=True)
    run(cohort, output, report=False)
    assert (output / "report.html").is_file()  # nothing was drawn anew
    run(cohort, output, report=False, overwrite=True)
    assert not (output / "report.html").exists()


def test_an_interruption_leaves_no_page_or_table_of_masks_that_were_replaced(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    overall = [output / "report.html", output / "measurements.csv"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    run(cohort, output, report=True)
    save(cohort / "d_flair.nii.gz", blob(seed=3)[1])
    with pytest.raises(KeyboardInterrupt):
        run(cohort, output, report=True, progress=stop)
    assert all(path.is_file() for path in overall)  # one was added, none replaced
    with pytest.raises(KeyboardInterrupt):
        run(cohort, output, report=True, overwrite=True, progress=stop)
    assert not any(path.exists() for path in overall)
    run(cohort, output, report=True)
    assert all(path.is_file() for path in overall)


def test_a_scan_whose_files_changed_is_segmented_again(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    save(cohort / "b_t1c.nii.gz", blob(seed=1)[2])  # a sequence more
    save(cohort / "c_flair.nii.gz", blob(seed=7)[1])
    outcome = run(cohort, output)
    assert (outcome.done, outcome.skipped) == (["b", "c"], ["a"])
    assert json.loads((output / "b" / "result.json").read_text())["missing_sequences"] == []


def test_a_scan_is_segmented_again_when_its_files_change_their_roles_or_its_mask_changes(tmp_path: Path) -> None:
    files = dict(zip(("pre", "flair", "post"), blob(), strict=True))
    paths = {name: save(tmp_path / "in" / f"x_{name}.nii.gz", values) for name, values in files.items()}

    def skipped(**explicit: Path) -> list[str]:
        outcome = predict(find_scans([], explicit=explicit), segmenter(), tmp_path / "out", report=False)
        assert not outcome.failed
        return outcome.skipped

    assert skipped(**paths) == []
    assert skipped(**paths) == ["x"]
    assert skipped(**paths | {"pre": paths["post"], "post": paths["pre"]}) == []  # as one who had mixed them up
    volume = save(tmp_path / "four" / "imagesTs" / "y.nii.gz", np.stack(list(files.values()), axis=-1))
    mask = tmp_path / "four" / "labelsTs" / "y.nii.gz"

    def score(order: str) -> str | None:
        names = {str(index): name for index, name in enumerate(order.split())}
        (tmp_path / "four" / "dataset.json").write_text(json.dumps({"channel_names": names}))
        outcome = predict(find_scans([volume.parent]), segmenter(), tmp_path / "out4", report=False)
        assert not outcome.failed
        return table(tmp_path / "out4")[0]["dice"] if outcome.done else None

    assert score("T1 FLAIR T1c") == ""
    assert score("T1 FLAIR T1c") is None
    assert score("FLAIR T1 T1c") == ""
    assert score("T1 FLAIR T1c") == ""
    save(mask, np.zeros((48, 40, 12), np.uint8))
    assert score("T1 FLAIR T1c") == "0.0"
    save(mask, np.ones((48, 40, 12), np.uint8))
    assert 0 < float(score("T1 FLAIR T1c") or 0) < 1


def test_another_choice_of_dicom_series_is_segmented_again(tmp_path: Path) -> None:
    for number in (3, 5):
        volume = (blob((48, 40, 6), seed=number)[1] * 10).astype(int)
        synthesise_series(tmp_path / "in" / f"s{number}", volume, LPS, "AX FLAIR", number)
    output = tmp_path / "out"

    def again(**series: str) -> tuple[int, int]:
        sources = find_scans([tmp_path / "in"], series=series)
        outcome = predict(sources, segmenter(), output, report=False)
        assert not outcome.failed
        return len(outcome.done), len(outcome.skipped)

    assert again() == (1, 0)
    assert again() == (0, 1)
    assert again(flair="3") == (1, 0)
    assert again(flair="3") == (0, 1)
    # A T1 that came later counts as well.
    volume = (blob((48, 40, 6))[0] * 10).astype(int)
    synthesise_series(tmp_path / "in" / "s7", volume, LPS, "AX T1", 7)
    assert again(flair="3") == (1, 0)
    # And what is taken for what.
    synthesise_series(tmp_path / "in" / "s8", volume[::-1], LPS, "AX T1 POST", 8)
    assert again(flair="3", pre="8", post="7") == (1, 0)
    assert again(flair="3", pre="7", post="8") == (1, 0)
    assert again(flair="3") == (0, 1)


def test_a_scan_that_cannot_be_read_any_more_is_said_to_fail(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    (cohort / "b_flair.nii.gz").write_bytes(b"\x1f\x8b cut")
    outcome = run(cohort, output, report=True)
    assert set(outcome.failed) == {"b", "bad"}
    row = next(row for row in table(output) if row["patient"] == "b")
    assert "older result, now failed: cannot read" in row["warnings"]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "2 failed" in page


def test_flair_in_several_files_of_many_frames_costs_the_seg_alone(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    files = synthesise_series(tmp_path / "single", (blob()[1] * 10).astype(int), LPS, "AX FLAIR", 5)
    series = highdicom.UID()
    (tmp_path / "in").mkdir()
    for number, part in enumerate((files[:7], files[7:]), 1):
        headers = [pydicom.dcmread(path) for path in part]
        image = highdicom.legacy.LegacyConvertedEnhancedMRImage(headers, series, 5, highdicom.UID(), number)
        image.save_as(tmp_path / "in" / str(number))
    masks = []
    for folder in ("single", "in"):
        sources = find_scans([tmp_path / folder])
        output = tmp_path / f"{folder}-out"
        assert predict(sources, segmenter(), output, report=False).done == [sources[0].name]
        masks.append(np.asarray(nibabel.load(output / sources[0].name / "mask.nii.gz").dataobj))
        assert (output / sources[0].name / "seg.dcm").is_file() == (folder == "single")
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)
    (row,) = table(output)
    assert re.search('no DICOM SEG: series 5 "AX FLAIR.*" lies in several files of many frames', row["warnings"])
    # And is not asked for again.
    assert predict(find_scans([tmp_path / "in"]), segmenter(), output, report=False).skipped


def test_the_page_offers_the_seg_and_tells_when_it_is_older_than_the_mask(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    synthesise_series(tmp_path / "in", (blob((48, 40, 6))[1] * 10).astype(int), LPS, "AX FLAIR", 5)
    output = tmp_path / "out"

    def page() -> str:
        predict(find_scans([tmp_path / "in"]), segmenter(), output)
        return (output / "report.html").read_text(encoding="utf-8")

    assert re.search(r'href="study-\w+/seg\.dcm" download hidden>DICOM SEG</a>', page())
    (mask,) = output.glob("study-*/mask.nii.gz")
    drawn = nibabel.load(mask)
    save(mask, np.zeros(drawn.shape, np.uint8), drawn.affine)
    assert "measurements and seg.dcm are of the mask before" in page()


@pytest.mark.parametrize("error", [ValueError("too high"), OSError(errno.EIO, "Input/output error")])
def test_what_cannot_be_drawn_for_the_page_is_segmented_all_the_same(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any) -> None:
        monkeypatch.undo()  # of the first scan alone
        raise error

    monkeypatch.setattr("lgg_monai.viewer.data.draw_pictures", refuse)
    output = tmp_path / "out"
    outcome = run(cohort, output, report=True)
    assert outcome.done == ["a", "b", "c"]
    assert not any("failed" in row["warnings"] for row in table(output))
    assert (output / "report.html").read_text(encoding="utf-8").count("data-volumes=") == 3


def test_the_page_tells_the_unit_of_diameters(tmp_path: Path) -> None:
    def page(name: str, grid: np.ndarray) -> str:
        save(tmp_path / "in" / f"{name}_flair.nii.gz", blob()[1], grid)
        run(tmp_path / "in", tmp_path / "out", report=True)
        return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    assert "Diameters are in mm." in page("measured", LPS)
    assert "Diameters are in pixels where the files record no spacing, of the others in mm." in page("not", np.eye(4))


def test_names_that_are_no_text_cost_nothing(cohort: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"M\xfcller.nii.gz")
    try:
        save(cohort / "x.nii.gz", blob()[1]).rename(cohort / odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    for path in cohort.glob("*_*"):
        path.unlink()
    output = tmp_path / "out"
    outcome = run(cohort, output, report=True)
    assert len(outcome.done) == 1
    assert table(output)[0]["warnings"].startswith("M?ller.nii.gz is taken to be FLAIR")
    (cohort / odd).write_bytes(b"cut")
    assert all(text.encode() for text in run(cohort, output, report=True).failed.values())


def test_a_folder_closed_to_us_costs_its_own_scan_alone(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file = Path.is_file

    def closed(path: Path) -> bool:
        if path.name == "b_flair.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", closed)
    outcome = run(cohort, tmp_path / "out")
    assert outcome.done == ["a", "c"]
    assert "b_flair.nii.gz (Permission denied): give files that you may read" in outcome.failed["b"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_patients_own_files_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    """Where folders are called as patients are, the folder above them would take the results into these."""
    image = blob()
    for number, name in enumerate(("t1", "flair", "t1ce")):
        save(tmp_path / "scans/p1" / f"{name}.nii.gz", image[number])
    save(tmp_path / "scans/p1/mask.nii.gz", (image[1] > 110).astype(np.uint8))
    before = files_of(tmp_path / "scans/p1")
    sources = find_scans([tmp_path / "scans/p1"])
    outcome = predict(sources, segmenter(), tmp_path / "scans", report=False, overwrite=overwrite)
    assert outcome.done == []
    assert outcome.failed["p1"].endswith("scans/p1 holds the scan itself: choose another --output")
    assert files_of(tmp_path / "scans/p1") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_no_results_are_not_replaced(cohort: Path, tmp_path: Path, overwrite: bool) -> None:
    output = tmp_path / "out"
    save(output / "b/mask.nii.gz", np.ones((4, 4, 4), np.uint8))
    before = files_of(output / "b")
    outcome = run(cohort, output, overwrite=overwrite)
    assert outcome.done == ["a", "c"]
    assert outcome.failed["b"].endswith("b/mask.nii.gz is no earlier result: move it away, or choose another --output")
    assert files_of(output / "b") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/measurements.csv").write_text("my own")
    with pytest.raises(LggError, match=r"measurements\.csv is no earlier result: move it away"):
        run(cohort, tmp_path / "mine", overwrite=overwrite)
    assert files_of(tmp_path / "mine") == {"measurements.csv": b"my own"}


@pytest.mark.parametrize("options", [{"probabilities": True}, {"overwrite": True}])
def test_a_corrected_mask_is_kept_and_its_measurements_are_said_to_be_older(
    cohort: Path, tmp_path: Path, options: dict[str, bool]
) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    drawn = nibabel.load(output / "b/mask.nii.gz")
    corrected = save(output / "b/mask.nii.gz", np.zeros(drawn.shape, np.uint8), drawn.affine).read_bytes()
    assert run(cohort, output).skipped == ["a", "b", "c"]
    assert "changed after it was written: measurements are of the mask before" in table(output)[1]["warnings"]
    assert "changed" not in table(output)[0]["warnings"]
    outcome = run(cohort, output, **options)
    assert outcome.done == ["a", "c"]
    assert "b/mask.nii.gz was changed after it was written: move it away" in outcome.failed["b"]
    assert (output / "b/mask.nii.gz").read_bytes() == corrected


def test_a_corrected_seg_is_kept_and_its_measurements_are_said_to_be_older(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from lgg_monai.dicom.seg import write_seg

    synthesise_series(tmp_path / "in", (blob((48, 40, 6))[1] * 10).astype(int), LPS, "AX FLAIR", 5)
    sources, output = find_scans([tmp_path / "in"]), tmp_path / "out"
    predict(sources, segmenter(), output, report=False)
    (seg,) = output.glob("study-*/seg.dcm")
    write_seg(seg, np.zeros((48, 40, 6), bool), sources[0].load())
    corrected = seg.read_bytes()
    assert predict(sources, segmenter(), output, report=False).skipped
    note = "seg.dcm was changed after it was written: measurements and mask.nii.gz are of the mask before"
    assert note in table(output)[0]["warnings"]
    (reason,) = predict(sources, segmenter(), output, overwrite=True).failed.values()
    assert "seg.dcm was changed after it was written: move it away" in reason
    assert seg.read_bytes() == corrected


def test_a_mask_that_is_corrected_during_a_run_is_kept(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    mask = output / "c/mask.nii.gz"

    class Slow(Bright):
        """While it works, somebody saves the mask of a scan whose turn is still to come."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            save(mask, np.ones((48, 40, 12), np.uint8))
            return super().forward(image)

    outcome = run(cohort, output, segment=segmenter([Slow()]), overwrite=True)
    assert outcome.done == ["a", "b"]
    assert "c/mask.nii.gz was changed after it was written" in outcome.failed["c"]
    assert np.asarray(nibabel.load(mask).dataobj).all()


def test_a_mask_that_was_deleted_is_made_again(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out")
    (tmp_path / "out/b/mask.nii.gz").unlink()
    assert run(cohort, tmp_path / "out").done == ["b"]
    assert (tmp_path / "out/b/mask.nii.gz").is_file()


def test_a_scan_that_is_replaced_while_it_is_segmented_is_segmented_again(cohort: Path, tmp_path: Path) -> None:
    class Replacing(Bright):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            save(cohort / "b_flair.nii.gz", blob(seed=5)[1] * 2)
            return super().forward(image)

    sources = [source for source in find_scans([cohort]) if source.name == "b"]
    predict(sources, segmenter([Replacing()]), tmp_path / "out", report=False)
    assert predict(sources, segmenter(), tmp_path / "out", report=False).done == ["b"]


def test_an_interrupted_patient_is_made_again(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise KilledError

    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(outputs, "write_json", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # the process is gone: nothing is tidied up
        with pytest.raises(KilledError):
            outputs.write_prediction(
                output / "b", *prediction_of(cohort, "b"), {}, probabilities=False, viewed=False
            )  # fmt: skip
    assert (output / "b/mask.nii.gz").is_file()
    assert run(cohort, output).done == ["a", "b", "c"]
    assert not list(output.rglob(".partial-*"))


def prediction_of(cohort: Path, name: str) -> tuple[ScanSource, outputs.Prediction]:
    (source,) = (source for source in find_scans([cohort]) if source.name == name)
    prepared, label = read(source, segmenter())
    return source, assess(draw(segmenter(), prepared), label)


def test_a_file_that_is_gone_does_not_bring_its_path_along(tmp_path: Path) -> None:
    folder = tmp_path / "Doe_Jane_19610203"
    synthesise_series(folder, (blob((48, 40, 6))[1] * 10).astype(int), LPS, "AX FLAIR", 3)
    (source,) = find_scans([folder])
    source.files[0].unlink()
    with pytest.raises(LggError) as caught:
        earlier.inputs_digest(source)
    assert "Doe" not in str(caught.value)
    lost = FileNotFoundError(2, "No such file or directory", str(source.files[0]))
    assert "Doe" not in reason_of(lost, source, tmp_path / "out", keep_identity=False)


def test_results_of_before_dicom_files_were_known_are_made_anew(tmp_path: Path) -> None:
    synthesise_series(tmp_path / "in", (blob((48, 40, 6))[1] * 10).astype(int), LPS, "AX FLAIR", 3)
    sources, output = find_scans([tmp_path / "in"]), tmp_path / "out"
    predict(sources, segmenter(), output, report=False)
    path = output / sources[0].name / "result.json"
    old = hashlib.sha256(f"dicom\0{sources[0].path.resolve()}".encode()).hexdigest()[:16]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": old, "inputs": "of no files"}))
    outcome = predict(sources, segmenter(), output, report=False)
    assert (len(outcome.done), outcome.failed) == (1, {})


def test_an_unknown_precision_does_not_end_the_caller(tmp_path: Path) -> None:
    with pytest.raises(LggError, match="unknown precision 'half'"):
        replace(segmenter(), precision="half")


def test_results_of_other_settings_are_not_mixed(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    with pytest.raises(LggError, match="holds results of another mirrored"):
        run(cohort, output, segment=segmenter(tta=True))
    assert run(cohort, output, segment=segmenter(tta=True), overwrite=True).done == ["a", "b", "c"]


def test_masks_of_two_settings_do_not_lie_in_one_folder(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    (source,) = (source for source in find_scans([cohort]) if source.name == "b")
    with pytest.raises(LggError, match=r"holds results of another weights sha256 of a and 1 more too: give all"):
        predict([source], other_weights(), output, report=False, overwrite=True)
    assert run(cohort, output).skipped == ["a", "b", "c"]
    assert predict(find_scans([cohort]), other_weights(), output, report=False, overwrite=True).done == ["a", "b", "c"]


def test_results_of_before_the_preprocessing_was_noted_still_count(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    record = json.loads((output / "settings.json").read_text())
    del record["settings"]["preprocessing"]
    (output / "settings.json").write_text(json.dumps(record))
    old = hashlib.sha256(json.dumps(record["settings"], sort_keys=True).encode()).hexdigest()[:16]
    for path in output.glob("*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": old}))
    assert run(cohort, output).skipped == ["a", "b", "c"]
    assert [row["patient"] for row in table(output)] == ["a", "b", "c"]
    assert run(cohort, output, probabilities=True).done == ["a", "b", "c"]


def test_another_preprocessing_makes_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_of(segmenter())
    config = models.preprocessing_config()
    config["transforms"][-1]["edited"] = 1
    monkeypatch.setattr(settings, "preprocessing_config", lambda: config)
    after = settings_of(segmenter())
    assert [name for name in before if before[name] != after[name]] == ["preprocessing"]


def test_another_scan_of_the_same_name_is_not_taken_for_done(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(cohort, output)
    save(tmp_path / "other" / "a_flair.nii.gz", blob(seed=9)[1])
    outcome = run(tmp_path / "other", output)
    assert "results of another scan of this name" in outcome.failed["a"]
    assert run(tmp_path / "other", output, overwrite=True).done == ["a"]


def test_links_and_reserved_names_do_not_lead_astray(cohort: Path, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    output.mkdir()
    elsewhere.mkdir()
    (output / "a").symlink_to(elsewhere)
    save(cohort / "viewer_flair.nii.gz", blob()[1])
    outcome = run(cohort, output)
    assert "is a link" in outcome.failed["a"]
    assert not list(elsewhere.iterdir())
    assert (output / "viewer_" / "mask.nii.gz").is_file()


def test_a_full_disk_stops_with_one_line_and_nothing_half_written(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    save_to = nibabel.save

    def full(picture: Any, path: Path) -> None:
        if outputs_of_b(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_to(picture, path)

    def outputs_of_b(path: Path) -> bool:
        return path.parent.name == "b"

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(LggError, match=r"cannot write to .* \(No space left on device\): free space") as caught:
        run(cohort, output)
    assert "\n" not in str(caught.value)
    assert (output / "a" / "result.json").is_file()
    assert not (output / "b" / "result.json").exists()
    assert not list(output.rglob(".partial-*"))
    monkeypatch.undo()
    assert run(cohort, output).skipped == ["a"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LggError, match=r"choose another with --output$"):
        run(cohort, tmp_path / "file")


def test_an_unexpected_error_is_one_line_too(cohort: Path, tmp_path: Path) -> None:
    def load() -> Any:
        raise KeyError("first\nsecond")

    sources = [ScanSource("odd", "nifti", tmp_path, load), *find_scans([cohort])]
    outcome = predict(sources, segmenter(), tmp_path / "out", report=False)
    assert outcome.done == ["a", "b", "c"]
    assert outcome.failed["odd"].startswith("KeyError")
    assert "\n" not in outcome.failed["odd"]


def test_paths_of_dicom_files_are_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "DOE^JANE"

    def load() -> Any:
        raise LggError(f"damaged file {folder}/1.dcm: copy it again")

    sources = [ScanSource("study-1", "dicom", folder, load)]
    outcome = predict(sources, segmenter(), tmp_path / "out", report=False)
    assert "DOE" not in outcome.failed["study-1"]
    assert "DOE" not in (tmp_path / "out" / "settings.json").read_text()
    kept = predict(sources, segmenter(), tmp_path / "out", report=False, keep_identity=True)
    assert "DOE" in kept.failed["study-1"]


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_holds_a_few_scans_however_many_there_are(tmp_path: Path, workers: int) -> None:
    held, most, lock = [0], [0], threading.Lock()

    class Counted(np.ndarray):
        def __del__(self) -> None:
            if self.base is None or not isinstance(self.base, Counted):
                with lock:
                    held[0] -= 1

    def load() -> Any:
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        image = blob((16, 16, 2)).view(Counted)
        time.sleep(0.001)
        return scan(image)

    sources = [ScanSource(f"s{i}", "nifti", tmp_path / str(i), load) for i in range(12)]
    outcome = predict(sources, segmenter(), tmp_path / "out", report=False, workers=workers)
    assert len(outcome.done) == 12
    assert most[0] <= workers + 3


def test_processes_share_the_patients_out(cohort: Path, tmp_path: Path) -> None:
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1

    class Alone(Processes):
        """The second of two processes, whose partner has nothing to say."""

        def gather(self, item: Any) -> list[Any]:
            return [item]

    output = tmp_path / "out"
    outcome = predict(find_scans([cohort]), segmenter(), output, report=False, processes=Alone(1, 2))
    assert outcome.done == ["b", "c"] or outcome.done == ["b"]
    assert not (output / "measurements.csv").exists()  # the first process writes it
    rest = predict(find_scans([cohort]), segmenter(), output, report=False, processes=Alone(0, 2))
    assert sorted(outcome.done + rest.done) == ["a", "b", "c"]
    assert [row["patient"] for row in table(output)] == ["a", "b", "c"]


def test_two_predictions_do_not_write_to_one_folder_at_once(cohort: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    refused: list[str] = []

    def another(*_: object) -> None:
        with pytest.raises(LggError) as error:
            run(cohort, output)
        refused.append(str(error.value))

    outcome = run(cohort, output, progress=another)
    assert refused == [f"another prediction is writing to {output}: wait for its end, or choose another --output"] * 4
    assert outcome.done == ["a", "b", "c"]
    assert run(cohort, output).skipped == ["a", "b", "c"]  # once it has ended


def test_what_is_unlike_training_is_flagged() -> None:
    def found(image: np.ndarray, grid: np.ndarray = LPS, **options: Any) -> str:
        volume = scan(image, grid, **options)
        placement = place(image.shape[1:], grid, volume.spacing_known)
        mask = image[1] > 110
        return "; ".join(flags(volume, placement, head_mask(placement.turned(image[1])), mask))

    x, y = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 256), indexing="ij")
    head = ((x / 0.72) ** 2 + (y / 0.88) ** 2 < 1)[..., None] * np.ones(16)
    spot = ((x - 0.3) ** 2 + y**2 < 0.02)[..., None] * np.ones(16)
    noise = np.random.default_rng(0).uniform(0, 4, head.shape)
    usual = np.stack([50 * head + 100 * spot + noise] * 3).astype(np.float32)
    assert found(usual) == ""
    nothing = found(np.minimum(usual, 100))
    assert "nothing outlined, which does not prove that there is no tumour" in nothing
    flat = 200 * head + noise  # as of a bottle of water
    assert "unlike training: is this FLAIR of a head?" in found(np.stack([flat] * 3).astype(np.float32))
    assert "missing sequences, replaced by FLAIR: post" in found(usual, missing=("post",))
    assert "cover 16 mm only" in found(usual, LPS * [1, 1, 0.2, 1])
    lost = usual.copy()
    lost[0, :, :, 4] = 0
    assert (
        found(lost) == "pre of slice 5 is of one single value, unlike those around (slices counted from 1, from below)"
    )
    assert found(np.stack([usual[1]] * 3), missing=("pre", "post")) == "missing sequences, replaced by FLAIR: pre, post"
    assert "only 6 slices" in found(usual[..., :6], np.diag([-1.0, -1, 1, 1]), spacing_known=False)
    assert "slices are 10.0 mm apart" in found(usual, LPS * [1, 1, 2, 1])
    assert "resampled in plane" in found(usual, LPS * [0.5, 0.5, 1, 1])
    assert "no head in air" in found(usual[:, 80:180, 80:180])
    stripped = usual * (((x / 0.5) ** 2 + (y / 0.6) ** 2 < 1)[..., None])
    assert "exactly 0: skull-stripped" in found(stripped.astype(np.float32))
    assert "the mask covers" in found(usual + 100 * head.astype(np.float32))
    small = np.pad(usual[:, 40:-40:2, 20:-20:2], ((0, 0), (80, 80), (64, 64), (0, 0)), constant_values=2)
    assert "no head in air" in found(small) or "pixels of about 0.94 mm long" in found(small)


def test_python_takes_arrays_images_and_paths(tmp_path: Path) -> None:
    image = blob()
    segment = segmenter()
    array = lgg_monai.segment(image, LPS, segmenter=segment)
    assert array.mask.dtype == bool
    assert array.probability.dtype == np.float32
    assert array.measurements["volume_ml"] > 0
    four = nibabel.Nifti1Image(np.moveaxis(image, 0, -1), LPS)
    assert np.array_equal(lgg_monai.segment(four, segmenter=segment).mask, array.mask)
    nibabel.save(four, tmp_path / "scan.nii.gz")
    assert np.array_equal(lgg_monai.segment(tmp_path / "scan.nii.gz", segmenter=segment).mask, array.mask)
    alone = lgg_monai.segment(image[1], segmenter=segment)
    assert alone.measurements["volume_ml"] is None
    assert alone.to_nifti().header.get_xyzt_units()[0] == "mm"
    assert "missing sequences, replaced by FLAIR: pre, post" in alone.warnings
    assert np.array_equal(np.asarray(alone.to_nifti().dataobj) > 0, alone.mask)
    assert np.array_equal(image, blob())  # the caller's array is left alone
    for wrong in (np.zeros((4, 4)), np.zeros((2, 8, 8, 8)), "text", object()):
        with pytest.raises(LggError):
            lgg_monai.segment(wrong, segmenter=segment)
    save(tmp_path / "more" / "other_flair.nii.gz", image[1])
    with pytest.raises(LggError, match="segment takes one"):
        lgg_monai.segment(tmp_path, segmenter=segment)
    with pytest.raises(AttributeError):
        _ = lgg_monai.absent  # type: ignore[attr-defined]


def test_an_array_that_knows_where_it_lies_need_not_be_told(tmp_path: Path) -> None:
    """A MetaTensor in another orientation gave the other side of the head, without a word."""
    image, segment = blob(), segmenter()
    turned = np.ascontiguousarray(image[:, ::-1])
    moved = LPS @ np.array([[-1, 0, 0, image.shape[1] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = lgg_monai.segment(turned, moved, segmenter=segment)
    assert (
        expected.measurements["hemisphere"]
        == lgg_monai.segment(image, LPS, segmenter=segment).measurements["hemisphere"]
    )
    found = lgg_monai.segment(MetaTensor(torch.as_tensor(turned), affine=torch.as_tensor(moved)), segmenter=segment)
    assert found.measurements == expected.measurements
    assert np.array_equal(found.affine, moved)
    assert lgg_monai.segment(MetaTensor(torch.as_tensor(image)), segmenter=segment).measurements["volume_ml"] is None
    for wrong in ("x", np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(LggError, match="leads to no places"):
            lgg_monai.segment(image, wrong, segmenter=segment)  # type: ignore[arg-type]


def test_a_mask_on_another_grid_is_left_out_with_a_warning(cohort: Path, tmp_path: Path) -> None:
    save(cohort / "a_seg.nii.gz", np.ones((3, 3, 3), np.uint8))
    run(cohort, tmp_path / "out")
    (row,) = [row for row in table(tmp_path / "out") if row["patient"] == "a"]
    assert row["dice"] == ""
    assert "reference mask left out" in row["warnings"]


def test_source_paths_are_not_written_down(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        if path.name == "result.json":
            assert "cohort" not in path.read_text()
    source = find_scans([cohort])[0]
    assert earlier.source_digest(source) != earlier.source_digest(replace(source, path=tmp_path))


def test_a_patient_that_the_weights_were_trained_on_is_flagged(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out", segment=segmenter(seen=frozenset({"B"})))  # persons, whose names are in capitals
    flagged = [row["patient"] for row in table(tmp_path / "out") if "took part in the training" in row["warnings"]]
    assert flagged == ["b"]


def test_results_of_other_weights_are_not_mixed(cohort: Path, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out")
    with pytest.raises(LggError, match="holds results of another weights sha256"):
        run(cohort, tmp_path / "out", segment=replace(segmenter(), digests=("1",)))
