"""The 8-bit twin of a network: nearly the same answers, of the same weights, and one line where it cannot be had."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lgg_monai.cli import app
from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.errors import LggError
from lgg_monai.prediction.int8 import Int8Network, int8_file, sums_exactly
from lgg_monai.prediction.models import files_behind, load_segmenter
from lgg_monai.prediction.network_def import build_network
from lgg_monai.prediction.segmenter import Segmenter
from lgg_monai.sharing import quantize as module
from lgg_monai.sharing.quantize import quantize

pytest.importorskip("onnxruntime")
SMALL: dict[str, Any] = {
    **{"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "norm": "batch"},
    **{"channels": [8, 16], "strides": [2], "num_res_units": 1},
}


def write_run(folder: Path, phantom: Path, seed: int = 0) -> Path:
    """A run's folder with a network that was not trained at all."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": {"network_def": SMALL}}))
    torch.manual_seed(seed)
    torch.save(build_network(SMALL, "small").state_dict(), folder / "checkpoints" / "best.pt")
    parts = dict(zip(("training", "validation", "test"), np.array_split(find_patients(phantom), [6, 8]), strict=True))
    entries = {part: [{"patient": patient.name} for patient in patients] for part, patients in parts.items()}
    (folder / "datalist.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(autouse=True, scope="module")
def vnni() -> Iterator[None]:
    """The tests run on any processor: so small a network hardly saturates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        yield


@pytest.fixture(scope="module")
def made(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its 8-bit network; do not write into it."""
    run = write_run(tmp_path_factory.mktemp("quantized") / "run", phantom)
    quantize(str(run), phantom)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def logits(segmenter: Segmenter, phantom: Path) -> np.ndarray:
    image, _ = read_patient(find_patients(phantom)[-1])  # a test patient
    prepared = segmenter.preprocessing({"image": torch.from_numpy(image).float()})["image"].float()[None]
    with torch.inference_mode():
        return segmenter.inferer(prepared, segmenter.networks[0]).numpy()


def test_the_twin_says_nearly_what_the_network_says(made: Path, phantom: Path) -> None:
    whole, small = (load_segmenter(made, device="cpu", precision=precision) for precision in ("fp32", "int8"))
    own, theirs = logits(whole, phantom), logits(small, phantom)
    assert own.shape == theirs.shape
    assert np.corrcoef(own.ravel(), theirs.ravel())[0, 1] > 0.995
    assert (own != theirs).any()
    assert (whole.dtype, small.dtype) == ("float32", "int8")
    assert whole.digests != small.digests
    assert whole.seen == small.seen


def test_it_holds_8_bits_where_the_network_convolves(made: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(int8_file(made / "checkpoints" / "best.pt"))
    convolved = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    held = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
        if any(i.name == node.input[0] and i.data_type == onnx.TensorProto.INT8 for i in model.graph.initializer)
    }
    assert len(convolved) > 3
    assert len(convolved - held) == 1  # the last


def test_the_same_weights_give_the_same_file_and_nothing_else_is_left(
    run: Path, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    path = int8_file(run / "checkpoints" / "best.pt")
    before = path.read_bytes()
    path.unlink()
    done = quantize(str(run), phantom)
    assert done.path.read_bytes() == before
    assert done.slices == 6 * 4 * 2  # training patients, slices of each, with all sequences and with FLAIR alone
    assert 0.8 < done.agreement <= 1
    assert not list(Path.cwd().iterdir())
    assert {file.name for file in path.parent.iterdir()} == {"best.pt", "best_int8.onnx"}
    assert str(tmp_path).encode() not in before
    assert b"site-packages" not in before


def test_the_command_writes_what_predict_takes(phantom: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", phantom)
    arguments = ["--bundle", str(run), "--precision", "int8", "--output", str(tmp_path / "out"), "--no-report"]
    scan = str(find_patients(phantom)[0].image)
    refused = CliRunner().invoke(app, ["predict", scan, *arguments])
    assert str(refused.exception) == (
        "no 8-bit network best_int8.onnx beside the weights of the bundle run: make it by `lgg-monai quantize`, "
        "or leave --precision int8 away"
    )
    made = CliRunner().invoke(app, ["quantize", "--bundle", str(run), "--dataset_dir", str(phantom)])
    assert made.exit_code == 0
    assert "best_int8.onnx" in made.stdout
    assert "of 48 slices its masks agree" in made.stdout
    assert CliRunner().invoke(app, ["predict", scan, *arguments]).exit_code == 0
    arguments[3] = "fp32"
    other = CliRunner().invoke(app, ["predict", scan, *arguments])
    assert "holds results of another" in str(other.exception)


def test_weights_that_were_trained_on_have_no_twin_any_more(run: Path, phantom: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", phantom, seed=1)
    shutil.copy(other / "checkpoints" / "best.pt", run / "checkpoints")
    with pytest.raises(LggError, match=r"best_int8\.onnx was made of other weights than best\.pt: make it by"):
        load_segmenter(run, precision="int8")


def test_weights_in_another_form_keep_their_twin(run: Path) -> None:
    path = run / "checkpoints" / "best.pt"
    torch.save({"averaged_model": torch.load(path, weights_only=True), "epoch": 3}, path)
    Int8Network(path, "run")


def test_a_damaged_twin_is_refused(run: Path) -> None:
    path = int8_file(run / "checkpoints" / "best.pt")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(LggError, match=r"cannot read the 8-bit network .*best_int8\.onnx: make it by"):
        load_segmenter(run, precision="int8")


def test_another_device_is_refused_and_a_gpu_is_not_chosen(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LggError, match="--precision int8 runs on a CPU, not on meta"):
        load_segmenter(made, device="meta", precision="int8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load_segmenter(made, precision="int8").device.type == "cpu"


def test_an_unknown_precision_is_refused_before_anything_is_read() -> None:
    with pytest.raises(LggError, match="unknown precision 'int9': --precision takes auto, fp32, bf16 or int8"):
        load_segmenter("absent", precision="int9")


@pytest.mark.parametrize(
    ("known", "exact"),
    [
        ({"architecture": "x86_64", "avx512_vnni": False, "avx_vnni": False}, False),
        ({"architecture": "x86_64", "avx512_vnni": False, "avx_vnni": True}, True),
        ({"architecture": "x86_64", "avx512_vnni": True, "avx_vnni": False}, True),
        ({"architecture": "arm64"}, True),
        ({}, True),
    ],
)
def test_processors_whose_sums_saturate_are_refused(
    made: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, Any], exact: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    if exact:
        load_segmenter(made, precision="int8")
        return
    with pytest.raises(LggError, match="--precision int8 needs a processor with VNNI, without which sums"):
        load_segmenter(made, precision="int8")
    with pytest.raises(LggError, match="needs a processor with VNNI"):
        quantize(str(made), made)


def test_without_onnxruntime_it_is_said_what_to_install(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LggError, match=r"onnxruntime is not installed, .*: pip install .*'\.\[int8\]'"):
        load_segmenter(made, precision="int8")


def test_a_missing_package_is_named_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(LggError, match=r"onnxscript is not installed, .*: pip install .*'\.\[package\]'"):
        quantize("absent", tmp_path)


def test_a_network_that_cannot_be_quantized_is_refused_in_one_line(
    tmp_path: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", phantom)
    monkeypatch.setattr(module, "onnx_bytes", unexportable)
    with pytest.raises(LggError, match="it has no 8-bit network: ValueError: no; choose"):
        quantize(str(run), phantom)
    assert [file.name for file in (run / "checkpoints").iterdir()] == ["best.pt"]


def unexportable(network: torch.nn.Module) -> bytes:
    raise ValueError("no\nsuch operator")


def test_other_data_than_the_training_is_refused_before_anything_is_written(tmp_path: Path, phantom: Path) -> None:
    run = write_run(tmp_path / "run", phantom)
    (run / "datalist.json").write_text(json.dumps({"training": [{"patient": "somebody"}]}))
    with pytest.raises(LggError, match=r"none of the 1 training patients that .* names is in the folder: give with"):
        quantize(str(run), phantom)
    assert [file.name for file in (run / "checkpoints").iterdir()] == ["best.pt"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, phantom: Path) -> None:
    (tmp_path / "package").mkdir()
    with pytest.raises(LggError, match="is no run's folder: give a run or a bundle's name"):
        quantize(str(tmp_path / "package"), phantom)


def test_a_twin_that_is_made_anew_is_loaded_anew(made: Path) -> None:
    assert int8_file(made / "checkpoints" / "best.pt").resolve() in files_behind([made])


@pytest.mark.skipif(not sums_exactly(), reason="this processor has no VNNI")
@pytest.mark.parametrize("bundle", ["unet", "pspnet"])
def test_the_shipped_twins_are_those_of_the_shipped_weights(bundle: str, phantom: Path) -> None:
    whole, small = (load_segmenter(bundle, device="cpu", precision=precision) for precision in ("fp32", "int8"))
    own, theirs = logits(whole, phantom), logits(small, phantom)
    assert np.corrcoef(own.ravel(), theirs.ravel())[0, 1] > 0.99
