"""What the normalisation of `configs/data.yaml` makes of a scan, and what it must not depend on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import Compose

from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.data.sequences import FLAIR
from lgg_monai.robustness.brain import StripSkull

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "data.yaml"


@pytest.fixture(scope="module")
def normalise() -> Compose:
    """The steps between the reading of a scan and its conversion to half precision."""
    steps = yaml.safe_load(CONFIG.read_text())["preprocessing"]["transforms"]
    first = next(i for i, step in enumerate(steps) if step["_target_"] == "ScaleIntensityRangePercentilesd")
    last = next(i for i, step in enumerate(steps) if step["_target_"] == "EnsureTyped")
    config = {"_target_": "Compose", "transforms": steps[first:last]}
    return ConfigParser({"normalise": config}, globals={"torch": "torch"}).get_parsed_content("normalise")


@pytest.fixture(scope="module")
def scan(phantom: Path) -> torch.Tensor:
    image, _ = read_patient(find_patients(phantom)[0])
    return torch.as_tensor(image, dtype=torch.float32)


def head_of(scan: torch.Tensor) -> torch.Tensor:
    return scan[FLAIR] > 0.15 * scan[FLAIR].max()


def test_the_head_has_mean_0_and_deviation_1_in_every_sequence(normalise: Compose, scan: torch.Tensor) -> None:
    image = normalise({"image": scan})["image"]
    head = image[:, head_of(scan)]
    assert head.mean(1).abs().max() < 0.5
    assert ((head.std(1) > 0.7) & (head.std(1) < 1.3)).all()
    assert (image[:, scan[FLAIR] == 0].mean(1) < -1).all()  # air is the darkest


def test_margins_of_air_change_the_head_little(normalise: Compose, scan: torch.Tensor) -> None:
    margin = scan.shape[1] // 4
    padded = torch.nn.functional.pad(scan, (0, 0, margin, margin, margin, margin))
    inner = normalise({"image": padded})["image"][:, margin:-margin, margin:-margin]
    difference = (inner - normalise({"image": scan})["image"])[:, head_of(scan)]
    assert difference.abs().mean() < 0.05
    # Over all voxels, as many workflows do it, the same margins move the head by a good part of a deviation.
    plain = [(image - image.mean((1, 2, 3), True)) / image.std((1, 2, 3), keepdim=True) for image in (scan, padded)]
    moved = (plain[1][:, margin:-margin, margin:-margin] - plain[0])[:, head_of(scan)]
    assert moved.abs().mean() > 0.3


@pytest.mark.parametrize("factor", [0.01, 3.0])
def test_the_scale_of_the_intensities_does_not_matter(normalise: Compose, scan: torch.Tensor, factor: float) -> None:
    expected = normalise({"image": scan})["image"]
    torch.testing.assert_close(normalise({"image": scan * factor})["image"], expected, atol=1e-3, rtol=0)


def test_brighter_air_is_not_taken_for_head(normalise: Compose, scan: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = scan + 0.02 * scan.amax((1, 2, 3), keepdim=True) * torch.rand(scan.shape, generator=generator)
    shifted = noisy + 0.5 * noisy.amax((1, 2, 3), keepdim=True)  # no voxel is 0 any longer
    expected = normalise({"image": noisy})["image"]
    torch.testing.assert_close(normalise({"image": shifted})["image"], expected, atol=1e-2, rtol=0)


def test_a_scan_of_one_value_becomes_zeros(normalise: Compose) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of the empty range
        image = normalise({"image": torch.full((3, 8, 8, 4), 7.0)})["image"]
    assert torch.equal(torch.as_tensor(image), torch.zeros(3, 8, 8, 4))


def in_zeroed_air(scan: torch.Tensor) -> torch.Tensor:
    return torch.where(head_of(scan), scan, 0)


def without_the_step(normalise: Compose) -> Compose:
    assert len(normalise.transforms) == 3
    return Compose(normalise.transforms[:2])


@pytest.mark.parametrize("change", [torch.Tensor.clone, in_zeroed_air])
@pytest.mark.parametrize("zoom", [1, 2])
def test_whole_heads_are_not_taken_for_brains(
    normalise: Compose, scan: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor], zoom: int
) -> None:
    scan = change(scan).repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    assert torch.equal(normalise({"image": scan})["image"], without_the_step(normalise)({"image": scan})["image"])


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("background", [0.0, -1000.0])
def test_a_brain_without_scalp_and_skull_has_the_intensities_that_it_has_in_its_head(
    normalise: Compose, scan: torch.Tensor, zoom: int, background: float
) -> None:
    stripped = StripSkull()(scan)
    brain = stripped[FLAIR] > 0
    assert 0.05 < brain.float().mean() < 0.6
    stripped = torch.where(brain, stripped, background).repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    head, found, before = (
        steps({"image": image})["image"][:, ::step, ::step]
        for steps, image, step in (
            (normalise, scan, 1),
            (normalise, stripped, zoom),
            (without_the_step(normalise), stripped, zoom),
        )
    )
    assert (found - head)[:, brain].abs().mean() < 0.5 * (before - head)[:, brain].abs().mean()
    assert found[:, ~brain].min() == found[:, ~brain].max() == -2


def test_a_brain_that_fills_its_picture_is_one_all_the_same(normalise: Compose, scan: torch.Tensor) -> None:
    stripped = StripSkull()(scan)
    inside = (stripped[FLAIR] > 0).nonzero()
    low, high = inside.amin(0).tolist(), (inside.amax(0) + 1).tolist()
    cropped = stripped[:, low[0] : high[0], low[1] : high[1]]
    whole = normalise({"image": stripped})["image"][:, low[0] : high[0], low[1] : high[1]]
    assert (normalise({"image": cropped})["image"] - whole).abs().mean() < 0.05  # but for the outliers, which are cut
