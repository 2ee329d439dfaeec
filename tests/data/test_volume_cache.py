"""The second start takes volumes from the disk; changed data, changed settings and damaged files are noticed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    RandFlipd,
    ScaleIntensityRangePercentilesd,
)
from PIL import Image

from lgg_monai.data import volumes
from lgg_monai.data.patients import find_patients
from lgg_monai.data.slices import SliceDataset
from lgg_monai.data.volume_cache import default_cache_dir
from lgg_monai.data.volumes import VolumeDataset

READER = "lgg_monai.data.TiffStackReader"


def preprocessing(upper: float = 99) -> Compose:
    """As in configs/data.yaml."""
    return Compose(
        [
            LoadImaged("image", reader=READER),
            LoadImaged("label", reader=READER, mask=True),
            EnsureChannelFirstd(["image", "label"]),
            ScaleIntensityRangePercentilesd("image", 1, upper, 0, 1, clip=True, channel_wise=True),
            NormalizeIntensityd("image", channel_wise=True),
            EnsureTyped("image", dtype=torch.float16, track_meta=False),
            EnsureTyped("label", dtype=torch.uint8, track_meta=False),
        ]
    )


def entries(folder: Path, count: int = 3) -> list[dict[str, Any]]:
    return [
        {"patient": patient.name, "image": str(patient.image), "label": str(patient.label)}
        for patient in find_patients(folder)[:count]
    ]


class Reading:
    """Counts how many volumes go through a transform."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = Compose.__call__

        def counted(compose: Compose, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return original(compose, *args, **kwargs)

        monkeypatch.setattr(Compose, "__call__", counted)

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(monkeypatch)


def dataset(folder: Path, cache_dir: Path | None, kind: type = VolumeDataset, upper: float = 99, **kwargs: Any) -> Any:
    cached = None if cache_dir is None else str(cache_dir)
    return kind(entries(folder), preprocessing(upper), cache_dir=cached, progress=False, **kwargs)


def files(cache_dir: Path) -> list[Path]:
    return sorted((cache_dir / "volumes").glob("*.pt"))


def assert_same(one: Any, other: Any) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for key in ("image", "label"):
            assert a[key].dtype == b[key].dtype
            torch.testing.assert_close(torch.as_tensor(a[key]), torch.as_tensor(b[key]), rtol=0, atol=0)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_cached_volumes_are_those_of_monais_own_cache(cache: str, phantom: Path, tmp_path: Path) -> None:
    plain = CacheDataset(entries(phantom), preprocessing(), progress=False)
    for _ in range(2):  # the second time from the files
        volumes = dataset(phantom, tmp_path, cache=cache)
        assert_same(volumes, plain)
        assert volumes[0]["patient"] == plain[0]["patient"]


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_slices_are_the_same_from_every_cache(cache: str, phantom: Path, tmp_path: Path) -> None:
    uncached = dataset(phantom, None, SliceDataset)
    plain = CacheDataset(entries(phantom), preprocessing(), progress=False)
    indices = [0, 9, 3, len(uncached) - 1]
    whole = [torch.cat([torch.as_tensor(one[key]).movedim(-1, 0) for one in plain]) for key in ("image", "label")]
    for _ in range(2):
        slices = dataset(phantom, tmp_path, SliceDataset, cache=cache)
        assert slices.has_tumour.tolist() == uncached.has_tumour.tolist()
        batch = slices.__getitems__(indices)
        for key, expected in zip(("image", "label"), whole, strict=True):
            torch.testing.assert_close(batch[key], expected[indices], rtol=0, atol=0)


def test_second_start_reads_no_source(phantom: Path, tmp_path: Path, reading: Reading) -> None:
    dataset(phantom, tmp_path)
    assert reading.since() == 3
    assert len(files(tmp_path)) == 3
    dataset(phantom, tmp_path, SliceDataset)  # training and validation share the files
    dataset(phantom, tmp_path, cache="disk")
    assert reading.since() == 0
    dataset(phantom, None)
    assert reading.since() == 3


@pytest.mark.parametrize("nothing", ["null", "None", ""])
def test_none_may_be_written_as_the_command_line_hands_it_on(
    nothing: str, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    VolumeDataset(entries(phantom, 1), preprocessing(), cache_dir=nothing, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_have_files_of_their_own(phantom: Path, tmp_path: Path, reading: Reading) -> None:
    before = dataset(phantom, tmp_path)[0]["image"]
    assert reading.since() == 3
    other = dataset(phantom, tmp_path, upper=90)[0]["image"]
    assert reading.since() == 3
    assert not torch.equal(before, other)
    assert len(files(tmp_path)) == 6
    torch.testing.assert_close(dataset(phantom, tmp_path)[0]["image"], before, rtol=0, atol=0)
    assert reading.since() == 0


def test_changed_patients_are_read_again_and_nothing_old_is_kept(
    own_phantom: Path, tmp_path: Path, reading: Reading
) -> None:
    cache = tmp_path / "cache"
    dataset(own_phantom, cache)
    kept = set(files(cache))
    reading.since()
    patient = entries(own_phantom)[1]
    path = next(Path(patient["image"]).glob("*_3.tif"))
    times = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as copying tools do
    changed = dataset(own_phantom, cache)
    assert reading.since() == 1
    assert_same(changed, dataset(own_phantom, None))
    assert len(files(cache)) == 3
    assert len(kept - set(files(cache))) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    torch.save({"image": torch.zeros(3)}, path)


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("damage", [cut, flip, empty, other])
def test_damaged_files_are_made_anew(
    damage: Callable[[Path], None],
    cache: str,
    phantom: Path,
    tmp_path: Path,
    reading: Reading,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = dataset(phantom, tmp_path)
    damage(files(tmp_path)[1])
    reading.since()
    with caplog.at_level(logging.WARNING):
        after = dataset(phantom, tmp_path, cache=cache)
    assert reading.since() == 1
    assert_same(after, before)
    assert caplog.text.count("is damaged") == 1
    dataset(phantom, tmp_path)
    assert reading.since() == 0


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_volumes_with_metadata_are_kept_too(
    cache: str, phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = [LoadImaged("image", reader=READER), LoadImaged("label", reader=READER, mask=True)]
    for _ in range(2):
        volumes = VolumeDataset(
            entries(phantom, 1), Compose(steps), cache=cache, cache_dir=str(tmp_path), progress=False
        )
        assert not isinstance(volumes[0]["image"], MetaTensor)
        assert volumes[0]["image"].shape[0] == 3
    assert "damaged" not in caplog.text


def test_a_disk_that_does_not_give_back_what_was_written_is_one_line(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(path: Path, content: memoryview) -> None:
        path.write_bytes(content[:-100])

    (tmp_path / "volumes").mkdir()
    monkeypatch.setattr("lgg_monai.data.volume_cache.write_bytes", cut_short)
    with pytest.raises(SystemExit, match=r"what was just written to .* cannot be read: choose another") as caught:
        dataset(phantom, tmp_path, cache="disk")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="Linux tells what is mapped")
def test_volumes_on_the_disk_are_not_in_memory(phantom: Path, tmp_path: Path) -> None:
    volumes = dataset(phantom, tmp_path, cache="disk")
    mapped = Path("/proc/self/maps").read_text()
    assert all(path.name in mapped for path in files(tmp_path))
    del volumes


@pytest.mark.parametrize(("cache", "room", "told"), [("memory", 2, True), ("memory", 4, False), ("disk", 2, False)])
def test_volumes_that_memory_cannot_hold_are_told_of_at_the_first(
    cache: str,
    room: int,
    told: bool,
    phantom: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = entries(phantom)
    first = VolumeDataset(data[:1], preprocessing(), progress=False).compact(0)
    one = sum(tensor.nbytes for tensor in first.tensors().values())
    monkeypatch.setattr(volumes, "total_bytes", lambda: room * one)
    with caplog.at_level(logging.WARNING):
        VolumeDataset(data, preprocessing(), cache=cache, cache_dir=str(tmp_path / "cache"), progress=False)
    warnings = [message for message in caplog.messages if "--cache disk" in message]
    assert len(warnings) == told
    assert all(f"3 volumes like that of {data[0]['patient']} take" in message for message in warnings)


def test_long_normalising_says_how_far_it_is(
    phantom: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = entries(phantom)
    monkeypatch.setattr(volumes, "ProgressLines", partial(volumes.ProgressLines, seconds=0))
    with caplog.at_level(logging.INFO):
        VolumeDataset(data, preprocessing(), progress=False)
    assert f"normalising volumes: 2 of 3 patients done, {data[2]['patient']} next" in caplog.messages


def test_git_takes_no_notice_of_patients_pixels(phantom: Path, tmp_path: Path) -> None:
    dataset(phantom, tmp_path / "cache")
    assert (tmp_path / "cache" / ".gitignore").read_text() == "*\n"


def test_folders_that_cannot_be_written_cost_time_alone(
    phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        volumes = dataset(phantom, tmp_path / "file" / "cache")
    assert_same(volumes, dataset(phantom, None))
    assert caplog.text.count("cannot write to the cache") == 1


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_full_disk_costs_time_alone_or_is_one_line(
    phantom: Path, tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: Any) -> int:
        write(path, bytes(content)[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    if cache == "disk":
        assert "No space left on device" in refusal(phantom, tmp_path / "cache", cache=cache)
    else:
        with caplog.at_level(logging.WARNING):
            volumes = dataset(phantom, tmp_path / "cache", cache=cache)
        assert_same(volumes, dataset(phantom, None))
        assert "cannot write to the cache" in caplog.text
    assert not list((tmp_path / "cache").rglob("*.pt"))


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        dataset(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("lgg-monai: error: ")


def test_impossible_caches_are_refused(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert refusal(phantom, None, cache="ram") == "unknown cache 'ram': --cache takes memory or disk"
    assert refusal(phantom, None, cache="disk").startswith("cache is 'disk' but cache_dir is none")
    message = refusal(phantom, tmp_path / "file" / "cache", cache="disk")
    assert message.startswith("cannot write to the cache")
    assert message.endswith("choose another with --cache_dir")


def test_random_preprocessing_is_refused(phantom: Path) -> None:
    with pytest.raises(SystemExit, match="RandFlipd in preprocessing is random, but its result is kept"):
        VolumeDataset(entries(phantom), Compose([Compose([RandFlipd("image")])]), progress=False)


def test_runs_beside_each_other_share_a_cache(tmp_path: Path) -> None:
    assert default_cache_dir(str(tmp_path / "unet")) == default_cache_dir(str(tmp_path / "pspnet"))
    assert Path(default_cache_dir("runs/unet")) == Path("runs/cache").absolute()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gathers_the_same_batches(phantom: Path, tmp_path: Path) -> None:
    on_cpu, on_gpu = (dataset(phantom, tmp_path, SliceDataset, device=device) for device in ("cpu", "cuda:0"))
    indices = [0, 9, 3, len(on_cpu) - 1]
    for key, expected in on_cpu.__getitems__(indices).items():
        batch = on_gpu.__getitems__(indices)[key]
        assert batch.device.type == "cuda"
        torch.testing.assert_close(batch.cpu(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("free", "fits"), [(10**9, True), (10**5, False)])
def test_volumes_go_to_a_gpu_that_has_room_for_them(
    free: int, fits: bool, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    volumes = dataset(phantom, None)
    assert volumes._fits(torch.device("cuda:0")) is fits
    assert not volumes._fits(torch.device("cpu"))
    assert not dataset(phantom, None, cache_rate=0.5)._fits(torch.device("cuda:0"))
