"""Specks are removed alike by evaluation, prediction, robustness and packaged bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from lgg_monai.transforms.components import SMALLEST_COMPONENT, SMALLEST_SHARE, RemoveSpecksd, without_specks

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def blocks(*sizes: int) -> np.ndarray:
    """Columns of so many voxels, apart from each other."""
    mask = np.zeros((3 * len(sizes), 20, 20), bool)
    for number, size in enumerate(sizes):
        mask[3 * number].reshape(-1)[:size] = True
    return mask


def test_what_is_too_small_goes_and_the_rest_stays() -> None:
    mask = blocks(SMALLEST_COMPONENT - 1, SMALLEST_COMPONENT + 1, 300)
    kept = without_specks(mask)
    assert kept.dtype == bool
    np.testing.assert_array_equal(kept.sum((1, 2)), [0, 0, 0, SMALLEST_COMPONENT + 1, 0, 0, 300, 0, 0])
    np.testing.assert_array_equal(without_specks(mask, 0, 0), mask)


def test_what_is_small_beside_the_largest_goes() -> None:
    mask = blocks(300, 399, 150, 201, 1)
    np.testing.assert_array_equal(without_specks(mask, 0, 0.5).sum((1, 2))[::3], [300, 399, 0, 201, 0])
    np.testing.assert_array_equal(without_specks(mask, 250, 0.5).sum((1, 2))[::3], [300, 399, 0, 0, 0])
    np.testing.assert_array_equal(without_specks(mask, 0, 0.9).sum((1, 2))[::3], [0, 399, 0, 0, 0])
    np.testing.assert_array_equal(without_specks(mask, 0, 0), mask)


def test_corners_connect() -> None:
    mask = blocks(190)  # ends at row 9, column 9
    mask[1, 10:12, 10:20] = True
    np.testing.assert_array_equal(without_specks(mask), mask)


@pytest.mark.parametrize("value", [False, True])
def test_a_mask_of_one_value_stays(value: bool) -> None:
    np.testing.assert_array_equal(without_specks(np.full((4, 4, 4), value)), value)


@pytest.mark.parametrize("name", ["evaluate.yaml", "inference.yaml", "package/evaluate.yaml", "package/inference.yaml"])
def test_every_config_removes_the_same(name: str) -> None:
    config = yaml.safe_load((CONFIGS / name).read_text())
    assert (config["smallest_component"], config["smallest_share"]) == (SMALLEST_COMPONENT, SMALLEST_SHARE)


@pytest.mark.parametrize("sizes", [(150, 250), (300, 120, 220), (399, 201, 190, 5), (180,), ()])
def test_the_packages_steps_give_the_same(sizes: tuple[int, ...]) -> None:
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "package/inference.yaml"))
    steps = parser["postprocessing"]["transforms"][1:3]
    needed = {key: parser[key] for key in ("imports", "smallest_component", "smallest_share")}
    transform = ConfigParser({**needed, "steps": {"_target_": "Compose", "transforms": steps}}).get_parsed_content(
        "steps"
    )
    mask = blocks(*sizes) if sizes else np.zeros((4, 20, 20), bool)
    image = MetaTensor(torch.from_numpy(mask).float()[None])
    np.testing.assert_array_equal(transform({"pred": image})["pred"][0].numpy(), without_specks(mask))


def test_volumes_of_a_batch_are_cleaned_each_by_itself() -> None:
    first, second = blocks(150, 250), np.roll(blocks(150, 400), 1, axis=1)
    batch = torch.from_numpy(np.stack([first, second]))[:, None].float()
    cleaned = RemoveSpecksd(keys="pred")({"pred": batch, "label": batch})
    assert cleaned["label"] is batch
    assert cleaned["pred"].dtype == batch.dtype
    for volume, mask in zip(cleaned["pred"], (first, second), strict=True):
        np.testing.assert_array_equal(volume[0].numpy(), without_specks(mask))
    kept = MetaTensor(batch[0], meta={"filename_or_obj": "scan.nii.gz"})
    unchanged = RemoveSpecksd(keys="pred", smallest=0, share=0)({"pred": kept})["pred"]
    assert unchanged.meta["filename_or_obj"] == "scan.nii.gz"
    np.testing.assert_array_equal(unchanged.numpy(), kept.numpy())
