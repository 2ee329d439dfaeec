"""Runs a bundle's inference.json as 3D Slicer's MONAIAuto3DSeg does: python slicer.py BUNDLE IMAGE RESULT.

It reads the config by itself, never calls `initialize` or `run`, sets keys of its own, and takes the newest NIfTI file
of the output folder for the result.
"""

import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser

bundle, image, result = map(Path, sys.argv[1:])
device = torch.device("cpu")
parser = ConfigParser()
parser.read_config(str(bundle / "configs/inference.json"))
parser["bundle_root"] = bundle.as_posix()
parser["dataset_dir"] = image.parent.as_posix()
parser["output_dir"] = result.parent.as_posix()
parser["datalist"] = [image.as_posix()]
parser["window_device"] = "cpu"
parser["device"] = device
parser["inferer"]["device"] = device
parser["dataloader"]["num_workers"] = 0
with torch.no_grad():
    assert len(parser.get_parsed_content("dataloader")) == 1
    parser.get_parsed_content("evaluator").run()
newest = max(result.parent.rglob("*.nii.gz"), key=lambda path: path.stat().st_mtime)
newest.rename(result)
