"""Patches: identity, known rotations, flips and shifts, agreement with MONAI, and labels that move along."""

from __future__ import annotations

import math

import pytest
import torch
from monai.transforms import Affine
from torch.nn import functional

from lgg_monai.transforms import BatchRandom, RandomAffinePatch, RandomTurn
from lgg_monai.transforms.spatial import sampling_grid

IDENTITY = {"placement": 0.0, "degrees": 0.0, "scale": (1.0, 1.0), "flip": 0.0, "elastic_probability": 0.0}


class Fixed(RandomAffinePatch):
    """A patch whose matrix and centre are given rather than drawn."""

    def __init__(self, patch_size: int, matrix: list[list[float]], shift: tuple[float, float] = (0, 0)) -> None:
        super().__init__(patch_size, elastic_probability=0)
        self.matrix = torch.tensor(matrix, dtype=torch.float32)
        self.shift = torch.tensor(shift, dtype=torch.float32)

    def parameters(
        self, batch: int, size: tuple[int, int], patch: tuple[int, int], random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        middle = (torch.tensor(size) - 1) / 2
        return self.matrix.expand(batch, 2, 2), (middle + self.shift).expand(batch, 2)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def blob(size: tuple[int, int], centre: tuple[float, float], radius: float) -> torch.Tensor:
    """A disc of ones ``[1, 1, X, Y]``."""
    x, y = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2).float()[None, None]


@pytest.mark.parametrize("size", [(32, 32), (40, 24), (18, 50)])
def test_identity_settings_cut_the_centre_out(size: tuple[int, int]) -> None:
    image, label = noise(3, 3, *size), (noise(3, 1, *size) > 0).float()
    patch, patch_label = RandomAffinePatch(16, **IDENTITY)(image, label, BatchRandom(0))
    x, y = (size[0] - 16) // 2, (size[1] - 16) // 2
    torch.testing.assert_close(patch, image[:, :, x : x + 16, y : y + 16], atol=5e-5, rtol=0)
    assert torch.equal(patch_label, label[:, :, x : x + 16, y : y + 16])


@pytest.mark.parametrize(("size", "patch"), [((128, 96), (128, 96)), ((48, 98), (64, 128)), ((144, 30), (150, 64))])
def test_a_slice_smaller_than_the_patch_gives_one_of_its_own_size_that_networks_take(
    size: tuple[int, int], patch: tuple[int, int]
) -> None:
    image, label = noise(2, 3, *size), (noise(2, 1, *size) > 0).float()
    settings = {**IDENTITY, "placement": 1.0}
    found = RandomAffinePatch(150, **settings)(image, label, BatchRandom(0))
    assert [part.shape[2:] for part in found] == [patch, patch]
    x, y = ((outer - inner) // 2 for outer, inner in zip(patch, size, strict=True))
    around = [y, y, x, x]
    for part, whole in zip(found, (image, label), strict=True):
        torch.testing.assert_close(part, functional.pad(whole, around, mode="replicate"), atol=5e-5, rtol=0)


def test_a_quarter_turn_is_a_rotation_of_the_array() -> None:
    image, label = noise(2, 3, 24, 24), (noise(2, 1, 24, 24) > 0).float()
    turned, turned_label = Fixed(24, [[0, -1], [1, 0]])(image, label, BatchRandom(0))
    torch.testing.assert_close(turned, image.rot90(-1, (2, 3)), atol=5e-5, rtol=0)
    assert torch.equal(turned_label, label.rot90(-1, (2, 3)))


def test_flip_mirrors_the_first_axis_only() -> None:
    image, label = noise(2, 3, 24, 32), (noise(2, 1, 24, 32) > 0).float()
    mirrored, mirrored_label = RandomAffinePatch(24, **{**IDENTITY, "flip": 1.0})(image, label, BatchRandom(0))
    torch.testing.assert_close(mirrored, image[..., 4:28].flip(2), atol=5e-5, rtol=0)
    assert torch.equal(mirrored_label, label[..., 4:28].flip(2))


def test_sampling_grid_of_a_shift_names_the_shifted_pixels() -> None:
    grid = sampling_grid(torch.eye(2)[None], torch.tensor([[15.5 + 3, 11.5 - 2]]), (32, 24), (16, 8))
    assert grid.shape == (1, 16, 8, 2)
    y, x = grid[0].unbind(-1)  # from -1 to 1 between the edges
    torch.testing.assert_close((x[:, 0] + 1) * 32 / 2 - 0.5, torch.arange(16) + 8.0 + 3)
    torch.testing.assert_close((y[0] + 1) * 24 / 2 - 0.5, torch.arange(8) + 8.0 - 2)
    image = noise(1, 3, 32, 24)
    patch, _ = Fixed(16, [[1, 0], [0, 1]], (3, -2))(image, image[:, :1], BatchRandom(0))
    torch.testing.assert_close(patch, image[:, :, 11:27, 2:18], atol=5e-5, rtol=0)


def test_beyond_the_slice_the_border_is_repeated() -> None:
    image = noise(1, 3, 16, 16)
    patch, _ = Fixed(16, [[1, 0], [0, 1]], (100, 0))(image, image[:, :1], BatchRandom(0))
    torch.testing.assert_close(patch, image[:, :, -1:].expand_as(patch), atol=1e-5, rtol=0)


def test_a_magnification_of_one_and_a_half_makes_areas_that_much_larger() -> None:
    label = blob((64, 64), (31.5, 31.5), 12)
    settings = {**IDENTITY, "scale": (1.5, 1.5)}
    _, magnified = RandomAffinePatch(64, **settings)(label.expand(1, 3, 64, 64), label, BatchRandom(0))
    assert float(magnified.sum() / label.sum()) == pytest.approx(2.25, rel=0.03)


@pytest.mark.parametrize("size", [(48, 48), (56, 40)])
def test_drawn_patches_agree_with_monai(size: tuple[int, int]) -> None:
    transform = RandomAffinePatch(32, placement=1, elastic_probability=0)
    image = noise(6, 3, *size)
    drawn, _ = transform(image, image[:, :1], BatchRandom(2))
    matrices, centres = transform.parameters(6, size, (32, 32), BatchRandom(2))
    middle = (torch.tensor(size) - 1) / 2
    for sample, matrix, centre, patch in zip(image, matrices, centres, drawn, strict=True):
        # MONAI's matrix maps offsets from the middle of the output to those from the middle of the input.
        affine = torch.eye(3, dtype=torch.float64)
        affine[:2, :2], affine[:2, 2] = matrix, centre - middle
        resample = Affine(affine=affine, spatial_size=(32, 32), mode="bilinear", padding_mode="border", image_only=True)
        torch.testing.assert_close(patch, resample(sample).as_tensor(), atol=1e-4, rtol=0)


def test_rotation_and_scale_have_the_sense_of_monai() -> None:
    angle, zoom = math.radians(25), 0.8
    matrix = [[zoom * math.cos(angle), -zoom * math.sin(angle)], [zoom * math.sin(angle), zoom * math.cos(angle)]]
    image = noise(1, 3, 48, 48)
    patch, _ = Fixed(32, matrix)(image, image[:, :1], BatchRandom(0))
    resample = Affine(
        rotate_params=angle, scale_params=(zoom, zoom), spatial_size=(32, 32), padding_mode="border", image_only=True
    )
    torch.testing.assert_close(patch[0], resample(image[0]).as_tensor(), atol=1e-4, rtol=0)


def test_drawn_parameters_keep_their_ranges() -> None:
    transform = RandomAffinePatch(32, placement=0.5, degrees=20, scale=(0.85, 1.2), flip=0.25)
    matrix, centre = transform.parameters(4000, (64, 48), (32, 32), BatchRandom(0))
    determinant = torch.linalg.det(matrix)
    assert float((determinant < 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    magnification = determinant.abs() ** -0.5
    assert 0.85 <= magnification.min() < 0.86
    assert 1.19 < magnification.max() <= 1.2001
    # Rotation, magnification and mirror only: no shear.
    products = matrix.transpose(1, 2) @ matrix
    torch.testing.assert_close(products, torch.eye(2) * determinant.abs()[:, None, None], atol=1e-5, rtol=0)
    angles = torch.rad2deg(torch.atan2(-matrix[:, 0, 1], matrix[:, 1, 1]))
    assert 19 < angles.abs().max() <= 20.001
    # Half of the free way of 16 and 8 pixels.
    reach = (centre - torch.tensor([31.5, 23.5])).abs().amax(dim=0)
    assert 7.8 < reach[0] <= 8
    assert 3.9 < reach[1] <= 4


def test_patches_with_full_placement_stay_inside_the_slice() -> None:
    transform = RandomAffinePatch(16, **{**IDENTITY, "placement": 1.0})
    ramp = torch.arange(40.0)[:, None].expand(40, 40)[None, None].expand(200, 3, 40, 40)
    patches, _ = transform(ramp, ramp[:, :1], BatchRandom(0))
    steps = patches[:, 0, 1:, :] - patches[:, 0, :-1, :]
    torch.testing.assert_close(steps, torch.ones_like(steps), atol=1e-4, rtol=0)  # no repeated border anywhere
    assert patches[:, 0, 0].min() < 2
    assert patches[:, 0, -1].max() > 37


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_in_half_precision_give_the_same_patches(dtype: torch.dtype) -> None:
    image, label = noise(2, 3, 256, 256).to(dtype), blob((256, 256), (100, 150), 30).expand(2, 1, 256, 256)
    whole, whole_label = RandomAffinePatch(160)(image.float(), label, BatchRandom(4))
    half, half_label = RandomAffinePatch(160)(image, label.to(torch.uint8), BatchRandom(4))
    assert half.dtype == half_label.dtype == dtype
    assert torch.equal(half, whole.to(dtype))
    assert torch.equal(half_label.float(), whole_label)


@pytest.mark.parametrize("seed", range(4))
def test_label_stays_binary_and_moves_with_the_image(seed: int) -> None:
    label = torch.cat([blob((72, 56), (20 + 8 * i, 18 + 5 * i), 9) for i in range(4)])
    transform = RandomAffinePatch(48, elastic_probability=0.5)
    image, moved = transform(label.expand(4, 3, 72, 56), label, BatchRandom(seed))
    assert image.shape == (4, 3, 48, 48)
    assert moved.shape == (4, 1, 48, 48)
    assert moved.unique().tolist() == [0.0, 1.0]
    assert torch.equal(moved, (image[:, 1:2] > 0.5).float())
    still = RandomAffinePatch(48, **IDENTITY)(label, label, BatchRandom(0))[1]
    assert not torch.equal(moved, still)


def test_elastic_deformation_moves_pixels_smoothly_and_not_too_far() -> None:
    settings = {**IDENTITY, "elastic": 3.0, "elastic_probability": 1.0}
    places = torch.stack(torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing="ij"))
    ramps = places.expand(32, 2, 96, 64)
    bent, _ = RandomAffinePatch(32, **settings)(ramps, ramps[:, :1], BatchRandom(0))
    way = bent - ramps[:, :, 32:64, 16:48]
    # Bicubic weights sum to 1 and their absolute values to at most 1.375 along each axis.
    assert 1 < way.abs().max() <= 3 * 1.375**2
    assert way.diff(dim=2).abs().max() < 1.5
    assert all(sample.abs().max() > 0.5 for sample in way.flatten(0, 1))
    along_x, along_y = way.std(
        dim=(0, 2, 3)
    ).tolist()  # as far along the shorter side of a slice as along the longer one
    assert along_x == pytest.approx(along_y, rel=0.2)


def test_elastic_probability_is_the_share_of_bent_samples() -> None:
    settings = {**IDENTITY, "elastic_probability": 0.25}
    image = noise(1, 3, 16, 16).expand(400, 3, 16, 16)
    patches, _ = RandomAffinePatch(16, **settings)(image, image[:, :1], BatchRandom(0))
    bent = ((patches - image).abs().amax((1, 2, 3)) > 1e-3).float().mean()
    assert float(bent) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 8}, "patch_size is 8: use at least 16 pixels"),
        ({"scale": (0.0, 1.2)}, r"scale is \(0.0, 1.2\): use \(smallest, largest\), both above 0"),
        ({"scale": [1.2, 0.8]}, r"scale is \(1.2, 0.8\)"),
        ({"scale": 1.2}, r"scale is 1.2: use two numbers, \(smallest, largest\)"),
        ({"flip": 50}, "flip is 50: use a number from 0 to 1"),
        ({"elastic_probability": -0.1}, "elastic_probability is -0.1: use a number from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomAffinePatch(**settings)


def test_turns_lay_slices_in_four_ways_and_labels_along() -> None:
    image, label = noise(1, 3, 8, 8).expand(64, 3, 8, 8), (noise(1, 1, 8, 8) > 0).float().expand(64, 1, 8, 8)
    turned, turned_label = RandomTurn(0.5)(image, label, BatchRandom(0))
    ways = [lambda part: part, lambda part: part.flip(2), lambda part: part.mT, lambda part: part.flip(2).mT]
    found = [next(n for n, way in enumerate(ways) if torch.equal(way(image[0]), one)) for one in turned]
    assert set(found) == {0, 1, 2, 3}
    for way, one in zip(found, turned_label, strict=True):
        assert torch.equal(ways[way](label[0]), one)


def test_turns_leave_the_axes_of_slices_that_are_not_square() -> None:
    image, label = noise(16, 3, 8, 6), torch.zeros(16, 1, 8, 6)
    turned, _ = RandomTurn(1)(image, label, BatchRandom(0))
    assert torch.equal(turned, image.flip(3))
    assert torch.equal(RandomTurn(0)(image, label, BatchRandom(0))[0], image)


def test_turns_by_a_share_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="probability of RandomTurn is 25: use a number from 0 to 1"):
        RandomTurn(25)
