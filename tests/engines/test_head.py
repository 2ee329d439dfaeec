"""The head is found with its margin; inside nothing changes, outside nothing is tumour."""

from __future__ import annotations

import torch
from monai.networks.nets import UNet
from torch.nn import functional

from lgg_monai.engines.head import NO_TUMOUR, HeadInferer
from lgg_monai.engines.slicewise import SlicewiseInferer
from lgg_monai.networks.efficient_unet import STRIDE


def volume(x: tuple[int, int] = (20, 50), y: tuple[int, int] = (30, 44), noise: float = 0.0) -> torch.Tensor:
    """A bright block in air ``[1, 3, 64, 72, 5]``, as normalised volumes have it."""
    image = torch.full((1, 3, 64, 72, 5), -0.7)
    image[:, :, x[0] : x[1], y[0] : y[1]] = 2.0
    noisy = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return noisy.clamp(-0.7, 2.0)  # as percentiles cut them


def pointwise(slices: torch.Tensor) -> torch.Tensor:
    return slices[:, 1:2] - slices[:, :1] * 2


def finder(margin: int = 0, divisor: int = 1) -> HeadInferer:
    return HeadInferer(SlicewiseInferer(), margin=margin, divisor=divisor)


def test_the_box_is_the_head_with_its_margin() -> None:
    assert finder().box(volume()) == ((20, 50), (30, 44))
    assert finder(margin=8).box(volume()) == ((12, 58), (22, 52))
    assert finder(margin=30).box(volume()) == ((0, 64), (0, 72))


def test_the_box_begins_and_ends_at_multiples_of_the_strides() -> None:
    assert finder(divisor=16).box(volume()) == ((16, 64), (16, 48))
    assert finder(margin=4, divisor=16).box(volume((16, 32), (33, 60))) == ((0, 48), (16, 64))
    assert finder(margin=4, divisor=16).box(volume((0, 64), (0, 72))) == ((0, 64), (0, 72))


def test_single_bright_voxels_do_not_widen_the_box() -> None:
    image = volume(noise=0.05)
    image[:, :, 2, 70, 0] = 2.0
    assert finder().box(image) == ((20, 50), (30, 44))


def test_volumes_of_a_batch_share_a_box_that_holds_all() -> None:
    both = torch.cat([volume(), volume((5, 40), (40, 60))])
    assert finder().box(both) == ((5, 50), (30, 60))


def test_a_volume_of_one_value_is_inferred_whole() -> None:
    blank = torch.zeros(1, 3, 64, 72, 5)
    assert HeadInferer(SlicewiseInferer()).box(blank) == ((0, 64), (0, 72))
    torch.testing.assert_close(HeadInferer(SlicewiseInferer())(blank, pointwise), torch.zeros(1, 1, 64, 72, 5))


def test_inside_is_what_the_network_says_and_outside_is_no_tumour() -> None:
    image = volume(noise=0.05)
    whole = SlicewiseInferer()(image, pointwise)
    cropped = finder(margin=4)(image, pointwise)
    assert cropped.shape == whole.shape
    torch.testing.assert_close(cropped[:, :, 16:54, 26:48], whole[:, :, 16:54, 26:48], rtol=0, atol=0)
    outside = torch.ones(64, 72, dtype=torch.bool)
    outside[16:54, 26:48] = False
    assert (cropped[0, 0][outside] == NO_TUMOUR).all()


def test_disabled_it_changes_nothing() -> None:
    image = volume(noise=0.05)
    expected = SlicewiseInferer()(image, pointwise)
    torch.testing.assert_close(HeadInferer(SlicewiseInferer(), enabled=False)(image, pointwise), expected)


def test_far_from_the_edges_a_strided_network_predicts_the_same() -> None:
    torch.manual_seed(0)
    network = UNet(2, 3, 1, channels=(4, 8), strides=(2,), num_res_units=1, norm="batch").eval()
    image = volume(noise=0.05)
    inferer = HeadInferer(SlicewiseInferer(), divisor=16)
    assert inferer.box(image) == ((16, 64), (16, 48))
    with torch.no_grad():
        cropped, whole = inferer(image, network), SlicewiseInferer()(image, network)
    inside = (slice(None), slice(None), slice(30, 50), slice(30, 34))
    torch.testing.assert_close(cropped[inside], whole[inside])
    assert not torch.allclose(cropped[:, :, 16:18, 30:34], whole[:, :, 16:18, 30:34])


def test_by_default_the_box_suits_a_network_of_stride_32() -> None:
    image = torch.full((1, 3, 96, 128, 2), -0.7)
    image[:, :, 50:90, 40:90] = 2.0
    image = (image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(-0.7, 2.0)

    def coarse(slices: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(functional.avg_pool2d(slices[:, :1], STRIDE), scale_factor=STRIDE)

    inferer = HeadInferer(SlicewiseInferer())
    assert inferer.box(image) == ((32, 96), (32, 96))
    cropped, whole = inferer(image, coarse), SlicewiseInferer()(image, coarse)
    torch.testing.assert_close(cropped[:, :, 32:, 32:96], whole[:, :, 32:, 32:96])
