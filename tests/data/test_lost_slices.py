"""Slices that lost a sequence are told of; what scans do at their ends is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lgg_monai.cli import app
from lgg_monai.data.convert import convert
from lgg_monai.data.datalist import evaluation_datalist, prepare_datalist
from lgg_monai.data.integrity import inspect_dataset
from lgg_monai.data.lost_slices import lost_slices
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.data.tiff_stack import read_slice

PRE, FLAIR, POST = range(len(SEQUENCES))
ONE = "PHANTOM_AA_0001_20000101"
Change = Callable[[np.ndarray], None]


def put(channel: int, slices: list[int] | slice, source: int | None) -> Change:
    """Give slices of a channel those of another, or one value."""

    def change(image: np.ndarray) -> None:
        image[channel, :, :, slices] = 7 if source is None else image[source, :, :, slices]

    return change


def random_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, 6, 5, 9), np.uint8)


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (put(POST, [4], None), ["post of slice 5 is of one single value, unlike those around"]),
        (put(FLAIR, [1, 3, 4, 7], None), ["flair of slices 2, 4-5, 8 is of one single value, unlike those around"]),
        (put(POST, [0, 4], FLAIR), ["post of slices 1, 5 is the same as flair, unlike others"]),
        (put(PRE, [8], POST), ["pre of slice 9 is the same as post, unlike others"]),
        (  # not acquired but for that: the others are no copies to tell of
            lambda image: (put(POST, slice(None), FLAIR)(image), put(POST, [4], None)(image)),
            ["post of slice 5 is of one single value, unlike those around"],
        ),
        (put(FLAIR, [2], PRE), ["pre of slice 3 is the same as flair, unlike others"]),
    ],
)
def test_lost_slices_are_named(change: Change, phrases: list[str]) -> None:
    image = random_image()
    change(image)
    assert lost_slices(image) == phrases
    counted_from_0 = lost_slices(image, first=0)
    assert len(counted_from_0) == len(phrases)
    assert counted_from_0 != phrases


@pytest.mark.parametrize(
    "change",
    [
        lambda image: None,
        put(POST, [0, 1, 2, 3], None),  # as nine slices of TCGA_DU_A5TW_19980228
        put(FLAIR, [0, 7, 8], None),
        put(POST, slice(None), FLAIR),
        put(PRE, slice(None), None),
        # Both end early: they are alike there, but show nothing.
        lambda image: (put(FLAIR, [0, 8], None)(image), put(POST, [0, 8], None)(image)),
        # A copy of FLAIR that ends where FLAIR does.
        lambda image: (put(FLAIR, [0], None)(image), put(POST, slice(None), FLAIR)(image)),
    ],
)
def test_ends_of_volumes_and_sequences_not_acquired_are_sound(change: Change) -> None:
    image = random_image()
    change(image)
    assert lost_slices(image) == []


@pytest.fixture
def damaged(own_phantom: Path) -> Path:
    path = own_phantom / ONE / f"{ONE}_4.tif"
    picture = read_slice(path).copy()
    picture[..., POST] = 0
    Image.fromarray(picture).save(path)
    return own_phantom


def test_check_warns_and_succeeds(damaged: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(damaged)])
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"warning: {damaged / ONE}: post of slice 4 is of one single value, unlike those around: "
        "replace it where the file is damaged"
    ]


def test_slices_are_named_as_their_files(damaged: Path) -> None:
    for path in sorted((damaged / ONE).iterdir(), key=lambda path: int(path.stem.removesuffix("_mask").split("_")[-1])):
        stem, mask = path.stem.removesuffix("_mask"), "_mask" if path.stem.endswith("_mask") else ""
        name, number = stem.rsplit("_", 1)
        path.rename(path.with_name(f"{name}_{int(number) - 1}{mask}.tif"))
    (warning,) = inspect_dataset(damaged).warnings
    assert "post of slice 3 is of" in warning


def test_nifti_says_where_slices_are_counted_from(damaged: Path, tmp_path: Path) -> None:
    (warning,) = inspect_dataset(convert(damaged, tmp_path / "nifti")).warnings
    assert f"{ONE}.nii.gz: post of slice 4 is of one single value" in warning
    assert "(slices counted from 1, from below)" in warning


def test_training_and_evaluation_warn_also_of_data_that_were_read_before(
    damaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, cache = str(tmp_path / "run"), str(tmp_path / "cache")
    for _ in range(2):
        caplog.clear()
        prepare_datalist(str(damaged), run, cache_dir=cache)
        evaluation_datalist(str(damaged), run, cache_dir=cache)
        assert caplog.text.count("post of slice 4 is of one single value") == 2
