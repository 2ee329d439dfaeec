"""Patient volumes, normalised once and held compactly in memory or on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import CacheDataset
from monai.transforms import RandomizableTrait
from monai.utils import convert_to_tensor

from lgg_monai.data.compact import CompactVolume, encode
from lgg_monai.data.volume_cache import VolumeCache, chosen_folder
from lgg_monai.errors import LggError, exits_with_one_line
from lgg_monai.memory import total_bytes
from lgg_monai.progress import ProgressLines

logger = logging.getLogger(__name__)

CACHES = ("memory", "disk")
KEYS = ("image", "label")


@exits_with_one_line
def check_cache(cache: str, cache_dir: str | None) -> None:
    """Refuse a cache that volumes cannot be held in, before they are read.

    Raises:
        SystemExit: with one line.
    """
    if cache not in CACHES:
        raise LggError(f"unknown cache {cache!r}: --cache takes {' or '.join(CACHES)}")
    chosen_folder(cache_dir, needed=cache == "disk")


class VolumeDataset(CacheDataset):
    """A :class:`monai.data.CacheDataset` that holds volumes as :class:`lgg_monai.data.compact.CompactVolume`.

    Its items are what the transform gave, without MONAI's metadata: same values, same types. They take half the memory
    of float16 volumes, and with ``cache_dir`` the next start finds them there.

    Args:
        data: entries with ``image`` and ``label``, as in ``datalist.json``.
        transform: loads and normalises one volume; gives ``image`` ``[C, X, Y, Z]`` and ``label`` ``[1, X, Y, Z]``. It
            must not be random, as its results are kept.
        cache: ``memory``, or ``disk`` for a set larger than that: files in ``cache_dir`` of which what is used is read.
        cache_dir: folder that keeps normalised volumes from one start to the next; None keeps nothing.
        device: a GPU whose memory holds the volumes with ``cache: memory``, where they take less than half of what is
            free: it then gathers its batches by itself.
        kwargs: further arguments of ``CacheDataset``.

    Raises:
        SystemExit: with one line, where there is no such cache, its folder cannot hold the volumes, or the transform is
            random.
    """

    @exits_with_one_line
    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable | Sequence[Callable] | None = None,
        cache: str = "memory",
        cache_dir: str | None = None,
        device: str | torch.device = "cpu",
        **kwargs: Any,
    ) -> None:
        check_cache(cache, cache_dir)
        super().__init__(data=[], transform=transform, copy_cache=False, as_contiguous=False, **kwargs)
        for step in self.transform.flatten().transforms:
            if isinstance(step, RandomizableTrait):
                name = type(step).__name__
                raise LggError(f"{name} in preprocessing is random, but its result is kept: put it into augmentation")
        self._files = VolumeCache(cache_dir, self.transform, mapped=cache == "disk")
        self._in_memory = cache == "memory"
        self._lines = ProgressLines(partial(logger.info, "normalising volumes: %s"))
        self.set_data(data)
        if cache == "memory" and self._fits(torch.device(device)):
            self._cache = [volume.to(torch.device(device)) for volume in self._cache]

    def _fits(self, device: torch.device) -> bool:
        """Tell whether all volumes can lie in a GPU's memory without crowding the training."""
        if device.type != "cuda" or self.cache_num < len(self.data):
            return False
        size = sum(map(_bytes, self._cache))
        return size < torch.cuda.mem_get_info(device)[0] / 2

    def _load_cache_item(self, idx: int) -> CompactVolume:
        def make() -> CompactVolume:
            volume = self.transform(self.data[idx], threading=True)
            # Without MONAI's metadata, with which no file of them is read again (weights_only).
            image, label = (convert_to_tensor(volume[key], track_meta=False) for key in KEYS)
            return encode(image, label)

        entry = self.data[idx]
        if idx < self.cache_num:
            self._lines(idx, self.cache_num, _name(entry))
        volume = self._files.volume(entry, KEYS, make)
        if idx == 0 and self._in_memory:
            self._warn_of_size(volume)
        return volume

    def _warn_of_size(self, volume: CompactVolume) -> None:
        """Say as soon as it can be known that the machine cannot hold all volumes: the system would end the run."""
        needed, there = self.cache_num * _bytes(volume), total_bytes()
        if there is not None and needed > there:
            logger.warning(
                "%d volumes like that of %s take %.0f GB, and this machine has %.0f GB of memory: --cache disk leaves "
                "them on the disk", self.cache_num, _name(self.data[0]), needed / 1e9, there / 1e9,
            )  # fmt: skip

    def compact(self, number: int) -> CompactVolume:
        """Return a volume as it is held; one beyond ``cache_num`` is read for this call."""
        return self._cache[number] if number < self.cache_num else self._load_cache_item(number)

    def slice_sizes(self) -> set[tuple[int, int]]:
        """Return the sizes ``(X, Y)`` of the volumes' slices, in voxels."""
        shapes = (self.compact(number).image.shape for number in range(len(self.data)))
        return {(shape[2], shape[3]) for shape in shapes}

    def _transform(self, index: int) -> dict[str, Any]:
        number = range(len(self.data))[index]  # as lists take negative ones
        volume = self.compact(number)
        return {**self.data[number], "image": volume.values().movedim(0, -1), "label": volume.label.movedim(0, -1)}


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("patient", "one without a name"))


def _bytes(volume: CompactVolume) -> int:
    return sum(tensor.nbytes for tensor in volume.tensors().values())
