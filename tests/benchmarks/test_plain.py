"""The plain pipeline does what the bundle's config says, and what the bundle does where nothing is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from benchmarks.bundle import parser
from benchmarks.plain import augmentation
from benchmarks.variants import NotComparedError
from lgg_monai.transforms import BatchRandom

SIZE = 64
# Steps whose ranges leave nothing to chance, and how far MONAI's may be from ours.
STILL = {"patch_size": 32, "placement": 0.0, "degrees": 0, "flip": 0.0, "elastic": 0}
FIXED: dict[str, tuple[dict[str, Any], float]] = {
    "cut": ({"_target_": "RandomAffinePatch", **STILL, "scale": [1, 1]}, 1e-4),
    "larger": ({"_target_": "RandomAffinePatch", **STILL, "scale": [1.5, 1.5]}, 1e-4),
    "smaller": ({"_target_": "RandomAffinePatch", **STILL, "scale": [0.8, 0.8]}, 1e-4),
    "flipped": ({"_target_": "RandomAffinePatch", **STILL, "scale": [1, 1], "flip": 1.0}, 1e-4),
    "gamma": ({"_target_": "RandomGamma", "probability": 1, "gamma": [1.5, 1.5]}, 1e-4),
    "blur": ({"_target_": "RandomBlur", "probability": 1, "deviation": [1.0, 1.0]}, 0.03),
    "low resolution": ({"_target_": "RandomLowResolution", "probability": 1}, 1e-4),
    "still contrast": ({"_target_": "RandomContrast", "probability": 1, "contrast": 0, "brightness": 0}, 1e-5),
}


def config_of(*steps: dict[str, Any]) -> ConfigParser:
    named = [step | {"_target_": f"lgg_monai.transforms.{step['_target_']}"} for step in steps]
    return ConfigParser({"augmentation": {"_target_": "lgg_monai.transforms.BatchAugmentation", "transforms": named}})


def a_slice() -> dict[str, np.ndarray]:
    """A smooth picture, alike in all sequences, with a disc as its mask."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    disc = ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.1).to(torch.uint8)
    picture = torch.sin(3 * x + 1) * torch.cos(2 * y) + 0.5 * x
    return {"image": picture.repeat(3, 1, 1).numpy(), "label": disc[None].numpy()}


@pytest.mark.parametrize("name", list(FIXED))
def test_a_step_without_chance_does_as_the_bundle(name: str) -> None:
    step, tolerance = FIXED[name]
    config, item = config_of(step), a_slice()
    image, label = (torch.from_numpy(item[key])[None].float() for key in ("image", "label"))
    (fast,) = config.get_parsed_content("augmentation").transforms
    expected, expected_label = fast(image, label, BatchRandom(0))
    plain = augmentation(config, (SIZE, SIZE))(item)
    inside = np.s_[:, 4:-4, 4:-4]  # MONAI's blur takes 0 beyond the border
    torch.testing.assert_close(plain["image"].as_tensor().float()[inside], expected[0][inside], atol=tolerance, rtol=0)
    unlike = plain["label"].as_tensor().float() != expected_label[0]
    assert unlike.float().mean() < 0.02  # nearest neighbour there, half of a voxel's weight here
    if name in ("cut", "flipped"):
        assert not unlike.any()


def test_shares_and_ranges_are_the_config_s() -> None:
    patch = {"patch_size": 16, "scale": [0.5, 2], "flip": 0.3, "degrees": 30, "elastic_probability": 0.1}
    config = config_of(
        {"_target_": "RandomAffinePatch"} | patch, {"_target_": "RandomMissingSequence", "probability": 0.6}
    )
    _, affine, flip, elastic, missing = augmentation(config, (SIZE, SIZE)).set_random_state(0).transforms
    assert (flip.prob, elastic.prob) == (0.3, 0.1)
    grid, drawn = affine.rand_affine.rand_affine_grid, []
    for _ in range(300):
        grid.randomize()
        drawn.append([*grid.scale_params, *grid.rotate_params, *grid.translate_params])
    scale, other, angle, x, y = np.array(drawn).T
    assert np.array_equal(scale, other)
    assert np.mean(scale > 1) == pytest.approx(0.5, abs=0.1)
    for values, bound in ((np.log(scale), np.log(2)), (angle, np.radians(30)), (x, 19.2), (y, 19.2)):
        assert 0.95 * bound < values.max() <= bound
        assert -bound <= values.min() < -0.95 * bound

    image = torch.arange(3.0)[:, None, None].expand(3, 2, 2)
    lost = np.array([missing({"image": image})["image"][[0, 2], 0, 0].numpy() == 1 for _ in range(300)])
    for share in (lost.all(1), lost[:, 0] & ~lost[:, 1], ~lost[:, 0] & lost[:, 1]):
        assert share.mean() == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize("kind", ["RandomBlur", "RandomNoise", "RandomBiasField", "RandomContrast", "RandomGamma"])
def test_what_has_probability_0_never_happens_and_1_always(kind: str) -> None:
    item = a_slice()
    for probability in (0, 1):
        steps = augmentation(config_of({"_target_": kind, "probability": probability}), (SIZE, SIZE))
        steps.set_random_state(1)
        unlike = [bool((steps(item)["image"].as_tensor() != torch.from_numpy(item["image"])).any()) for _ in range(4)]
        assert unlike == [bool(probability)] * 4


@pytest.mark.usefixtures("in_repository")
@pytest.mark.parametrize("net", ["unet", "plain_unet", "pspnet"])
def test_every_step_of_the_bundles_has_a_counterpart(net: str) -> None:
    config = parser(net, {"patch_size": 32})
    result = augmentation(config, (SIZE, SIZE))(a_slice())
    assert result["image"].shape == (3, 32, 32)
    assert result["label"].shape == (1, 32, 32)
    assert set(result["label"].unique().tolist()) <= {0.0, 1.0}


def test_a_step_without_counterpart_is_refused() -> None:
    config = config_of({"_target_": "MainOutputd", "keys": "pred"})
    with pytest.raises(NotComparedError, match="MainOutputd has no counterpart"):
        augmentation(config, (SIZE, SIZE))
