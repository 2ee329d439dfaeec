"""A small repository to package from, for the tests of packaging."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from lgg_monai.flatten import flatten, parse

REPOSITORY = Path(__file__).resolve().parents[2]
SMALLER = {
    "plain_unet": ("channels: [16, 32, 64, 128, 256]", "channels: [4, 4, 8, 8, 8]"),
    "unet": ("[256, 128, 64, 32, 16]", "[32, 16, 16, 8, 8]"),
    "pspnet": ("  features: 128", "  features: 16"),
}


def lay_out(root: Path) -> Path:
    """Copy what `lgg-monai package` reads into a folder, with smaller networks and without weights."""
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    shutil.copytree(REPOSITORY / "bundles", root / "bundles", ignore=shutil.ignore_patterns("models"))
    for bundle, (large, small) in SMALLER.items():
        path = root / "bundles" / f"{bundle}.yaml"
        text = path.read_text(encoding="utf-8")
        assert large in text
        path.write_text(text.replace(large, small), encoding="utf-8")
    return root


def random_weights(bundle: str, path: Path) -> Path:
    """Write untrained weights that predict some tumour; the working directory is a repository."""
    definition = parse(flatten('network_def: "%BUNDLE::network_def"', {"BUNDLE": f"bundles/{bundle}.yaml"}))
    torch.manual_seed(0)
    network = ConfigParser(definition).get_parsed_content("network_def")
    # Batch norms learn the statistics of some noise, without which a deep network's logits would hardly vary, and
    # rounding alone would decide about its masks.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches, of which there is one
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    torch.save(network.state_dict(), path)
    return path
