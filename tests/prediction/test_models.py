"""Networks and weights are found, and nothing of a bundle that someone sent is run."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.networks.nets import UNet
from scans import image_of

from lgg_monai.data import find_patients
from lgg_monai.data.phantom import write_phantom
from lgg_monai.data.scan import Scan
from lgg_monai.errors import LggError
from lgg_monai.networks.strides import divisor
from lgg_monai.prediction import models
from lgg_monai.prediction.api import segment
from lgg_monai.prediction.models import array_preprocessing, load_segmenter, resolve
from lgg_monai.prediction.network_def import build_network

SMALL: dict[str, Any] = {
    "_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [4, 8], "strides": [2],
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(build_network(SMALL, "small").state_dict(), path)
    return path


def packaged(folder: Path, weights: Path, network_def: dict[str, Any] | str = SMALL, form: str = "json") -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {"imports": ["$import absent_module"], "network_def": network_def, "run": ["$1/0"]}
    text = json.dumps(config) if form == "json" else yaml.safe_dump(config)
    (folder / "configs" / f"inference.{form}").write_text(text)
    (folder / "models" / "model.pt").write_bytes(weights.read_bytes())
    return folder


def zipped(path: Path, folder: Path, names: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
        for name, content in (names or {}).items():
            archive.writestr(name, content)
    return path


def test_preprocessing_gives_the_same_numbers_as_training_reads(phantom: Path, in_repository: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser(globals={"torch": "torch"})
    parser.read_config("configs/data.yaml")
    patient = find_patients(phantom)[0]
    trained = parser.get_parsed_content("preprocessing")({"image": str(patient.image), "label": str(patient.image)})
    image = image_of(phantom).astype(np.float32)
    found = array_preprocessing()({"image": torch.from_numpy(image)})["image"]
    assert found.dtype == torch.float16
    assert torch.equal(found, trained["image"])


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_packaged_bundle_as_folder_and_zip(tmp_path: Path, weights: Path, form: str) -> None:
    folder = packaged(tmp_path / "bundle", weights, form=form)
    for path in (folder, zipped(tmp_path / "bundle.zip", folder)):
        segmenter = load_segmenter(path, device="cpu")
        expected = torch.load(weights, weights_only=True)
        assert all(torch.equal(value, expected[key]) for key, value in segmenter.networks[0].state_dict().items())
        assert "can run any code" in segmenter.notes[0]
        assert not segmenter.networks[0].training


@pytest.mark.parametrize(
    ("network_def", "message"),
    [
        ({**SMALL, "in_channels": "$__import__('os').system('touch pwned')"}, "not made of plain values"),
        ({**SMALL, "channels": "@channels"}, "not made of plain values"),
        ({**SMALL, "act": {"_target_": "os.system", "command": "touch pwned"}}, "not made of plain values"),
        ({"_target_": "os.system", "command": "touch pwned"}, "only MONAI's and this package's"),
        ({"_target_": "monai.networks.nets.unet.os.system"}, "only MONAI's and this package's"),
        ({"_target_": "builtins.exec", "source": "1"}, "only MONAI's and this package's"),
        ({**SMALL, "_mode_": "callable"}, "not made of plain values"),
        ("$print('hello')", "no network_def with plain values"),
        ({"_target_": "HoVerNet", "pretrained_url": "https://example.org/w.pth"}, r"names an address \(https://exam"),
        ({**SMALL, "act": ["relu", {"from": "see ftp://example.org/w.pth"}]}, "names an address"),
        ({"_target_": "TorchVisionFCModel", "weights": "DEFAULT"}, "fetches weights"),
        ({**SMALL, "channels": [4]}, "cannot build the network UNet"),
        ({**SMALL, "in_channels": 1}, "does not map slices of 3 sequences|another network"),
        ({**SMALL, "spatial_dims": 3}, "does not map|another network"),
    ],
)
def test_a_hostile_or_wrong_bundle_is_refused(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, network_def: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LggError, match=message) as caught:
        load_segmenter(packaged(tmp_path / "bundle", weights, network_def), device="cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "network_def",
    [
        {
            "_target_": "FlexibleUNet",
            "in_channels": 3,
            "out_channels": 1,
            "backbone": "efficientnet-b0",
            "pretrained": True,
        },
        {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"},  # does by default
        {"_target_": "HoVerNet", "in_channels": 3, "pretrained_url": "file:weights"},
    ],
    ids=["asked", "default", "file"],
)
def test_a_network_is_built_without_fetching_weights(
    network_def: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*args: object, **kwargs: object) -> None:
        pytest.fail("weights were fetched")

    monkeypatch.setattr("monai.networks.nets.efficientnet._load_state_dict", fetch)
    monkeypatch.setattr("monai.networks.nets.hovernet.download_url", fetch)
    assert isinstance(build_network(network_def, "some"), torch.nn.Module)


MEMBERS = {"_target_": "scripts.networks.ensemble.Ensemble", "networks": [SMALL, SMALL | {"strides": [2, 2, 2, 4]}]}


def test_an_ensemble_is_built_from_the_definitions_of_its_networks() -> None:
    network = build_network(MEMBERS, "both")
    assert [type(member) for member in network.networks.children()] == [UNet, UNet]
    assert divisor(MEMBERS) == 32


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (SMALL | {"channels": "$print('hello')"}, "not made of plain values"),
        (MEMBERS, "not made of plain values"),
        ({"_target_": "os.system"}, "only MONAI's and this package's are used"),
    ],
)
def test_a_strange_member_of_an_ensemble_is_refused(member: dict[str, Any], message: str) -> None:
    with pytest.raises(LggError, match=message):
        build_network(MEMBERS | {"networks": [SMALL, member]}, "both")


def test_a_network_of_this_package_is_found_under_the_bundles_name_for_it() -> None:
    arguments = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "backbone": "resnet18"}
    for target in ("lgg_monai.networks.PSPNet", "scripts.networks.PSPNet", "scripts.networks.pspnet.PSPNet"):
        network = build_network({"_target_": target, **arguments}, "pspnet")
        assert type(network).__module__.startswith("lgg_monai.networks")
    assert build_network({**SMALL, "_target_": "monai.networks.nets.UNet"}, "unet") is not None


def test_a_bundle_that_infers_by_torchscript_names_its_network_in_the_training_config(
    tmp_path: Path, weights: Path
) -> None:
    script = {"_target_": "torch.jit.load", "f": "$@bundle_root + '/models/model.ts'"}
    folder = packaged(tmp_path / "bundle", weights, script)
    with pytest.raises(LggError, match="not made of plain values"):
        load_segmenter(folder, device="cpu")
    (folder / "configs" / "train.json").write_text(json.dumps({"network_def": SMALL}))
    assert load_segmenter(folder, device="cpu").name == "bundle"


def test_an_unsafe_zip_is_refused(tmp_path: Path, weights: Path) -> None:
    folder = packaged(tmp_path / "bundle", weights)
    for number, name in enumerate(("../outside.txt", "/absolute.txt")):
        path = zipped(tmp_path / f"bad{number}.zip", folder, {name: "x"})
        with pytest.raises(LggError, match="is refused"):
            load_segmenter(path, device="cpu")
    rubbish = tmp_path / "rubbish.zip"
    rubbish.write_bytes(b"PK no zip")
    with pytest.raises(LggError, match="is refused"):
        load_segmenter(rubbish, device="cpu")
    assert not (tmp_path / "outside.txt").exists()


def test_aliases_that_grow_without_end_are_refused(tmp_path: Path, weights: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    text = "\n".join(["a0: &a0 [x]", *levels, "network_def: {_target_: UNet, channels: *a8}"])
    folder = packaged(tmp_path / "bundle", weights, form="yaml")
    (folder / "configs" / "inference.yaml").write_text(text)
    with pytest.raises(LggError, match=r"is refused \(aliases that refer to aliases") as caught:
        load_segmenter(folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "{'a': 1}", "network_def: 2001-99-99", "a: *b", "!!python/name:os.system"])
def test_a_config_that_cannot_be_read_is_said_in_one_line(tmp_path: Path, weights: Path, text: str) -> None:
    for form in ("json", "yaml"):
        folder = packaged(tmp_path / form, weights, form=form)
        (folder / "configs" / f"inference.{form}").write_text(text)
        with pytest.raises(LggError, match=r"ask for another copy|no network_def") as caught:
            load_segmenter(folder, device="cpu")
        assert "\n" not in str(caught.value)


def test_pickled_code_in_weights_is_not_run(tmp_path: Path, weights: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "pwned",))

    torch.save({"weight": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(LggError, match="more than weights"):
        load_segmenter(packaged(tmp_path / "bundle", tmp_path / "bomb.pt"), device="cpu")
    assert not (tmp_path / "pwned").exists()


def test_an_ensemble_of_checkpoints(tmp_path: Path, weights: Path) -> None:
    segmenter = load_segmenter(packaged(tmp_path / "b", weights), [weights, weights], device="cpu", tta=True)
    assert len(segmenter.networks) == len(segmenter.digests) == 2
    assert segmenter.tta


def test_an_ensemble_of_different_networks_has_their_mean_probability(tmp_path: Path, weights: Path) -> None:
    torch.manual_seed(1)
    deep = {**SMALL, "channels": [4] * 6, "strides": [2] * 5}
    torch.save(build_network(deep, "deep").state_dict(), tmp_path / "deep.pt")
    folders = [packaged(tmp_path / "small", weights), packaged(tmp_path / "deep", tmp_path / "deep.pt", deep)]
    alone = [load_segmenter(folder, device="cpu") for folder in folders]
    both = load_segmenter(folders, device="cpu")
    assert both.name == "small + deep"
    assert both.digests == alone[0].digests + alone[1].digests
    assert len(both.notes) == 2
    scan = Scan("s", np.random.default_rng(0).normal(size=(3, 40, 24, 2)).astype(np.float32), np.eye(4), False)
    # Slices are padded to what the deeper one needs, which the other one is therefore given too.
    assert both.divisor == alone[1].divisor == 32
    alone[0].inferer = both.inferer
    found = [segmenter(segmenter.prepare(scan)) for segmenter in (both, *alone)]
    np.testing.assert_allclose(found[0], (found[1] + found[2]) / 2, atol=1e-5)
    assert np.abs(found[1] - found[2]).max() > 0.01


def test_an_ensemble_that_says_less_than_it_seems_is_refused(tmp_path: Path, weights: Path) -> None:
    folder = packaged(tmp_path / "b", weights)
    with pytest.raises(LggError, match=r"the bundle .*/b is given twice"):
        load_segmenter([folder, folder], device="cpu")
    with pytest.raises(LggError, match="--checkpoint is given with 2 bundles: give one bundle with it"):
        load_segmenter([folder, "unet"], [weights], device="cpu")


def test_a_run_folder(tmp_path: Path, weights: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"config": {"network_def": SMALL}}))
    with pytest.raises(LggError, match="no trained weights for the bundle"), resolve(run):
        pass
    (run / "checkpoints" / "best.pt").write_bytes(weights.read_bytes())
    assert load_segmenter(run, device="cpu").name == "run"
    other = {"network_def": SMALL, "preprocessing": {"_target_": "Compose", "transforms": []}}
    (run / "run.json").write_text(json.dumps({"config": other}))
    with pytest.raises(LggError, match=r"was trained with another preprocessing than that of configs/data\.yaml"):
        load_segmenter(run, device="cpu")


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(LggError, match="no bundle absent: give one of ensemble, plain_unet, pspnet, unet, or"),
        resolve("absent"),
    ):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(LggError, match=r"no configs/inference\.json"), resolve(tmp_path / "empty"):
        pass
    with pytest.raises(LggError, match="no checkpoint"):
        load_segmenter("unet", [tmp_path / "absent.pt"], device="cpu")
    with pytest.raises(LggError, match="of another network"):
        load_segmenter("unet", [weights], device="cpu")
    with pytest.raises(LggError, match="cannot use device"):
        load_segmenter("unet", [weights], device="cuda:9")
    bundles = tmp_path / "repository" / "bundles"
    bundles.mkdir(parents=True)
    (bundles / "unet.yaml").write_text(yaml.safe_dump({"network_def": SMALL}))
    monkeypatch.setattr(models, "repository", lambda: tmp_path / "repository")
    with pytest.raises(LggError, match="no trained weights for the bundle unet: name some with --checkpoint"):
        load_segmenter("unet", device="cpu")
    with pytest.raises(LggError, match="not part of this installation"):
        array_preprocessing()


def test_a_deeper_unet_pads_to_its_strides(tmp_path: Path) -> None:
    deep = {**SMALL, "channels": [4] * 7, "strides": [2] * 6}
    torch.save(build_network(deep, "deep").state_dict(), tmp_path / "deep.pt")
    segmenter = load_segmenter(packaged(tmp_path / "b", tmp_path / "deep.pt", deep), device="cpu")
    assert segmenter.divisor == 64


def test_a_scan_narrower_than_pspnet_takes_is_padded(tmp_path: Path) -> None:
    definition = {"_target_": "lgg_monai.networks.PSPNet", "features": 8}
    torch.save(build_network(definition, "psp").state_dict(), tmp_path / "psp.pt")
    segmenter = load_segmenter(packaged(tmp_path / "b", tmp_path / "psp.pt", definition), device="cpu")
    scan = Scan("s", np.random.default_rng(0).normal(size=(3, 40, 72, 2)).astype(np.float32), np.eye(4), False)
    assert segmenter(segmenter.prepare(scan)).shape == (40, 72, 2)


def test_an_installation_holds_what_predict_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    for folder, patterns in listed.items():
        for file in (file for pattern in patterns for file in root.glob(pattern)):
            copy = tmp_path / folder / file.relative_to(root).name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            assert copy.relative_to(tmp_path / models.SHARE) == file.relative_to(root)

    def installed(name: str) -> list[importlib.metadata.PackagePath]:
        files = [importlib.metadata.PackagePath(file.relative_to(tmp_path)) for file in tmp_path.rglob("data.yaml")]
        for file in files:
            file.dist = importlib.metadata.PathDistribution(tmp_path / "lgg_monai.dist-info")
        return files

    monkeypatch.setattr(models.lgg_monai, "__file__", str(tmp_path / "site" / "lgg_monai" / "__init__.py"))
    monkeypatch.setattr(importlib.metadata, "files", installed)
    assert models.repository() == tmp_path / models.SHARE
    assert load_segmenter("unet", device="cpu").seen


@pytest.mark.slow
def test_predict_runs_from_an_installation_without_the_repository(tmp_path: Path) -> None:
    """Asks pip's index for setuptools; the other packages are those of this environment."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = next(path for path in (tmp_path / "venv").glob("*/python*") if path.is_file())
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(root)]
    subprocess.run(pip, check=True, timeout=300)
    site = next((tmp_path / "venv").rglob("site-packages"))
    (site / "ours.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    write_phantom(tmp_path / "scans", patients=1)
    command = [python.parent / "lgg-monai", "predict", tmp_path / "scans", "--output", tmp_path / "masks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "masks").rglob("mask.nii.gz"))) == 1


def test_seen_are_the_patients_of_every_member(tmp_path: Path, weights: Path) -> None:
    files = [tmp_path / name / "model.pt" for name in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(weights.read_bytes())
        parts = {"training": [{"patient": file.parent.name}], "validation": [], "test": [{"patient": "t"}]}
        (file.parent / "datalist.json").write_text(json.dumps(parts))
    assert load_segmenter(packaged(tmp_path / "p", weights), files, device="cpu").seen == {"A", "B"}


def test_python_notices_files_that_were_replaced(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and networks stayed those of the first call, whatever lay at their paths."""
    loads: list[Any] = []

    def load(*args: Any, **kwargs: Any) -> Any:
        loads.append(args)
        return load_segmenter(*args, **kwargs)

    def loaded(bundle: str | Path, checkpoint: Any = ()) -> bool:
        before = len(loads)
        segment(scan, bundle=bundle, checkpoint=checkpoint, device="cpu")
        return len(loads) > before

    monkeypatch.setattr("lgg_monai.prediction.api.load_segmenter", load)
    scan = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype(np.float32)
    folder = packaged(tmp_path / "folder", weights)
    archive = zipped(tmp_path / "bundle.zip", folder)
    own = Path(shutil.copy(weights, tmp_path / "own.pt"))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"config": {"network_def": SMALL}}))
    shutil.copy(weights, run / "checkpoints" / "best.pt")
    for bundle, checkpoint, files in (
        (folder, (), (folder / "models" / "model.pt", folder / "configs" / "inference.json")),
        (archive, (), (archive,)),
        (run, (), (run / "checkpoints" / "best.pt", run / "run.json")),
        (folder, own, (own,)),
    ):
        assert [loaded(bundle, checkpoint) for _ in range(2)] == [True, False]
        for file in files:
            file.write_bytes(file.read_bytes())
            assert [loaded(bundle, checkpoint) for _ in range(2)] == [True, False], file
    monkeypatch.chdir(tmp_path)
    assert loaded("folder")
    packaged(tmp_path / "elsewhere" / "folder", weights)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert loaded("folder")  # another one of the same name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_callers_default_type_changes_nothing(tmp_path: Path, weights: Path, dtype: torch.dtype) -> None:
    """In a notebook with doubles networks ended with a traceback; with halves their weights were rounded."""
    image = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype(np.float32)
    bundle = packaged(tmp_path / "p", weights)
    expected = segment(image, bundle=bundle, device="cpu", precision="fp32")
    try:
        torch.set_default_dtype(dtype)
        found = segment(image, segmenter=load_segmenter(bundle, device="cpu", precision="fp32"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found.probability, expected.probability)


def test_no_bundle_is_refused() -> None:
    with pytest.raises(LggError, match="no bundle is given"):
        load_segmenter([])
