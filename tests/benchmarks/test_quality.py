"""Both paths start alike, take the same steps and are scored alike; finished trainings are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import quality
from lgg_monai.errors import LggError

TINY = {"network_def#channels": [4, 8], "network_def#strides": [2], "batch_size": 2, "device": "cpu"}
SHORT = {"max_epochs": 2, "slices_per_epoch": 5, "patch_size": 32}


def given(phantom: Path, tmp_path: Path, *more: str) -> list[str]:
    pairs = [f"{key}={json.dumps(value)}" for key, value in (TINY | {"patch_size": 32}).items()]
    arguments = ["--net", "plain_unet", "--dataset_dir", str(phantom)]
    arguments += ["--cache_dir", str(tmp_path / "cache"), "--epochs", "2"]
    arguments += ["--slices_per_epoch", "5", "--results", str(tmp_path / "results"), "--set", *pairs]
    return [*arguments, *more]


@pytest.mark.usefixtures("in_repository")
def test_without_augmentation_both_paths_train_the_same_network(phantom: Path, tmp_path: Path) -> None:
    none = {"_target_": "lgg_monai.transforms.BatchAugmentation", "transforms": []}
    shared = {"dataset_dir": str(phantom), "cache_dir": str(tmp_path / "cache"), "output_dir": str(tmp_path)}
    settings = TINY | SHORT | shared | {"precision": "fp32", "augmentation": none, "val_interval": 10**6}
    # Adam would make steps of rounding errors: the gradient of a bias ahead of batch norm is 0.
    settings["optimizer"] = {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.5}
    settings["max_grad_norm"] = 0.1  # low enough to matter
    states = {}
    for path in quality.PATHS:
        arguments = (settings,) if path == "fast" else (settings, 0)
        config, engine, run = getattr(quality, f"{path}_path")("plain_unet", *arguments)
        before = {key: value.clone() for key, value in config.get_parsed_content("network").state_dict().items()}
        run()
        assert engine.state.iteration == 4
        states[path] = config.get_parsed_content("averaging").ema_model.state_dict()
        assert any((states[path][key] - value).abs().max() > 1e-3 for key, value in before.items())
    for key, value in states["fast"].items():
        torch.testing.assert_close(states["plain"][key], value, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("in_repository")
def test_both_paths_are_compared_and_kept(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, trained = quality.train_and_score, []

    def train_and_score(net: str, path: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append((settings["seed"], path))
        return original(net, path, settings, workers)

    monkeypatch.setattr(quality, "train_and_score", train_and_score)
    with pytest.raises(KeyboardInterrupt):
        quality.main(given(phantom, tmp_path, "--seeds", "0", "1"))
    assert trained == [(0, "fast"), (0, "plain")]
    trained.clear()
    content = quality.main(given(phantom, tmp_path, "--seeds", "0", "1", "--json", str(tmp_path / "quality.json")))
    assert trained == [(1, "fast"), (1, "plain")]

    split = quality.parser("plain_unet", {"dataset_dir": str(phantom), "output_dir": str(tmp_path), "cache_dir": None})
    validation = {entry["patient"] for entry in split.get_parsed_content("datalist")["validation"]}
    compared = content["compared"]["fp32"]
    assert list(compared) == [0, 1, "all"]
    for entry in compared.values():
        assert set(entry["by_patient"]) == validation
        assert entry["difference"]["difference"] == pytest.approx(entry["fast"] - entry["plain"])
    assert compared["all"]["fast"] == pytest.approx((compared[0]["fast"] + compared[1]["fast"]) / 2)
    trainings = content["trainings"]
    assert trainings[0]["fast"]["initial_weights"] == trainings[0]["plain"]["initial_weights"]
    assert trainings[0]["fast"]["initial_weights"] != trainings[1]["fast"]["initial_weights"]
    assert {result[path]["steps"] for result in trainings.values() for path in quality.PATHS} == {4}
    assert json.loads((tmp_path / "quality.json").read_text())["compared"]["fp32"]["all"]["difference"]
    printed = capsys.readouterr().out
    assert "fast - plain" in printed
    assert "PHANTOM" in printed


@pytest.mark.usefixtures("in_repository")
def test_pspnet_with_its_two_outputs_goes_through_both_paths(phantom: Path, tmp_path: Path) -> None:
    settings = {"dataset_dir": str(phantom), "cache_dir": str(tmp_path / "cache"), "device": "cpu", "seed": 0}
    settings |= {"batch_size": 2, "patch_size": 64, "max_epochs": 1, "slices_per_epoch": 2}
    fast, plain = (quality.train_and_score("pspnet", path, settings, 0) for path in quality.PATHS)
    assert fast["steps"] == plain["steps"] == 1
    assert fast["initial_weights"] == plain["initial_weights"]
    assert list(plain["scores"]) == ["fp32"]
    assert [row["patient"] for row in fast["scores"]["fp32"]] == [row["patient"] for row in plain["scores"]["fp32"]]
    assert all(0 <= row["volume_dice"] <= 1 for row in fast["scores"]["fp32"] + plain["scores"]["fp32"])


@pytest.mark.usefixtures("in_repository")
def test_other_settings_are_trained_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def train_and_score(net: str, path: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
        trained.append((path, settings["max_epochs"], workers))
        return {"steps": len(trained), "seconds": 1.0}

    monkeypatch.setattr(quality, "train_and_score", train_and_score)
    for path, epochs, workers in [("fast", 1, 0), ("fast", 1, 1), ("fast", 2, 0), ("plain", 1, 0), ("plain", 1, 1)]:
        quality.finished(tmp_path, "plain_unet", path, {"max_epochs": epochs, "seed": 0}, workers)
    assert trained == [("fast", 1, 0), ("fast", 2, 0), ("plain", 1, 0), ("plain", 1, 1)]
    assert quality.finished(tmp_path, "plain_unet", "plain", {"max_epochs": 1, "seed": 0}, 1)["steps"] == 4


def result(weights: str, *dice: float) -> dict[str, Any]:
    rows = [{"patient": f"p{number}", "volume_dice": value} for number, value in enumerate(dice)]
    return {"initial_weights": weights, "steps": 1, "fingerprint": "f", "scores": {"fp32": rows}}


def test_differences_are_paired_by_patient_and_averaged_over_seeds() -> None:
    results = {seed: {"fast": result("a", 0.9, 0.6 + seed), "plain": result("a", 0.8, 0.6)} for seed in (0, 0.2)}
    compared = quality.compare(results)["fp32"]
    assert compared[0]["difference"]["difference"] == pytest.approx(0.05)
    assert compared[0]["difference"]["ci95"] == pytest.approx([0, 0.1])
    assert compared["all"]["by_patient"] == pytest.approx({"p0": 0.1, "p1": 0.1})
    assert compared["all"]["difference"]["ci95"] == pytest.approx([0.1, 0.1])
    assert compared["all"]["fast"] == pytest.approx(0.8)


def test_trainings_that_did_not_start_alike_are_not_compared() -> None:
    with pytest.raises(LggError, match="initial_weights of seed 0 differ"):
        quality.compare({0: {"fast": result("a", 0.9), "plain": result("b", 0.9)}})
