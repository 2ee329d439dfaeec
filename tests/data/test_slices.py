"""Batches are gathered from cached volumes as they are, and epochs are drawn in the same way every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, LoadImaged
from torch.utils.data import DataLoader

from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.data.slices import SliceDataset, TumourSliceSampler, gathered


def volume(number: int, size: tuple[int, int, int], tumour: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """A volume of noise ``[3, X, Y, Z]`` with its tumour on the slices ``tumour``."""
    image = np.random.default_rng(number).normal(number, 1, (3, *size)).astype(np.float32)
    label = np.zeros((1, *size), dtype=np.uint8)
    for z in tumour:
        label[0, 1:3, 2, z] = 1
    return {"image": image, "label": label}


def as_tensors(dtype: torch.dtype = torch.float32) -> Compose:
    return Compose(
        [EnsureTyped(keys="image", dtype=dtype, track_meta=False), EnsureTyped(keys="label", track_meta=False)]
    )


def dataset(volumes: list[dict[str, np.ndarray]], **kwargs: Any) -> SliceDataset:
    return SliceDataset(volumes, as_tensors(), progress=False, **kwargs)


def with_tumour(tumour: int, other: int) -> SliceDataset:
    return dataset([volume(0, (4, 5, tumour + other), tuple(range(tumour)))])


def drawn(sampler: TumourSliceSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_items_are_the_slices_of_the_volumes_in_order() -> None:
    volumes = [volume(0, (6, 5, 4), (1,)), volume(1, (6, 5, 3)), volume(2, (6, 5, 2), (0, 1))]
    slices = dataset(volumes)
    assert len(slices) == 9
    assert slices.slice_size == (6, 5)
    assert slices.has_tumour.dtype == torch.bool  # others can be inverted without turning into their opposite
    assert slices.has_tumour.tolist() == [False, True, False, False, False, False, False, True, True]
    expected = [(one["image"][..., z], one["label"][..., z]) for one in volumes for z in range(one["image"].shape[-1])]
    for item, (image, label) in zip((slices[i] for i in range(9)), expected, strict=True):
        np.testing.assert_array_equal(item["image"], image)
        np.testing.assert_array_equal(item["label"], label)


def test_gathered_batch_is_the_stack_of_its_items() -> None:
    slices = dataset([volume(0, (6, 5, 4), (1,)), volume(1, (7, 4, 3), (2,))])
    indices = [5, 0, 5, 3]
    batch = slices.__getitems__(indices)
    assert batch["image"].shape == (4, 3, 7, 5)
    assert batch["label"].shape == (4, 1, 7, 5)
    for key in ("image", "label"):
        torch.testing.assert_close(batch[key], torch.stack([slices[i][key] for i in indices]), rtol=0, atol=0)


def test_small_slices_are_padded_with_background_at_their_far_edges() -> None:
    small = volume(0, (4, 5, 2), (0,))
    small["image"][1] -= 100  # every channel has a background of its own
    small["label"][..., 1] = 1  # nothing but tumour: its smallest value is no background
    item = dataset([small, volume(1, (6, 7, 2))])[1]
    np.testing.assert_array_equal(item["image"][:, :4, :5], small["image"][..., 1])
    np.testing.assert_array_equal(item["label"][:, :4, :5], small["label"][..., 1])
    outside = torch.ones(6, 7, dtype=torch.bool)
    outside[:4, :5] = False
    for channel in range(3):
        assert set(item["image"][channel][outside].tolist()) == {float(small["image"][channel].min())}
    assert not item["label"][0][outside].any()


@pytest.mark.parametrize("cache_rate", [0.0, 0.4, 1.0])
def test_partial_caches_hold_the_same_slices(cache_rate: float) -> None:
    volumes = [volume(n, (3, 4, 1), (0,) if n % 2 else ()) for n in range(6)]
    slices = dataset(volumes, cache_rate=cache_rate)
    for number, one in enumerate(volumes):
        np.testing.assert_array_equal(slices[number]["image"], one["image"][..., 0])


def test_types_of_the_cache_are_kept() -> None:
    slices = SliceDataset([volume(0, (3, 4, 2)), volume(1, (5, 4, 2))], as_tensors(torch.float16), progress=False)
    batch = slices.__getitems__([0, 3])
    assert batch["image"].dtype == torch.float16
    assert batch["label"].dtype == torch.uint8


def test_patients_of_a_folder_are_sliced(phantom: Path) -> None:
    patients = find_patients(phantom)[:2]
    reader = "lgg_monai.data.TiffStackReader"
    transform = Compose([LoadImaged("image", reader=reader), LoadImaged("label", reader=reader, mask=True)])
    files = [{"image": str(patient.image), "label": str(patient.label)} for patient in patients]
    slices = SliceDataset(files, transform, progress=False)
    image, label = read_patient(patients[1])
    assert label is not None
    last = slices[len(slices) - 1]
    np.testing.assert_array_equal(last["image"], image[..., -1])
    np.testing.assert_array_equal(last["label"], label[..., -1])
    assert int(slices.has_tumour[-label.shape[-1] :].sum()) == np.count_nonzero(label.any(axis=(0, 1, 2)))


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_gathers_whole_batches(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = dataset([volume(0, (4, 5, 5), (1, 2)), volume(1, (4, 5, 4), (0,))])
    # One item at a time would be the slow way.
    monkeypatch.setattr(SliceDataset, "__getitem__", None)
    sampler = TumourSliceSampler(slices, seed=3)
    collate: Any = gathered  # it gets a batch where PyTorch's types promise a list
    loader = DataLoader(slices, batch_size=4, sampler=sampler, collate_fn=collate, num_workers=workers)
    batches = list(loader)
    assert [len(batch["image"]) for batch in batches] == [4, 2]
    expected = slices.__getitems__(list(sampler))
    for key in ("image", "label"):
        torch.testing.assert_close(torch.cat([batch[key] for batch in batches]), expected[key], rtol=0, atol=0)


@pytest.mark.parametrize(("share", "length"), [(0.5, 14), (0.7, 10), (0.35, 20), (0.9, 8), (1.0, 7)])
def test_default_epoch_shows_every_tumour_slice(share: float, length: int) -> None:
    slices = with_tumour(7, 13)
    sampler = TumourSliceSampler(slices, oversampling=share)
    for epoch in range(3):
        indices = drawn(sampler, epoch)
        assert len(indices) == len(sampler) == length
        assert set(range(7)) <= set(indices)


def test_share_is_of_tumour_and_the_rest_of_all_slices_alike() -> None:
    slices = with_tumour(25, 75)
    sampler = TumourSliceSampler(slices, oversampling=0.5, slices_per_epoch=100)
    shown = [i for epoch in range(40) for i in drawn(sampler, epoch)]
    # Half of them certainly, and a quarter of the other half, as a quarter of all slices show tumour.
    assert int(slices.has_tumour[shown].sum()) == 40 * 50 + 40 * 50 // 4


@pytest.mark.parametrize("per_epoch", [3, 6, 20, 50])
def test_no_slice_is_repeated_before_all_were_shown(per_epoch: int) -> None:
    slices = with_tumour(7, 13)
    sampler = TumourSliceSampler(slices, slices_per_epoch=per_epoch, seed=2)
    seen: Counter[int] = Counter(dict.fromkeys(range(20), 0))
    for epoch in range(30):
        seen.update(drawn(sampler, epoch))
        free = [seen[i] for i in range(7, 20)]  # drawn from the line of all slices alone
        assert max(free) - min(free) <= 1
        tumour = [seen[i] for i in range(7)]  # drawn from both lines
        assert max(tumour) - min(tumour) <= 2


def test_epoch_depends_on_seed_and_number_alone() -> None:
    slices = with_tumour(7, 13)
    uninterrupted = TumourSliceSampler(slices, seed=5)
    epochs = [drawn(uninterrupted, epoch) for epoch in range(4)]
    resumed = TumourSliceSampler(slices, seed=5)
    torch.rand(3)  # the global generator has no part in it
    assert drawn(resumed, 3) == epochs[3]
    assert drawn(resumed, 3) == epochs[3]
    assert drawn(resumed, 0) == epochs[0]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert drawn(TumourSliceSampler(slices, seed=6), 0) != epochs[0]


def test_kinds_are_mixed_within_an_epoch() -> None:
    slices = with_tumour(40, 40)
    indices = drawn(TumourSliceSampler(slices), 0)
    in_first_half = int(slices.has_tumour[indices[:40]].sum())
    assert 22 < in_first_half < 38  # 30 on average: three quarters of what is drawn


def test_sets_with_or_without_tumour_alone_fill_their_epochs() -> None:
    assert sorted(drawn(TumourSliceSampler(with_tumour(5, 0)), 0)) == sorted([*range(5)] * 2)
    assert sorted(drawn(TumourSliceSampler(with_tumour(0, 6), slices_per_epoch=6), 0)) == list(range(6))
    assert sorted(drawn(TumourSliceSampler(with_tumour(0, 6)), 0)) == list(range(6))


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"oversampling is {share}: use a share above 0, up to 1"):
        TumourSliceSampler(with_tumour(2, 2), oversampling=share)


def tumour_share(slices: SliceDataset, balance: float) -> list[float]:
    """Share of the oversampled half of many epochs that is each patient's."""
    sampler = TumourSliceSampler(slices, oversampling=1, slices_per_epoch=600, balance=balance)
    count = Counter(slices.index[number][0] for number in drawn(sampler, 0))
    return [count[patient] / 600 for patient in range(3)]


def test_balance_goes_from_slices_alike_to_patients_alike() -> None:
    slices = dataset([volume(0, (4, 5, 3), (1,)), volume(1, (4, 5, 9), tuple(range(9))), volume(2, (4, 5, 4), (0, 1))])
    assert tumour_share(slices, 0) == pytest.approx([1 / 12, 9 / 12, 2 / 12], abs=0.01)
    assert tumour_share(slices, 0.5) == pytest.approx([3 / 16, 9 / 16, 4 / 16], abs=0.01)
    assert tumour_share(slices, 1) == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.01)
    sampler = TumourSliceSampler(slices, oversampling=1, slices_per_epoch=27, balance=1)
    assert len(set(drawn(sampler, 0))) == 12  # every tumour slice is still shown
    assert TumourSliceSampler(slices, balance=1).length == TumourSliceSampler(slices).length == 24


@pytest.mark.parametrize("balance", [-0.1, 1.5])
def test_a_balance_outside_of_its_range_is_refused(balance: float) -> None:
    with pytest.raises(ValueError, match="use a number from 0"):
        TumourSliceSampler(with_tumour(2, 2), balance=balance)


def test_joined_slices_give_the_same_batches() -> None:
    """What a GPU gathers from."""
    volumes = [volume(number, (5, 6, 4 + number), tumour=(1, 3)) for number in range(3)]
    for each in volumes:
        each["image"] = each["image"].round()  # so few values that they are held as codes
    apart, joined = (SliceDataset(volumes, as_tensors(torch.float16), progress=False) for _ in range(2))
    joined._join()
    assert joined._joined is not None
    for key, expected in apart.__getitems__([0, 9, 3, len(apart) - 1, 3]).items():
        assert torch.equal(joined.__getitems__([0, 9, 3, len(apart) - 1, 3])[key], expected)
    assert torch.equal(joined[4]["image"], apart[4]["image"])
    assert joined.compact(1).image.data_ptr() == joined._joined.image[4].data_ptr()  # held once, not twice


def test_slices_of_several_sizes_are_not_joined() -> None:
    volumes = [{**each, "image": each["image"].round()} for each in (volume(0, (5, 6, 4)), volume(1, (6, 6, 4)))]
    slices = SliceDataset(volumes, as_tensors(torch.float16), progress=False)
    slices._join()
    assert slices._joined is None
