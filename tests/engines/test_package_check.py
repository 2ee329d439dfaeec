"""What a packaged training looks at before it begins."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset
from monai.transforms import Lambda

from lgg_monai.engines import begin_with


def test_no_thread_reads_on_after_a_volume_that_cannot_be_read() -> None:
    """As Python ends, a thread within PyTorch makes it abort, with another exit code."""
    begun, ended = threading.Event(), threading.Event()

    def read(name: str) -> str:
        if name == "damaged":
            begun.wait(10)
            raise ValueError("it is damaged")
        begun.set()
        time.sleep(0.2)
        ended.set()
        return name

    config = ConfigParser(
        {
            "train": {"dataset": "$@build()"},
            "build": lambda: CacheDataset(["damaged", "sound"], Lambda(read), num_workers=2, progress=False),
            "check": {"_target_": "lgg_monai.engines.check_volumes", "lists": {"train_datalist": "train::dataset"}},
        }
    )
    with pytest.raises(SystemExit, match=r"cannot train on a patient of train_datalist \(it is damaged\)"):
        config.get_parsed_content("check")
    assert ended.is_set()


def test_training_begins_with_what_nvidia_flare_writes(tmp_path: Path) -> None:
    expected, network = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    torch.save({"model": expected.state_dict(), "train_conf": {"train": {"model": "Linear"}}}, tmp_path / "global.pt")
    begin_with(network, str(tmp_path / "global.pt"))
    assert torch.equal(network.weight, expected.weight)
