"""Weights to share: the same network, calibrated and small, with the patients that they saw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet

from lgg_monai.engines.checkpoints import read_weights
from lgg_monai.errors import LggError
from lgg_monai.networks import Ensemble
from lgg_monai.sharing.weights import write_weights

NETWORK: dict[str, Any] = {
    **{"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [8, 16], "strides": [2]},
    **{"num_res_units": 2, "norm": "batch"},
}


def network(weights: Path | None = None) -> UNet:
    built = UNet(**NETWORK)
    if weights is not None:
        built.load_state_dict(read_weights(weights))
    return built.eval()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A packaged bundle, of which nothing but the network is read."""
    folder = tmp_path / "bundle" / "configs"
    folder.mkdir(parents=True)
    (folder / "inference.json").write_text(json.dumps({"network_def": {"_target_": "UNet", **NETWORK}}))
    return folder.parent


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run's last checkpoint, whose averaged weights are others than the last step's."""
    torch.manual_seed(0)
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model": network().state_dict(), "averaged_model": network().state_dict()}, path)
    folder = str(tmp_path / "data")
    entry = {
        "patient": "a",
        "fingerprint": "f",
        "image": f"{folder}/a",
        "label": [f"{folder}/a_0.nii", f"{folder}/a_1.nii"],
    }
    datalist = {"dataset_dir": folder, "fold": 0, "training": [entry], "validation": [], "test": []}
    (tmp_path / "run" / "datalist.json").write_text(json.dumps(datalist))
    return path


@torch.inference_mode()
def test_averaged_weights_are_written_and_calibrated(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    image = torch.randn(1, 3, 32, 32)
    expected = network(checkpoint)(image)
    write_weights([checkpoint], tmp_path / "plain" / "model.pt", str(bundle))
    assert torch.equal(network(tmp_path / "plain" / "model.pt")(image), expected)
    write_weights([checkpoint], tmp_path / "soft" / "model.pt", str(bundle), temperature=2.0)
    torch.testing.assert_close(network(tmp_path / "soft" / "model.pt")(image), expected / 2, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_compact_weights_are_smaller_and_nearly_the_same(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    image = torch.randn(1, 3, 32, 32)
    write_weights([checkpoint], tmp_path / "small.pt", str(bundle), temperature=2.0, compact=True)
    kinds = {value.dtype for value in torch.load(tmp_path / "small.pt", weights_only=True).values()}
    assert torch.int8 in kinds
    found, expected = network(tmp_path / "small.pt")(image), network(checkpoint)(image) / 2
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.999


def test_the_patients_come_along_without_the_folders_they_lay_in(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    write_weights([checkpoint], tmp_path / "models" / "model.pt", str(bundle))
    text = (tmp_path / "models" / "datalist.json").read_text()
    assert str(tmp_path) not in text
    (entry,) = json.loads(text)["training"]
    assert entry == {"patient": "a", "fingerprint": "f", "image": "a", "label": ["a_0.nii", "a_1.nii"]}


def test_what_cannot_be_written_is_refused(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(LggError, match="would replace the weights that are read"):
        write_weights([checkpoint], checkpoint, str(bundle))
    other = tmp_path / "other.pt"
    torch.save(UNet(**NETWORK | {"channels": [4, 8]}).state_dict(), other)
    with pytest.raises(LggError, match="is of another network"):
        write_weights([other], tmp_path / "out" / "model.pt", str(bundle))
    with pytest.raises(LggError, match="no checkpoint"):
        write_weights([tmp_path / "absent.pt"], tmp_path / "out" / "model.pt", str(bundle))
    assert not (tmp_path / "out").exists()


def test_a_folder_as_output_is_no_full_disk(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(LggError, match=rf"{tmp_path} is a folder: give the file to write, such as {tmp_path}/model.pt"):
        write_weights([checkpoint], tmp_path, str(bundle))
    assert not list(tmp_path.glob("*.json"))


def test_a_runs_own_list_of_patients_stays_as_it_is(checkpoint: Path, bundle: Path) -> None:
    run = checkpoint.parents[1]
    before = (run / "datalist.json").read_text()
    write_weights([checkpoint], run / "model.pt", str(bundle))
    assert (run / "datalist.json").read_text() == before


def test_a_list_that_describes_other_weights_is_not_replaced(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write_weights([checkpoint], folder / "model.pt", str(bundle))
    (folder / "datalist.json").write_text("{}")
    with pytest.raises(LggError, match=r"says which patients model\.pt saw and would be replaced: give an --output in"):
        write_weights([checkpoint], folder / "soft.pt", str(bundle), temperature=2.0)
    assert (folder / "datalist.json").read_text() == "{}"
    assert not (folder / "soft.pt").exists()
    write_weights([checkpoint], folder / "model.pt", str(bundle))  # the weights themselves are replaced, list and all
    assert json.loads((folder / "datalist.json").read_text())["fold"] == 0


def test_the_list_of_another_run_is_not_replaced(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    shutil.copy(checkpoint, other / "checkpoints" / "best.pt")
    (other / "datalist.json").write_text("{}")
    with pytest.raises(LggError, match=r"says which patients checkpoints/best\.pt saw and would be replaced"):
        write_weights([checkpoint], other / "model.pt", str(bundle))
    assert (other / "datalist.json").read_text() == "{}"


def test_a_list_beside_does_not_come_to_describe_unknown_weights(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    folder, stranger = tmp_path / "models", tmp_path / "downloads" / "best.pt"
    write_weights([checkpoint], folder / "model.pt", str(bundle))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stranger.parent.mkdir()
    shutil.copy(checkpoint, stranger)
    with pytest.raises(LggError, match=rf"nothing says it of {stranger}: give an --output in another folder"):
        write_weights([stranger], folder / "model.pt", str(bundle), temperature=2.0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# Several networks joined


def member(path: Path, seed: int, training: str, test: str) -> Path:
    """Weights of one network of an ensemble, with the patients that it saw and those that tested it."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True)
    torch.save(network().state_dict(), path)
    parts = {"training": training, "validation": "v", "test": test}
    datalist = {part: [{"patient": name, "fingerprint": name} for name in names] for part, names in parts.items()}
    (path.parent / "datalist.json").write_text(json.dumps(datalist))
    return path


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """A packaged ensemble of two networks, of which nothing but their definition is read."""
    definition = {"_target_": "lgg_monai.networks.Ensemble", "networks": [{"_target_": "UNet", **NETWORK}] * 2}
    folder = tmp_path / "ensemble" / "configs"
    folder.mkdir(parents=True)
    (folder / "inference.json").write_text(json.dumps({"network_def": definition}))
    return folder.parent


@torch.inference_mode()
def test_members_are_joined_in_their_order_and_seen_is_what_any_of_them_saw(ensemble: Path, tmp_path: Path) -> None:
    first, second = member(tmp_path / "a" / "a.pt", 1, "xw", "yz"), member(tmp_path / "b" / "b.pt", 2, "y", "xz")
    write_weights([first, second], tmp_path / "out" / "model.pt", str(ensemble))
    joint = Ensemble([network(), network()]).eval()
    joint.load_state_dict(read_weights(tmp_path / "out" / "model.pt"))
    image = torch.randn(1, 3, 32, 32)
    for part, path in zip(joint.networks, (first, second), strict=True):
        assert torch.equal(part(image), network(path)(image))
    known = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert [[entry["patient"] for entry in known[part]] for part in ("training", "validation", "test")] == [
        ["x", "w", "y"],
        ["v"],
        ["z"],
    ]


def test_what_is_not_known_of_one_member_is_not_claimed_of_all(ensemble: Path, tmp_path: Path) -> None:
    first, second = member(tmp_path / "a" / "a.pt", 1, "x", "y"), member(tmp_path / "b" / "b.pt", 2, "x", "y")
    (second.parent / "datalist.json").unlink()
    write_weights([first, second], tmp_path / "out" / "model.pt", str(ensemble))
    assert not (tmp_path / "out" / "datalist.json").exists()


def test_a_wrong_number_of_members_is_refused(ensemble: Path, bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"2 checkpoints for .*, which is one network: give one, or --bundle ensemble"):
        write_weights([checkpoint, checkpoint], tmp_path / "out" / "model.pt", str(bundle))
    with pytest.raises(LggError, match=r"3 checkpoints for the 2 networks of .*: give one for each"):
        write_weights([checkpoint] * 3, tmp_path / "out" / "model.pt", str(ensemble))
    with pytest.raises(LggError, match="is of another network"):
        write_weights([checkpoint], tmp_path / "out" / "model.pt", str(ensemble))
    assert not (tmp_path / "out").exists()


@torch.inference_mode()
def test_compact_weights_keep_the_temperature(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    image = torch.randn(1, 3, 32, 32)
    write_weights([checkpoint], tmp_path / "small.pt", str(bundle), temperature=2.0, compact=True)
    found, expected = network(tmp_path / "small.pt")(image), network(checkpoint)(image) / 2
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()  # cosine similarity would not see the factor
