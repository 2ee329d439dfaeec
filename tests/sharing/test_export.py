"""TorchScript and ONNX of a network."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from torch import nn

from lgg_monai.errors import LggError
from lgg_monai.sharing import export as module
from lgg_monai.sharing.export import largest_difference, onnx_bytes, onnx_runner, torchscript_bytes, torchscript_runner


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return UNet(2, 3, 1, channels=(4, 4, 8), strides=(2, 2), num_res_units=1, norm="batch").eval()


def test_torchscript_agrees_and_names_no_file_of_this_machine(network: nn.Module) -> None:
    content = torchscript_bytes(network, {"metadata.json": b"{}"})
    assert largest_difference(network, torchscript_runner(content)) < 1e-5
    assert b".debug_pkl" not in content
    assert b"site-packages" not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_clients_find_the_configs_in_torchscript_under_the_name_of_the_file(network: nn.Module) -> None:
    """As `ckpt_export` writes them: MONAI Deploy reads them by this name where it is given `model.ts` alone."""
    content = torchscript_bytes(network, {"metadata.json": b"{}", "inference.json": b'{"a": 1}'})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("model/extra/inference.json") == b'{"a": 1}'
        assert {name.split("/")[0] for name in archive.namelist()} == {"model"}


@pytest.mark.filterwarnings("ignore")  # inside PyTorch's exporter
def test_onnx_agrees_at_every_size_and_names_no_file_of_this_machine(network: nn.Module) -> None:
    onnx = pytest.importorskip("onnx")
    content = onnx_bytes(network)
    assert largest_difference(network, onnx_runner(content)) < 1e-5
    assert b"site-packages" not in content
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    (image,), (pred,) = model.graph.input, model.graph.output
    assert [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "columns",
        "rows",
    ]
    assert (image.name, pred.name) == ("image", "pred")
    assert onnx_bytes(network) == content


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda image: image[:, :1], "differs from PyTorch by"),
        (lambda image: image, r"gives \(1, 3, 256, 256\)"),
        (lambda image: image[:, :1] * torch.nan, "differs from PyTorch by nan"),
    ],
)
def test_an_export_that_differs_is_refused(network: nn.Module, other, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LggError, match=message):
        largest_difference(network, other)


@pytest.mark.filterwarnings("ignore")  # inside PyTorch
def test_a_network_that_torchscript_cannot_hold_is_refused_with_its_reason(tmp_path: Path) -> None:
    """TorchScript says why in the first line of many."""
    definition = {"_target_": "DynUNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    definition |= {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}
    definition |= {"deep_supervision": True, "deep_supr_num": 1}
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    network = ConfigParser({"network": definition}).get_parsed_content("network")
    torch.save(network.state_dict(), tmp_path / "models/model.pt")
    for name, content in (("train", {"network_def": definition}), ("inference", {}), ("metadata", {})):
        (tmp_path / f"configs/{name}.json").write_text(json.dumps(content))
    with pytest.raises(LggError, match=r"^it has no TorchScript: RuntimeError: Arguments for call are not") as caught:
        module.write_exports(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_failure_in_the_other_process_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would keep compiled copies of the bundle's scripts beside them."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.json").write_text('{"network_def": {"_target_": "scripts.net.Identity"}}')
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/net.py").write_text("from torch.nn import Identity\n")
    with pytest.raises(LggError, match=r"^cannot export the network \(.*model.pt.*\)$") as caught:
        module.export(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "scripts").iterdir()] == ["net.py"]
