"""The writer of scores: a full disk is one line, and an earlier evaluation survives it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from lgg_monai.engines import EvaluationWriter, ProbabilityWriter, evaluation, probabilities
from lgg_monai.files import write_json

ENTRY = {"site": "CS", "part": "test", "copied_sequences": []}
DATALIST = {
    "subset": "test",
    "phantom": True,
    "dataset_dir": "data/phantom",
    "fingerprint": "abc",
    "seen": [],
    "patients": [{"patient": name, **ENTRY} for name in ("a", "b")],
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, which takes most of the time: pictures are tested elsewhere."""
    monkeypatch.setattr(evaluation, "patient_panel", lambda *_, **__: np.zeros((2, 2, 3), np.uint8))


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def unfinished(*_: Any, **__: Any) -> None:
    raise shutil.Error([("a.npz", "b.npz", "[Errno 28] No space left on device: 'b.npz'")])


def evaluate(run: Path, checkpoint: str = "best.pt") -> None:
    label = torch.zeros(1, 1, 8, 8, 4)
    label[..., 2:5, 2:5, 1:3] = 1
    output = {"pred": label, "label": label, "logits": label * 8 - 4, "image": torch.rand(1, 3, 8, 8, 4)}
    engine = Engine(lambda engine, batch: output)
    EvaluationWriter(str(run), DATALIST, checkpoint=checkpoint, device=torch.device("cpu")).attach(engine)
    ProbabilityWriter(str(run), DATALIST).attach(engine)
    engine.run([0, 1])


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (tempfile, "mkdtemp", "cannot write a temporary folder"),
        (evaluation, "write_prediction", "cannot write to the temporary folder"),
        (evaluation.np, "savez", "cannot write to the temporary folder"),
        (evaluation, "write_json", "cannot write the scores"),
        (evaluation.shutil, "copytree", "cannot write the scores"),
        (probabilities, "write_probability", "cannot write to the temporary folder"),
    ],
)
def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, message: str
) -> None:
    evaluate(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr(module, name, unfinished if name == "copytree" else full)
    with pytest.raises(SystemExit) as caught:
        evaluate(tmp_path)
    line = str(caught.value)
    assert line.startswith(f"lgg-monai: error: {message}")
    assert "No space left on device" in line
    assert "\n" not in line
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("record", "checkpoint", "told"),
    [
        ({"finished": False, "ended": None}, "checkpoints/best.pt", True),
        ({"finished": True}, "checkpoints/best.pt", False),
        ({"finished": False, "ended": "2026-11-27", "config": {"early_stop": 3}}, "checkpoints/best.pt", False),
        ({"finished": False}, "other/best.pt", False),
    ],
)
def test_weights_of_a_training_that_has_not_ended_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, record: dict[str, Any], checkpoint: str, told: bool
) -> None:
    write_json(tmp_path / "run.json", record)
    evaluate(tmp_path, str(tmp_path / checkpoint))
    assert (f"the training of {tmp_path} has not ended" in caplog.text) == told
