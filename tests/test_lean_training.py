"""Caches, compilation and validation on the head change what a training costs, and not what it gives."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from lgg_monai.engines.history import read_history

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = {
    "device": "cpu",
    "precision": "fp32",
    "progress": False,
    "max_epochs": 2,
    "batch_size": 4,
    "slices_per_epoch": 8,
    "network_def#channels": [4, 8],
    "network_def#strides": [2],
}
OF_THE_MACHINE = ("seconds", "elapsed_seconds", "slices_per_second", "peak_memory_mb")


class PowerCut(BaseException):
    """Ends a training as nothing in it expects."""


def train(data: Path, run: Path, watch: Any = None, **override: Any) -> list[dict[str, Any]]:
    """Train the bundle; return the rows of its history, without what differs from machine to machine."""
    with contextlib.chdir(REPOSITORY):
        bundle = ConfigWorkflow(
            config_file="bundles/plain_unet.yaml",
            logging_file=False,
            meta_file=str(REPOSITORY / "bundles/metadata.json"),
            workflow_type="train",
            **{**TINY, "dataset_dir": str(data), "output_dir": str(run), **override},
        )
        bundle.initialize()
        if watch is not None:
            bundle.parser.get_parsed_content("train#trainer").add_event_handler(Events.EPOCH_COMPLETED, watch)
        bundle.run()
        bundle.finalize()
    rows = read_history(run / "history.csv")
    return [{key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in rows]


@pytest.fixture(scope="module")
def plain(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The history of a training that keeps nothing on the disk."""
    folder = tmp_path_factory.mktemp("plain")
    rows = train(phantom, folder / "run", cache_dir=None)
    assert [path.name for path in folder.iterdir()] == ["run"]
    return rows


def test_every_cache_gives_the_same_numbers(phantom: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    assert train(phantom, tmp_path / "first") == plain
    assert len(list((tmp_path / "cache" / "volumes").glob("*.pt"))) == 8  # training and validation patients
    assert len(list((tmp_path / "cache" / "reports").glob("*.json"))) == 10
    assert train(phantom, tmp_path / "second") == plain
    assert train(phantom, tmp_path / "disk", cache="disk") == plain


def test_tensors_do_not_pile_up_from_epoch_to_epoch(phantom: Path, tmp_path: Path) -> None:
    held: list[int] = []

    def count(engine: Any) -> None:
        gc.collect()
        tensors = [item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter)]
        held.append(sum(tensor.nbytes for tensor in tensors))

    train(phantom, tmp_path / "run", watch=count, max_epochs=5)
    # The optimizer's state appears with the first step.
    assert len(held) == 5
    assert held[1:] == [held[1]] * 4


def test_compiled_trainings_resume_to_the_same_numbers(
    phantom: Path, tmp_path: Path, plain: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced, but run by PyTorch itself: writing and compiling C++ takes a minute.
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: original(module, backend="eager"))

    def cut(engine: Any) -> None:
        raise PowerCut

    with pytest.raises(PowerCut):
        train(phantom, tmp_path / "run", watch=cut, compile=True)
    rows = train(phantom, tmp_path / "run", compile=True, resume=True)
    assert [row["epoch"] for row in rows] == [1, 2]
    for row, expected in zip(rows, plain, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert not [key for name in ("model", "averaged_model") for key in weights[name] if "_orig_mod" in key]


def test_the_memory_layout_changes_no_number_much(phantom: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    for row, expected in zip(train(phantom, tmp_path / "run", channels_last=False), plain, strict=True):
        assert row == pytest.approx(expected, rel=1e-2, abs=1e-3)


def test_validation_on_the_head_trains_alike(phantom: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    rows = train(phantom, tmp_path / "run", val_head_only=True)
    for row, expected in zip(rows, plain, strict=True):
        assert {key: row[key] for key in ("loss", "iou", "learning_rate")} == {
            key: expected[key] for key in ("loss", "iou", "learning_rate")
        }
        assert np.isfinite([row["val_loss"], row["val_volume_dice"]]).all()
