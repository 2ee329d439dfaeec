"""Slices of cached patient volumes: the unit of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Sampler

from lgg_monai.data.compact import CODES, decode
from lgg_monai.data.volumes import VolumeDataset
from lgg_monai.seeds import epoch_seed


class SliceDataset(VolumeDataset):
    """The slices of patient volumes, gathered as whole batches.

    Volumes are loaded and normalised once. A batch is gathered by index as one tensor (PyTorch's loader calls
    ``__getitems__`` where a dataset has it), so no per-slice transform or collation runs in the training loop.
    Slices smaller than the largest of the set are padded at their far edges: images with the volume's minimum of each
    channel, which is its background, and masks with 0.

    Args:
        data: entries with ``image`` and ``label``, as in ``datalist.json``.
        transform: loads and normalises one volume.
        kwargs: further arguments of :class:`lgg_monai.data.volumes.VolumeDataset`.
    """

    def __init__(
        self, data: Sequence[Any], transform: Callable | Sequence[Callable] | None = None, **kwargs: Any
    ) -> None:
        self.index: list[tuple[int, int]] = []
        super().__init__(data=data, transform=transform, **kwargs)
        self._volumes = [self.compact(number) for number in range(len(self.data))]
        self.index = [(number, z) for number, volume in enumerate(self._volumes) for z in range(len(volume.image))]
        self.has_tumour = torch.cat([volume.has_tumour.cpu() for volume in self._volumes])
        self.slice_size = tuple(max(volume.image.shape[axis] for volume in self._volumes) for axis in (2, 3))
        # All tables in one line, where they can be: a whole batch is then looked up at once.
        self._tables = None
        if all(volume.is_coded for volume in self._volumes):
            self._tables = torch.stack([volume.tables for volume in self._volumes])
        self._joined: CompactSlices | None = None
        if self._volumes and self._volumes[0].image.device.type == "cuda":
            self._join()

    def __len__(self) -> int:
        # While the parent loads, it counts volumes; from then on items are slices.
        return len(self.index) or super().__len__()

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Return one slice: image ``[C, X, Y]`` and label ``[1, X, Y]``."""
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Gather a batch: image ``[B, C, X, Y]`` and label ``[B, 1, X, Y]``."""
        if self._joined is not None:
            images, labels = self._joined.gather(indices)
            return {"image": images, "label": labels}
        places = [self.index[number] for number in indices]
        labels = torch.stack([self._fit(self._volumes[patient].label[z], 0) for patient, z in places])
        if self._tables is None:
            images = torch.stack([self._fitted_values(patient, z) for patient, z in places])
        else:
            codes = [self._fit(self._volumes[p].image[z], self._volumes[p].background) for p, z in places]
            patients = torch.tensor([patient for patient, _ in places])
            channels = self._tables.shape[1]
            offsets = (patients[:, None] * channels + torch.arange(channels)) * CODES
            images = decode(torch.stack(codes), self._tables, offsets.to(self._tables.device))
        return {"image": images, "label": labels}

    def _join(self) -> None:
        """Put all slices of one size into one tensor, of which volumes are views: a GPU gathers a batch in one call."""
        if self._tables is None or any(tuple(volume.image.shape[2:]) != self.slice_size for volume in self._volumes):
            return
        patients = torch.tensor([patient for patient, _ in self.index], device=self._tables.device)
        image = torch.cat([volume.image for volume in self._volumes])
        label = torch.cat([volume.label for volume in self._volumes])
        self._joined = CompactSlices(image, label, self._tables, patients)
        lengths = [len(volume.image) for volume in self._volumes]
        pairs = zip(self._volumes, image.split(lengths), label.split(lengths), strict=True)
        self._cache = self._volumes = [replace(volume, image=ours, label=mask) for volume, ours, mask in pairs]

    def _fitted_values(self, patient: int, z: int) -> torch.Tensor:
        volume = self._volumes[patient]
        background = volume.background
        if volume.is_coded:
            background = volume.tables.gather(1, background[:, 0].long())[..., None]
        return self._fit(volume.values(z), background)

    def _fit(self, picture: torch.Tensor, background: torch.Tensor | int) -> torch.Tensor:
        if tuple(picture.shape[1:]) == self.slice_size:
            return picture
        padded = picture.new_empty((picture.shape[0], *self.slice_size))
        padded[:] = background
        padded[:, : picture.shape[1], : picture.shape[2]] = picture
        return padded


@dataclass(frozen=True)
class CompactSlices:
    """Slices of all patients, one after the other, of the same size and with codes for values.

    Args:
        image: ``[N, C, X, Y]``, codes (uint8).
        label: ``[N, 1, X, Y]``.
        tables: ``[P, C, 256]``, the value of each code of each patient.
        patients: ``[N]``, whose slice it is.
    """

    image: torch.Tensor
    label: torch.Tensor
    tables: torch.Tensor
    patients: torch.Tensor

    def gather(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image ``[B, C, X, Y]`` and label ``[B, 1, X, Y]`` without waiting for the device."""
        device, channels = self.image.device, self.image.shape[1]
        chosen = torch.tensor(indices).to(device, non_blocking=True)
        rows = self.patients.index_select(0, chosen)[:, None] * channels + torch.arange(channels, device=device)
        images = decode(self.image.index_select(0, chosen), self.tables, rows * CODES)
        return images, self.label.index_select(0, chosen)


class TumourSliceSampler(Sampler[int]):
    """Draw the slices of every epoch, with more weight on tumour.

    As nnU-Net oversamples the foreground: a fixed share of the epoch is drawn from slices that show tumour, the rest
    from all slices alike, so tumour-free ones keep their natural variety. The drawing depends on seed and epoch alone,
    so a resumed run draws what the uninterrupted one would have drawn. Either line of slices is gone through completely
    before one of it is repeated.

    Args:
        dataset: the slices.
        oversampling: share of an epoch that is drawn from the tumour slices alone.
        slices_per_epoch: length of an epoch; by default as many as show every tumour slice once, were all drawn alike.
        seed: of the drawing.
        balance: 0 draws tumour slices alike; 1 draws patients alike, so that a tumour of three slices is seen as often
            as one of thirty; between them, patients count by their number of tumour slices to the power 1 - balance.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        oversampling: float = 0.5,
        slices_per_epoch: int | None = None,
        seed: int = 0,
        balance: float = 0.0,
    ) -> None:
        if not 0 < oversampling <= 1:
            raise ValueError(f"oversampling is {oversampling}: use a share above 0, up to 1")
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance}: use a number from 0 (slices alike) to 1 (patients alike)")
        tumour = torch.nonzero(dataset.has_tumour).flatten()
        self.tumour = _balanced(tumour, [dataset.index[number][0] for number in tumour.tolist()], balance)
        self.all = torch.arange(len(dataset))
        self.length = slices_per_epoch or round(len(tumour) / oversampling) or len(self.all)
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


def _balanced(slices: torch.Tensor, patients: list[int], balance: float) -> torch.Tensor:
    """Repeat the slices of patients with few of them."""
    own: dict[int, list[int]] = {}
    for number, patient in zip(slices.tolist(), patients, strict=True):
        own.setdefault(patient, []).append(number)
    most = max(map(len, own.values()), default=0)
    pool: list[int] = []
    for numbers in own.values():
        entries = round(len(numbers) ** (1 - balance) * most**balance)
        pool += (numbers * (entries // len(numbers) + 1))[:entries]
    return torch.tensor(pool, dtype=slices.dtype)


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
