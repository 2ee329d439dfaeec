"""Degradations: each does what it says, leaves its input alone, repeats itself, and is undone where it moves voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lgg_monai.data.sequences import FLAIR
from lgg_monai.errors import LggError
from lgg_monai.robustness.degradations import CLEAN, DEGRADATIONS, choose_degradations
from lgg_monai.robustness.degrade import Degradation, degrade, restore

SIZE = (40, 48, 5)
BY_LABEL = {degradation.label: degradation for degradation in DEGRADATIONS}
MOVING = [degradation for degradation in DEGRADATIONS if degradation.moves]


@pytest.fixture(scope="module")
def scan() -> torch.Tensor:
    """Smooth sequences of 0 to 200 within air of 0."""
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.random(SIZE), (4, 4, 0)) for _ in range(3)])
    smooth = 10 + 190 * (smooth - smooth.min()) / np.ptp(smooth)
    smooth[:, :4], smooth[:, -4:], smooth[:, :, :4], smooth[:, :, -4:] = 0, 0, 0, 0
    return torch.tensor(smooth, dtype=torch.float32)


def applied(degradation: Degradation, scan: torch.Tensor, copied: tuple[str, ...] = (), seed: int = 0) -> torch.Tensor:
    return degrade(degradation, scan, copied, "patient", seed)[0].as_tensor()


def test_labels_are_unique_and_every_kind_of_the_table_is_there() -> None:
    assert len(BY_LABEL) == len(DEGRADATIONS)
    assert {degradation.name for degradation in DEGRADATIONS} == {
        *("missing pre", "missing post", "FLAIR alone", "intensity scale", "intensity shift", "gamma", "bias field"),
        *("noise", "blur", "low resolution", "rotation", "left-right flip", "up-down flip", "matrix size"),
        *("cropped field of view", "zero padding", "skull stripped"),
    }
    assert all(degradation.definition for degradation in DEGRADATIONS)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["FLAIR alone"], ["FLAIR alone"]),
        (["noise 0.1", "flair ALONE"], ["FLAIR alone", "noise 0.1"]),
        (["noise", "noise 0.1"], ["noise 0.05", "noise 0.1", "noise 0.2"]),
    ],
)
def test_some_are_chosen_by_name_or_label_in_the_tables_order(names: list[str], labels: list[str]) -> None:
    assert [degradation.label for degradation in choose_degradations(names)] == labels


def test_a_name_that_none_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        LggError,
        match=r"^no degradation is called 'noise 0\.3': give missing pre, .*, zero padding, skull stripped, or",
    ):
        choose_degradations(["blur", "noise 0.3"])


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=BY_LABEL)
def test_the_scan_itself_stays_and_the_result_is_another_that_repeats(
    degradation: Degradation, scan: torch.Tensor
) -> None:
    before = scan.clone()
    once = applied(degradation, scan)
    assert torch.equal(scan, before)
    assert torch.isfinite(once).all()
    assert once.shape[0] == 3
    assert once.shape[3] == SIZE[2]
    assert not torch.equal(once, scan)
    torch.rand(3)
    np.random.rand(3)
    assert torch.equal(applied(degradation, scan), once)


def test_clean_changes_nothing(scan: torch.Tensor) -> None:
    assert torch.equal(applied(CLEAN, scan), scan)


@pytest.mark.parametrize("degradation", MOVING, ids=[degradation.label for degradation in MOVING])
def test_a_prediction_is_mapped_back_to_its_place(degradation: Degradation, scan: torch.Tensor) -> None:
    # A disc off the centre stands for the tumour; the map is the disc where the degraded scan shows it.
    x, y = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = torch.tensor((x - 16) ** 2 + (y - 28) ** 2 <= 36, dtype=torch.float32)[..., None].expand(SIZE)
    degraded, transform = degrade(degradation, torch.stack([disc] * 3), (), "patient")
    found = restore(degradation, transform, degraded.as_tensor()[:1], degraded)
    assert found.shape == (1, *SIZE)
    assert 0 <= found.min() <= found.max() <= 1
    dice = 2 * (found[0].round() * disc).sum() / (found[0].round().sum() + disc.sum())
    assert dice > 0.93
    apart = degraded.as_tensor()[:1]
    assert apart.shape != found.shape or (apart.round() != disc).any()  # it had been elsewhere


def test_what_was_cut_away_is_not_tumour(scan: torch.Tensor) -> None:
    degradation = BY_LABEL["cropped field of view 0.75"]
    degraded, transform = degrade(degradation, scan, (), "patient")
    assert degraded.shape == (3, 30, 36, 5)
    found = restore(degradation, transform, torch.ones(1, 30, 36, 5), degraded)[0]
    assert found[5:35, 6:42].min() == 1
    assert found.sum() == 30 * 36 * 5


def test_missing_sequences_are_copies_of_flair(scan: torch.Tensor) -> None:
    alone = applied(BY_LABEL["FLAIR alone"], scan)
    assert all(torch.equal(alone[channel], scan[FLAIR]) for channel in range(3))
    without_post = applied(BY_LABEL["missing post"], scan)
    assert torch.equal(without_post[:2], scan[:2])
    assert torch.equal(without_post[2], scan[FLAIR])


def test_a_sequence_that_was_missing_before_stays_a_copy(scan: torch.Tensor) -> None:
    own = scan.clone()
    own[2] = own[FLAIR]
    noisy = applied(BY_LABEL["noise 0.1"], own, copied=("post",))
    assert torch.equal(noisy[2], noisy[FLAIR])
    assert not torch.equal(noisy[2], own[2])


def test_chance_follows_from_seed_and_patient_alone(scan: torch.Tensor) -> None:
    for label in ("noise 0.1", "bias field 0.3"):
        degradation = BY_LABEL[label]
        one = degrade(degradation, scan, (), "one")[0]
        applied(BY_LABEL["noise 0.2"], scan)
        assert torch.equal(degrade(degradation, scan, (), "one")[0], one)
        assert not torch.equal(degrade(degradation, scan, (), "other")[0], one)
        assert not torch.equal(applied(degradation, scan, seed=1), applied(degradation, scan, seed=0))


def test_severities_are_what_they_say(scan: torch.Tensor) -> None:
    noisy = applied(BY_LABEL["noise 0.1"], scan + 1000) - (scan + 1000)  # far from 0, Rician noise is Gaussian
    assert noisy[0].std().item() == pytest.approx(0.1 * scan[0].std().item(), rel=0.05)
    torch.testing.assert_close(applied(BY_LABEL["intensity scale 3"], scan), 3 * scan)
    shift = applied(BY_LABEL["intensity shift +1"], scan) - scan
    assert (shift[scan == 0] == 0).all()
    inside = scan[0][scan[0] > 0]
    assert shift[0][scan[0] > 0].mean().item() == pytest.approx(inside.std(unbiased=False).item(), rel=1e-4)
    bent = applied(BY_LABEL["gamma 1.5"], scan)
    torch.testing.assert_close(bent, scan.max() * (scan / scan.max()) ** 1.5, rtol=1e-3, atol=1e-2)
    assert applied(BY_LABEL["matrix size 1.25"], scan).shape == (3, 50, 60, 5)
    assert applied(BY_LABEL["zero padding 0.25"], scan).shape == (3, 60, 72, 5)


@pytest.mark.parametrize("label", ["blur 2", "low resolution 2", "rotation +10", "matrix size 0.75"])
def test_slices_do_not_mix(scan: torch.Tensor, label: str) -> None:
    changed = scan.clone()
    changed[..., 2] = 0
    one, other = applied(BY_LABEL[label], scan), applied(BY_LABEL[label], changed)
    for z in (0, 1, 3, 4):
        torch.testing.assert_close(one[..., z], other[..., z], rtol=1e-4, atol=1e-3)
    assert (one[..., 2] - other[..., 2]).abs().max() > 10
