"""Every benchmark runs on a tiny phantom and says what it should; no figure is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import inference, profile, start, train
from benchmarks.bundle import parser
from benchmarks.nnunet import as_the_bundle
from benchmarks.report import ratio, summary, table
from benchmarks.variants import HEEDED, KINDS, OPTIONS, Variant

TINY = ["network_def#channels=[4, 8]", "network_def#strides=[2]", "batch_size=2", "patch_size=32", "device=cpu"]
SMALL = {"network_def#channels": [4, 8], "network_def#strides": [2], "batch_size": 4, "device": "cpu"}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without writing C++, which takes a minute."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: original(module, backend="eager"))


@pytest.mark.usefixtures("in_repository", "traced")
def test_every_variant_of_training_is_measured_or_says_why_not(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    # A second worker adds nothing here, and tracing takes long: one variant of either kind is enough.
    left_out = ("monai/workers=2", "bare/compile")
    names = [name for name in train.DEFAULT if name not in left_out]
    path = tmp_path / "train.json"
    arguments = ["--dataset_dir", str(phantom), "--nets", "plain_unet", "--cache_dir", str(tmp_path / "cache")]
    arguments += ["--steps", "1", "--repeats", "2", "--json", str(path), "--set", *TINY, "--variants", *names]
    content = train.main(arguments)
    results = content["plain_unet"]["variants"]
    assert list(results) == names
    for name, result in results.items():
        if "not_compared" in result:
            assert name in ("smp", "nnunet", "bare/precision=bf16")
            continue
        assert len(result["slices_per_second"]["repeats"]) == 2
        assert result["slices_per_second"]["median"] > 0
        assert result["warm_up_seconds"] > 0
    assert content["plain_unet"]["ratios"]["bundle : bare"]["median"] > 0
    assert any("best plain pipeline" in name for name in content["plain_unet"]["ratios"])
    written = json.loads(path.read_text())
    assert written["machine"]["threads"] == torch.get_num_threads()
    assert set(written["machine"]["versions"]) >= {"torch", "monai", "python"}
    assert "slices/s" in capsys.readouterr().out


@pytest.mark.usefixtures("in_repository")
def test_nnunets_plan_takes_the_bundles_patch_batch_and_channels() -> None:
    arguments = {"n_stages": 8, "conv_bias": True}
    plan = {"patch_size": [256, 256], "batch_size": 49, "architecture": {"arch_kwargs": arguments}}
    as_the_bundle(plan, parser("plain_unet", {"network_def#channels": [4, 8, 8], "patch_size": 96, "batch_size": 6}))
    assert (plan["patch_size"], plan["batch_size"]) == ([96, 96], 6)
    network = plan["architecture"]["arch_kwargs"]
    assert network["n_stages"] == 3
    assert network["features_per_stage"] == [4, 8, 8]
    assert network["strides"] == [[1, 1], [2, 2], [2, 2]]
    assert [len(network[f"n_conv_per_stage{end}"]) for end in ("", "_decoder")] == [3, 2]
    assert network["conv_bias"] is True


@pytest.mark.usefixtures("in_repository")
def test_inference_is_measured(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "load_weights", lambda network, path: network)
    arguments = ["--dataset_dir", str(phantom), "--nets", "plain_unet", "--cache_dir", str(tmp_path / "cache")]
    variants = ["bundle", "contiguous", "crop", "batch=2", "fused/precision=fp32"]
    arguments += ["--volumes", "2", "--repeats", "1", "--variants", *variants]
    result = inference.main([*arguments, "--json", str(tmp_path / "inference.json")])["plain_unet"]
    assert set(result["volumes_per_second"]) == {"bare", *variants}
    assert result["volumes"] == 2
    assert 8 <= result["one_patient"]["slices"] <= 10
    assert result["one_patient"]["seconds"]["median"] > result["one_patient"]["infer_seconds"]["median"]
    assert (tmp_path / "inference.json").is_file()


@pytest.mark.usefixtures("in_repository")
def test_the_profile_accounts_for_the_whole_epoch(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = profile.parser
    monkeypatch.setattr(profile, "parser", lambda net, overrides: original(net, overrides | SMALL))
    arguments = ["--dataset_dir", str(phantom), "--nets", "plain_unet", "--cache_dir", str(tmp_path / "cache")]
    result = profile.main([*arguments, "--slices", "8"])["plain_unet"]
    assert result["steps"] == 2
    expected = {"gathering", "augmentation", "forward", "loss", "backward", "optimizer", "validation: forward"}
    expected |= {"RunCheckpoints", "HistoryWriter", "TensorBoardWriter", "WeightAveraging", "GradientClipping", "rest"}
    assert expected <= set(result["parts"])
    assert sum(result["parts"].values()) == pytest.approx(result["seconds"])
    assert all(seconds >= 0 for seconds in result["parts"].values())


@pytest.mark.usefixtures("in_repository")
def test_starts_and_memory_are_measured(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PROCESSES", dict.fromkeys(start.PROCESSES, start.PROCESSES["python"]))
    calls: list[dict[str, Any]] = []

    def training(net: str, settings: dict[str, Any]) -> dict[str, Any]:
        calls.append(settings)
        if len(calls) == 2:  # one process of the real kind is enough
            return real(net, settings | SMALL)
        return {"seconds_since_start": {"first step": 1.0}, "memory": [{"epoch": 1, "resident_mb": 1.0}]}

    real = start.training
    monkeypatch.setattr(start, "training", training)
    arguments = ["--dataset_dir", str(phantom), "--nets", "plain_unet"]
    arguments += ["--repeats", "1", "--epochs", "2", "--slices", "8"]
    content = start.main([*arguments, "--json", str(tmp_path / "start.json")])
    second = content["plain_unet"]["second start"]
    assert set(second["seconds_since_start"]) == {"imports", "set up", "first step"}
    assert [epoch["epoch"] for epoch in second["memory"]] == [1, 2]
    assert all(epoch["peak_mb"] >= epoch["resident_mb"] * 0.9 > 0 for epoch in second["memory"])
    assert [call.get("cache", "memory") for call in calls] == ["memory", "memory", "disk"]
    assert len({call["cache_dir"] for call in calls}) == 1


def test_names_of_variants_are_read() -> None:
    variant = Variant.parse("bundle/contiguous/threads=1")
    assert (variant.kind, variant.options) == ("bundle", {"contiguous": True, "threads": 1})
    before = torch.get_num_threads()
    with Variant.parse("bare/threads=3").threads():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="unknown variant 'fast'"):
        Variant.parse("fast")
    with pytest.raises(ValueError, match="unknown option 'treads'"):
        Variant.parse("bare/treads=2")
    with pytest.raises(
        ValueError, match=r"'monai' takes no notice of 'precision' in .*: it heeds batch, patch, threads"
    ):
        Variant.parse("monai/precision=bf16")
    assert set().union(*HEEDED.values()) == set(OPTIONS)
    assert HEEDED.keys() == KINDS.keys()


@pytest.mark.parametrize("name", ["fuse", "contigous", "batch=0", "batch=x", "fused/precision=fp16"])
def test_unknown_variants_of_inference_are_refused(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        inference.main(["--variants", "bundle", name])
    assert f"unknown variant '{name}': take of bundle, fused" in capsys.readouterr().err


def test_ratios_are_taken_within_repeats() -> None:
    # The machine was half as fast in the second repeat.
    assert ratio([10.0, 5.0, 10.0], [20.0, 10.0, 20.0])["repeats"] == [0.5, 0.5, 0.5]
    assert summary([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "repeats": [3.0, 1.0, 2.0]}


def test_tables_are_laid_out() -> None:
    lines = table([{"variant": "bare", "slices/s": 22.123}, {"variant": "a longer one", "slices/s": None}]).split("\n")
    assert [line.split() for line in lines] == [["variant", "slices/s"], ["bare", "22.1"], ["a", "longer", "one"]]
    assert len({line.index(end) for line, end in zip(lines[:2], ("slices/s", "22.1"), strict=True)}) == 1


def test_a_setting_without_a_value_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--set", "max_epochs"])
    assert "--set takes KEY=VALUE, not 'max_epochs'" in capsys.readouterr().err


def test_an_unknown_variant_of_training_is_one_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--variants", "bundle:batch=16"])
    assert "unknown variant 'bundle:batch=16': begin with one of bare, bundle" in capsys.readouterr().err
