"""Synthetic run folders with known numbers, for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lgg_monai.engines.history import write_history
from lgg_monai.engines.predictions import write_prediction
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.summary import summarise, write_patients_csv

VAL_IOU = (0.2, 0.52, 0.79, 0.81)


def write_run(
    folder: Path,
    *,
    network: str = "UNet",
    val_iou: tuple[float, ...] = VAL_IOU,
    seconds: float = 10.0,
    memory: float = 1000.0,
    shift: int = 0,
    fingerprint: str = "same",
    swap: bool = False,
    seed: int = 0,
    phantom: bool = True,
    dataset: Path = Path("data/nowhere"),
) -> Path:
    """Write a run whose epochs take ``seconds``; ``shift`` moves its predictions off the truth by so many columns."""
    folder.mkdir(parents=True)
    names = [f"PHANTOM_{'AA' if i % 2 else 'BB'}_{i:04d}_20000101" for i in range(12)]
    entries = [
        {"patient": name, "site": name.split("_")[1], "image": str(dataset / name), "label": str(dataset / name)}
        for name in names
    ]
    parts = {"training": entries[:2], "validation": entries[2:4], "test": entries[4:]}
    if swap:
        parts = {**parts, "training": entries[2:4], "validation": entries[:2]}
    (folder / "datalist.json").write_text(json.dumps(parts))
    definition = {"_target_": network, "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    if network == "UNet":
        definition |= {"channels": [2, 4], "strides": [2]}
    record = {
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "finished": True,
        "phantom": phantom,
        "seed": seed,
        "device": "cpu (2 cores, AVX2)",
        "precision": "bfloat16",
        "threads": 1,
        "parameters": 1_000_000,
        "data": {"dataset_dir": str(dataset), "fingerprint": fingerprint, "fold": 0, "folds": 5},
        "versions": {"torch": "2.13.0"},
        "config": {"network_def": definition, "patch_size": 32, "bundle_root": "bundles/plain_unet"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    write_history(folder / "history.csv", [_epoch(i, value, seconds, memory) for i, value in enumerate(val_iou, 1)])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.pt").write_bytes(b"0" * 2_000_000)
    _evaluate(folder, [entry["patient"] for entry in parts["test"]], shift, fingerprint, phantom)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truth(number: int) -> np.ndarray:
    """The true mask of a test patient ``[32, 32, 4]``: larger for each further one."""
    mask = np.zeros((32, 32, 4), dtype=bool)
    mask[8 : 12 + number, 8:20, 1:3] = True
    return mask


def _epoch(epoch: int, val_iou: float, seconds: float, memory: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "seconds": seconds,
        "elapsed_seconds": seconds * epoch,
        "loss": 1 / epoch,
        "iou": val_iou,
        "val_loss": 1.2 / epoch,
        "val_iou": val_iou,
        "slices_per_second": 100 / seconds,
        "peak_memory_mb": memory,
    }


def _evaluate(folder: Path, names: list[str], shift: int, fingerprint: str, phantom: bool) -> None:
    rows = []
    for number, name in enumerate(names):
        prediction = np.roll(truth(number), shift, axis=1)
        write_prediction(folder / "evaluation" / "predictions" / f"{name}.npz", prediction)
        row = {"patient": name, "site": name.split("_")[1], "part": "test", "missing_sequences": int(number == 0)}
        rows.append(row | score_volume(prediction, truth(number)))
    write_patients_csv(folder / "evaluation" / "patients.csv", rows)
    summary = summarise(rows, resamples=10) | {
        "subset": "test",
        "phantom": phantom,
        "fingerprint": fingerprint,
        "evaluated": "2026-01-01T02:00:00+00:00",
    }
    (folder / "evaluation" / "summary.json").write_text(json.dumps(summary))
