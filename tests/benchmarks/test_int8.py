"""What 8 bits cost is measured on patients that a run tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import int8
from lgg_monai.data.patients import find_patients
from lgg_monai.errors import LggError
from lgg_monai.prediction.network_def import build_network

pytest.importorskip("onnxruntime")
SMALL: dict[str, Any] = {
    **{"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "norm": "batch"},
    **{"channels": [4, 8], "strides": [2]},
}


@pytest.fixture(autouse=True)
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run on any processor: so small a network hardly saturates."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


def write_run(folder: Path, test: list[str]) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": {"network_def": SMALL}}))
    torch.manual_seed(0)
    torch.save(build_network(SMALL, "small").state_dict(), folder / "checkpoints" / "best.pt")
    training = [{"patient": "PHANTOM_AA_0001_20000101"}]
    datalist = {"training": training, "test": [{"patient": name} for name in test]}
    (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder


def test_both_networks_outline_the_test_patients(phantom: Path, tmp_path: Path) -> None:
    test = [patient.name for patient in find_patients(phantom)[-2:]]
    run = write_run(tmp_path / "run", test)
    found = int8.main([str(run), "--dataset_dir", str(phantom), "--json", str(tmp_path / "int8.json")])
    assert [(row["patient"], row["input"]) for row in found["rows"]] == [
        (name, what) for name in test for what in ("all sequences", "FLAIR alone")
    ]
    for row in found["rows"]:
        assert 0 <= row["dice"] <= 1
        assert row["agreement"] > 0.5
    for what, summary in found["inputs"].items():
        rows = [row for row in found["rows"] if row["input"] == what]
        change = sum(row["dice_int8"] - row["dice"] for row in rows) / 2
        assert summary["paired"]["difference"] == pytest.approx(change)
    assert json.loads((tmp_path / "int8.json").read_text())["inputs"].keys() == found["inputs"].keys()


def test_a_test_patient_who_is_not_there_is_named(phantom: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["somebody"])
    with pytest.raises(LggError, match=r"the test patient somebody of .*run is not in .*: give its data set"):
        int8.main([str(run), "--dataset_dir", str(phantom)])
