"""Batched spatial augmentation: flips, rotation, scaling, shift and elastic deformation in one resampling; turns."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from lgg_monai.transforms.batch import BatchRandom, require_probability, require_range

DIVISOR, SMALLEST = 32, 64
"""Sides that networks take: multiples of what they halve to, and room for PSPNet's bins."""


class RandomAffinePatch:
    """Cut a randomly placed, rotated, scaled, flipped and bent patch out of every slice of a batch.

    Everything is put into one sampling grid, so pixels are interpolated once and only those of the patch are computed:
    the network never pays for the empty border of a slice. Image and label share the grid.

    Args:
        patch_size: side of the patch in pixels. Slices smaller than that give a patch of their own size, taken up to a
            multiple of 32 and to at least 64 by repeating their border, but to no more than this.
        placement: how far the centre of the patch moves from the centre of the slice, as a share of the free way.
        degrees: largest rotation, either way.
        scale: range of the magnification.
        flip: probability of a left-right flip (X); brains are nearly symmetric in this axis only.
        elastic: largest displacement of the elastic grid's nodes, in pixels.
        elastic_probability: share of the samples that are bent.
        elastic_nodes: nodes of the elastic grid along one side.

    Raises:
        ValueError: for a patch of fewer than 16 pixels, a probability that is none, or a scale that is not from a
            smaller to a larger number above 0.
    """

    def __init__(
        self,
        patch_size: int = 160,
        placement: float = 0.8,
        degrees: float = 20.0,
        scale: tuple[float, float] = (0.85, 1.2),
        flip: float = 0.5,
        elastic: float = 8.0,
        elastic_probability: float = 0.2,
        elastic_nodes: int = 6,
    ) -> None:
        if patch_size < 16:
            raise ValueError(f"patch_size is {patch_size}: use at least 16 pixels")
        self.patch_size = patch_size
        self.placement = placement
        self.degrees = degrees
        self.scale = require_range("scale", scale)
        self.flip = require_probability("flip", flip)
        self.elastic = elastic
        self.elastic_probability = require_probability("elastic_probability", elastic_probability)
        self.elastic_nodes = elastic_nodes

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        size = (image.shape[2], image.shape[3])
        width, height = (min(self.patch_size, max(side + -side % DIVISOR, SMALLEST)) for side in size)
        patch = (width, height)
        matrix, centre = self.parameters(len(image), size, patch, random)
        grid = self._bend(sampling_grid(matrix, centre, size, patch, image.device), size, random)
        # The label rides along as a channel: one interpolation instead of two. Half of a voxel's weight decides.
        # In float32, as a CPU counts pixels in the type of the grid: in half precision it would read wrong ones.
        both = torch.cat([image.float(), label.float()], dim=1)
        both = functional.grid_sample(both, grid, padding_mode="border", align_corners=False)
        return both[:, :-1].to(image.dtype), (both[:, -1:] > 0.5).to(image.dtype)

    def parameters(
        self, batch: int, size: tuple[int, int], patch: tuple[int, int], random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the matrices ``[B, 2, 2]`` (patch to slice) and the centres ``[B, 2]`` in pixels."""
        angle = random.uniform((batch,), -math.radians(self.degrees), math.radians(self.degrees))
        # Drawn in the logarithm, so that shrinking is as likely as growing.
        zoom = torch.exp(-random.uniform((batch,), math.log(self.scale[0]), math.log(self.scale[1])))
        mirror = torch.where(random.uniform((batch,), 0, 1) < self.flip, -1.0, 1.0)
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        matrix = torch.stack(
            [torch.stack([cos * mirror, -sin], dim=-1), torch.stack([sin * mirror, cos], dim=-1)], dim=-2
        )
        free = torch.tensor([max(size[axis] - patch[axis], 0) / 2 for axis in (0, 1)]) * self.placement
        middle = torch.tensor([(size[axis] - 1) / 2 for axis in (0, 1)])
        return matrix, middle + random.uniform((batch, 2), -1, 1) * free

    def _bend(self, grid: torch.Tensor, size: tuple[int, int], random: BatchRandom) -> torch.Tensor:
        chosen = random.chosen(len(grid), self.elastic_probability)
        if self.elastic <= 0 or len(chosen) == 0:
            return grid
        nodes = random.uniform((len(chosen), 2, self.elastic_nodes, self.elastic_nodes), -self.elastic, self.elastic)
        nodes = torch.stack([nodes[:, 1] * (2 / size[1]), nodes[:, 0] * (2 / size[0])], dim=1)
        nodes = nodes.to(grid.device, non_blocking=True)
        field = functional.interpolate(nodes, size=grid.shape[1:3], mode="bicubic", align_corners=True)
        return grid.index_add_(0, chosen.to(grid.device, non_blocking=True), field.movedim(1, -1))


class RandomTurn:
    """Turn slices of some samples upside down, and exchange the axes of some, ahead of :class:`RandomAffinePatch`.

    With the left-right flips of that, a slice comes to lie in any of the eight ways in which files may hold it. It
    takes the place of MONAI's RandFlip and RandRotate90, which know one sample at a time.

    Args:
        probability: share of the samples that are turned upside down, and share of those whose axes are exchanged;
            slices that are not square keep their axes.

    Raises:
        ValueError: for a probability that is none.
    """

    def __init__(self, probability: float = 0.25) -> None:
        self.probability = require_probability("probability of RandomTurn", probability)

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, random: BatchRandom
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`lgg_monai.transforms.batch.BatchTransform`."""
        upside_down = random.chosen(len(image), self.probability).to(image.device, non_blocking=True)
        exchanged = random.chosen(len(image), self.probability).to(image.device, non_blocking=True)
        turned = []
        for part in (image, label):
            part = part.index_copy(0, upside_down, part[upside_down].flip(3))
            if part.shape[2] == part.shape[3]:
                part = part.index_copy(0, exchanged, part[exchanged].transpose(2, 3))
            turned.append(part)
        return turned[0], turned[1]


def sampling_grid(
    matrix: torch.Tensor,
    centre: torch.Tensor,
    size: tuple[int, int],
    patch: tuple[int, int],
    device: torch.device | None = None,
) -> torch.Tensor:
    """Compute where each pixel of a patch comes from.

    Args:
        matrix: ``[B, 2, 2]``, from offsets in the patch to offsets in the slice.
        centre: ``[B, 2]``, the slice coordinates (pixels, X and Y) of the patch's centre.
        size: of the slice, in pixels.
        patch: size of the patch, in pixels.
        device: where the grid is made; by default that of the matrices.

    Returns:
        ``[B, PX, PY, 2]`` slice coordinates as grid_sample takes them: from -1 to 1 between the outer edges of the
        outermost pixels, Y before X.
    """
    # PyTorch's own grid in one pass: its matrix maps (Y, X, 1) of the patch to (Y, X) of the slice, both from -1 to 1.
    sides, half_patch = torch.tensor(size[::-1]), torch.tensor(patch[::-1]) / 2
    turn = matrix.flip(1, 2) * half_patch * (2 / sides[:, None])
    shift = (centre.flip(1) * 2 + 1) / sides - 1
    theta = torch.cat([turn, shift[..., None]], dim=2)
    if device is not None:
        theta = theta.to(device, non_blocking=True)
    return functional.affine_grid(theta, [len(matrix), 1, *patch], align_corners=False)
