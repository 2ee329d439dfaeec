"""Predicts and trains with MONAI Label's bundle tasks, without its server: python label.py BUNDLE DATA MASK."""
# ruff: noqa: E402 - operators have to be declared before MONAI Label is imported

import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch

# torchvision's wheel on the package index is built for CUDA. Beside a CPU build of torch its own operators do not load,
# and its import fails at two of them. Declared, though nothing here calls them, they let the Python part of it work.
for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

bundle, data, result = map(Path, sys.argv[1:])
images = sorted((data / "imagesTr").iterdir())


class Store:
    """The one method of a datastore that training asks."""

    def datalist(self) -> list[dict[str, str]]:
        return [{"image": str(path), "label": str(data / "labelsTr" / path.name)} for path in images]


infer = BundleInferTask(str(bundle), {})
assert infer.is_valid()
assert str(infer.type).endswith("SEGMENTATION")
assert list(infer.labels) == ["tumour"]
settings = {"device": "cpu", "image": str(images[0]), "result_extension": ".nii.gz", "result_dtype": "uint8"}
shutil.move(infer(settings)[0], result)
mask, scan = nibabel.load(result), nibabel.load(images[0])
assert mask.shape == scan.shape[:3]
np.testing.assert_allclose(mask.affine, scan.affine)

weights = bundle / "models/model.pt"
before = torch.load(weights, weights_only=True)
train = BundleTrainTask(str(bundle), {})
assert train.is_valid()
train._update_overrides = lambda all: all.update(slices_per_volume=2, slice_size=64, patch_size=64)
request = {"model": bundle.name, "device": "cpu", "max_epochs": 1, "multi_gpu": False}
train({**request, "val_split": 0.25}, Store())  # the weights before stay, unless the epoch is better on who validates
assert torch.load(weights, weights_only=True).keys() == before.keys()
train({**request, "val_split": 0.0}, Store())
after = torch.load(weights, weights_only=True)
assert any(not torch.equal(after[name], value) for name, value in before.items())
