"""What MONAI lacks: augmentation of a batch as one tensor on the training device."""

from lgg_monai.transforms.batch import BatchAugmentation, BatchRandom, BatchTransform
from lgg_monai.transforms.components import RemoveSpecksd
from lgg_monai.transforms.intensity import (
    RandomBiasField,
    RandomBlur,
    RandomContrast,
    RandomGamma,
    RandomLowResolution,
    RandomMissingSequence,
    RandomNoise,
)
from lgg_monai.transforms.main_output import MainOutputd
from lgg_monai.transforms.mixing import RandomCarveMix
from lgg_monai.transforms.skull import RandomSkullStrip
from lgg_monai.transforms.spatial import RandomAffinePatch, RandomTurn

__all__ = [
    "BatchAugmentation",
    "BatchRandom",
    "BatchTransform",
    "MainOutputd",
    "RandomAffinePatch",
    "RandomBiasField",
    "RandomBlur",
    "RandomCarveMix",
    "RandomContrast",
    "RandomGamma",
    "RandomLowResolution",
    "RandomMissingSequence",
    "RandomNoise",
    "RandomSkullStrip",
    "RandomTurn",
    "RemoveSpecksd",
]
