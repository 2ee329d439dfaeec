"""Patients that have not changed are not read again; whatever else happened, their pixels are."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lgg_monai.data.integrity as module
from lgg_monai.data import report_cache
from lgg_monai.data.convert import convert
from lgg_monai.data.datalist import evaluation_datalist, prepare_datalist
from lgg_monai.data.integrity import DatasetReport, inspect_dataset
from lgg_monai.data.patients import Patient
from lgg_monai.data.report_cache import ReportCache, sound_report
from lgg_monai.errors import LggError


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the patients whose pixels were read."""
    names: list[str] = []
    original = module.read_patient

    def counted(patient: Patient) -> Any:
        names.append(patient.name)
        return original(patient)

    monkeypatch.setattr(module, "read_patient", counted)
    return names


def inspected(folder: Path, cache: Path) -> DatasetReport:
    return inspect_dataset(folder, inspect=ReportCache(cache).report)


@pytest.mark.parametrize("layout", ["tiff", "nifti"])
def test_cached_reports_are_those_of_the_pixels(layout: str, phantom: Path, tmp_path: Path, read: list[str]) -> None:
    folder = phantom if layout == "tiff" else convert(phantom, tmp_path / "nifti")
    plain = inspect_dataset(folder)
    read.clear()
    first = inspected(folder, tmp_path / "cache")
    assert len(read) == 10
    second = inspected(folder, tmp_path / "cache")
    assert len(read) == 10
    assert plain == first == second
    assert plain.fingerprint == second.fingerprint


def test_changed_patients_alone_are_read_again(own_phantom: Path, tmp_path: Path, read: list[str]) -> None:
    cache = tmp_path / "cache"
    before = inspected(own_phantom, cache)
    read.clear()
    patient = before.patients[4].patient
    path = next(patient.image.glob("*_2_mask.tif"))
    times = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as copying tools do
    after = inspected(own_phantom, cache)
    assert read == [patient.name]
    assert after == inspect_dataset(own_phantom)
    assert after.fingerprint != before.fingerprint
    assert len(list((cache / "reports").iterdir())) == 10  # the old one is gone


def test_problems_are_looked_for_again_at_every_start(own_phantom: Path, tmp_path: Path, read: list[str]) -> None:
    first = inspected(own_phantom, tmp_path / "cache")
    bad = first.patients[0].patient
    next(bad.image.glob("*_1_mask.tif")).unlink()
    for _ in range(2):
        read.clear()
        report = inspected(own_phantom, tmp_path / "cache")
        assert read == []  # its files alone are listed
        assert "has no mask beside it" in report.all_problems[0]


def test_another_order_of_channels_is_found_in_cached_reports(phantom: Path, tmp_path: Path, read: list[str]) -> None:
    folder = convert(phantom, tmp_path / "nifti")
    assert inspected(folder, tmp_path / "cache").problems == []
    read.clear()
    (folder / "dataset.json").write_text(json.dumps({"modality": {"0": "FLAIR", "1": "T1w", "2": "T1gd"}}))
    (problem,) = inspected(folder, tmp_path / "cache").problems
    assert "names the channels FLAIR, T1w, T1gd, expected pre, FLAIR, post" in problem
    with pytest.raises(LggError, match=re.escape(problem)):
        sound_report(folder, None)
    assert read == []


def test_twins_are_found_among_cached_reports(own_phantom: Path, tmp_path: Path) -> None:
    first = inspected(own_phantom, tmp_path / "cache").patients[0].patient
    twin = own_phantom / "TCGA_XX_9999_20000101"
    shutil.copytree(first.image, twin)
    for path in twin.iterdir():
        path.rename(path.with_name(path.name.replace(first.name, twin.name)))
    for _ in range(2):  # the second time from the cache
        assert "identical slice(s)" in inspected(own_phantom, tmp_path / "cache").problems[0]


@pytest.mark.parametrize("damage", ["cut", "another number", "no JSON", "empty"])
def test_damaged_reports_are_made_anew(
    damage: str, phantom: Path, tmp_path: Path, read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = inspected(phantom, tmp_path)
    read.clear()
    path = sorted((tmp_path / "reports").iterdir())[3]
    text = path.read_text()
    if damage == "another number":
        content = json.loads(text)
        content["content"]["tumour_voxels"] += 1
        path.write_text(json.dumps(content))
    else:
        path.write_text({"cut": text[:-40], "no JSON": "rubbish", "empty": ""}[damage])
    assert inspected(phantom, tmp_path) == before
    assert len(read) == 1
    assert caplog.text.count("is damaged") == 1
    read.clear()
    assert inspected(phantom, tmp_path) == before
    assert read == []


def test_folders_that_cannot_be_written_cost_time_alone(
    phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert inspected(phantom, tmp_path / "file" / "cache") == inspect_dataset(phantom)
    assert caplog.text.count("cannot write to the cache") == 1


def test_datalists_are_the_same_with_a_cache(phantom: Path, tmp_path: Path, read: list[str]) -> None:
    run, cache = str(tmp_path / "run"), str(tmp_path / "cache")
    training, test = prepare_datalist(str(phantom), run), evaluation_datalist(str(phantom), run)
    read.clear()
    for _ in range(2):
        assert prepare_datalist(str(phantom), run, cache_dir=cache) == training
        assert evaluation_datalist(str(phantom), run, cache_dir=cache) == test
    assert len(read) == 10


def test_long_reading_says_how_far_it_is(
    phantom: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report_cache, "ProgressLines", partial(report_cache.ProgressLines, seconds=0))
    with caplog.at_level(logging.INFO):
        report = sound_report(phantom, None)
    assert caplog.messages == [
        f"reading the data set: {done} of 10 patients done, {one.patient.name} next"
        for done, one in enumerate(report.patients)
    ]
