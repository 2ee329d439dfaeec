"""What is told of what made a result."""

from __future__ import annotations

import os

import torch

from lgg_monai.provenance import describe_device, versions


def test_versions_name_what_the_numbers_depend_on() -> None:
    found = versions()
    assert found["torch"] == torch.__version__
    assert {"python", "monai", "pytorch-ignite", "nibabel", "scikit-image", "numpy", "lgg-monai"} <= set(found)


def test_a_device_is_described_without_the_name_of_the_machine() -> None:
    assert describe_device(torch.device("cpu")).startswith(f"cpu ({os.cpu_count()} cores")
    assert os.uname().nodename not in describe_device(torch.device("cpu"))
