"""Slices of cached patient volumes: the unit of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.data import CacheDataset
from torch.utils.data import Sampler

from lgg_monai.seeds import epoch_seed


class SliceDataset(CacheDataset):
    """A :class:`monai.data.CacheDataset` of patient volumes whose items are slices.

    Volumes are loaded and normalised once. A batch is gathered by index as one tensor (PyTorch's loader calls
    ``__getitems__`` where a dataset has it), so no per-slice transform or collation runs in the training loop.
    Slices smaller than the largest of the set are padded at their far edges: images with the volume's minimum of each
    channel, which is its background, and masks with 0.

    Args:
        data: entries with ``image`` and ``label``, as in ``datalist.json``.
        transform: loads and normalises one volume; gives ``image`` ``[C, X, Y, Z]`` and ``label`` ``[1, X, Y, Z]``.
        image_key: key of the image volume.
        label_key: key of the mask volume.
        kwargs: further arguments of ``CacheDataset``.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable | Sequence[Callable] | None = None,
        image_key: str = "image",
        label_key: str = "label",
        **kwargs: Any,
    ) -> None:
        self.index: list[tuple[int, int]] = []
        super().__init__(data=data, transform=transform, copy_cache=False, **kwargs)
        self.image_key = image_key
        self.label_key = label_key
        self._images: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._backgrounds: list[torch.Tensor] = []
        index: list[tuple[int, int]] = []
        tumour: list[bool] = []
        for number in range(len(self.data)):
            volume = super().__getitem__(number)
            # Slices first and contiguous, so that one slice is one block of memory.
            image = torch.as_tensor(volume[image_key]).movedim(-1, 0).contiguous()
            label = torch.as_tensor(volume[label_key]).movedim(-1, 0).contiguous()
            self._images.append(image)
            self._labels.append(label)
            self._backgrounds.append(image.amin(dim=(0, 2, 3))[:, None, None])
            if number < self.cache_num:
                self._cache[number] = None  # the tensors take its place; both together would double the memory
            index += [(number, z) for z in range(len(image))]
            tumour += label.flatten(1).any(dim=1).tolist()
        self.index = index
        self.has_tumour = torch.tensor(tumour, dtype=torch.bool)  # any() of uint8 is uint8
        self.slice_size = tuple(max(image.shape[axis] for image in self._images) for axis in (2, 3))

    def __len__(self) -> int:
        # While the parent loads, it counts volumes; from then on items are slices.
        return len(self.index) or super().__len__()

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Return one slice: image ``[C, X, Y]`` and label ``[1, X, Y]``."""
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Gather a batch: image ``[B, C, X, Y]`` and label ``[B, 1, X, Y]``."""
        images, labels = [], []
        for number in indices:
            patient, z = self.index[number]
            images.append(self._fit(self._images[patient][z], self._backgrounds[patient]))
            labels.append(self._fit(self._labels[patient][z], 0))
        return {self.image_key: torch.stack(images), self.label_key: torch.stack(labels)}

    def _fit(self, picture: torch.Tensor, background: torch.Tensor | int) -> torch.Tensor:
        if tuple(picture.shape[1:]) == self.slice_size:
            return picture
        padded = picture.new_empty((picture.shape[0], *self.slice_size))
        padded[:] = background
        padded[:, : picture.shape[1], : picture.shape[2]] = picture
        return padded


class TumourSliceSampler(Sampler[int]):
    """Draw the slices of every epoch, with more weight on tumour.

    As nnU-Net oversamples the foreground: a fixed share of the epoch is drawn from slices that show tumour, the rest
    from all slices alike, so tumour-free ones keep their natural variety. The drawing depends on seed and epoch alone,
    so a resumed run draws what the uninterrupted one would have drawn. Either line of slices is gone through completely
    before one of it is repeated.

    Args:
        dataset: the slices.
        oversampling: share of an epoch that is drawn from the tumour slices alone.
        slices_per_epoch: length of an epoch; by default so many that the share shows every tumour slice once.
        seed: of the drawing.
    """

    def __init__(
        self, dataset: SliceDataset, oversampling: float = 0.5, slices_per_epoch: int | None = None, seed: int = 0
    ) -> None:
        if not 0 < oversampling <= 1:
            raise ValueError(f"oversampling is {oversampling}: use a share above 0, up to 1")
        self.tumour = torch.nonzero(dataset.has_tumour).flatten()
        self.all = torch.arange(len(dataset))
        self.length = slices_per_epoch or round(len(self.tumour) / oversampling) or len(self.all)
        self.tumour_count = round(self.length * oversampling) if len(self.tumour) else 0
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw for, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        drawn = torch.cat(
            [
                _draw(self.tumour, self.tumour_count, self.epoch, self.seed),
                _draw(self.all, self.length - self.tumour_count, self.epoch, self.seed),
            ]
        )
        return iter(drawn[torch.randperm(len(drawn), generator=generator)].tolist())


def _draw(pool: torch.Tensor, count: int, epoch: int, seed: int) -> torch.Tensor:
    """Take the epoch's ``count`` members from an endless line of shuffled copies of ``pool``."""
    if count == 0:
        return pool[:0]
    start, stop = epoch * count, (epoch + 1) * count
    first, last = start // len(pool), (stop - 1) // len(pool)
    line = []
    for copy in range(first, last + 1):
        generator = torch.Generator().manual_seed(epoch_seed(seed, copy))
        line.append(pool[torch.randperm(len(pool), generator=generator)])
    return torch.cat(line)[start - first * len(pool) : stop - first * len(pool)]


def gathered(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Pass a batch on as it is: the ``collate_fn`` for a dataset that gathers batches itself."""
    return batch
