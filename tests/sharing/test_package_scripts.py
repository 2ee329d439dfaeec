"""The modules that a bundle carries."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from lgg_monai.errors import LggError
from lgg_monai.sharing import scripts
from lgg_monai.sharing.scripts import closure, modules_named, require_received, script_files


def test_imports_are_followed() -> None:
    assert closure(["lgg_monai.networks.pspnet"]) == [
        "lgg_monai.errors",
        "lgg_monai.networks.cpu_layers",
        "lgg_monai.networks.efficientnet_lite",
        "lgg_monai.networks.pspnet",
        "lgg_monai.networks.resnet",
    ]


def test_augmentation_does_not_bring_the_readers_along() -> None:
    assert closure(["lgg_monai.transforms.intensity"]) == [
        "lgg_monai.data.sequences",
        "lgg_monai.seeds",
        "lgg_monai.transforms.batch",
        "lgg_monai.transforms.intensity",
    ]


def test_configs_name_their_modules() -> None:
    texts = ["_target_: scripts.engines.precision.AutocastInferer", "x: $scripts.seeds.epoch_seed(1, 2)", "scripts"]
    assert modules_named(texts) == {"lgg_monai.engines.precision", "lgg_monai.seeds"}


@pytest.mark.parametrize(
    "target", ["_target_: mynet.Net", '_target_: "mynet.Net"', "{'_target_': 'mynet.Net'}", "_target_: skimage.Net"]
)
def test_components_that_a_receiver_would_lack_are_refused(target: str) -> None:
    known = "_target_: UNet\n_target_: torch.optim.SGD\n_target_: scripts.networks.x.Y\n_target_: ignite.metrics.Loss\n"
    require_received([known], ["pytorch-ignite"])
    require_received([known, "_target_: skimage.Net"], ["pytorch_ignite", "Scikit-Image"])
    with pytest.raises(LggError, match=r"^(mynet|skimage)\.Net would not be in the package: move its file into"):
        require_received([known, target], ["pytorch-ignite"])


def test_scripts_import_each_other_and_never_this_package() -> None:
    files = script_files(["lgg_monai.networks.pspnet", "lgg_monai.transforms.batch"])
    assert "scripts/networks/__init__.py" in files
    assert "scripts/__init__.py" in files
    for path, text in files.items():
        assert "lgg_monai" not in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("scripts"):
                assert node.module.replace(".", "/") + ".py" in files, path


def test_messages_of_a_bundle_do_not_begin_with_a_command_that_its_receiver_lacks() -> None:
    space: dict[str, Any] = {"__name__": "scripts.errors"}
    exec(script_files(["lgg_monai.errors"])["scripts/errors.py"], space)

    @space["exits_with_one_line"]
    def fail() -> None:
        raise space["LggError"]("no file: name another")

    with pytest.raises(SystemExit, match=r"^error: no file: name another$"):
        fail()


def test_an_import_from_a_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/__init__.py").write_text("x = 1\n")
    (tmp_path / "user.py").write_text("from lgg_monai.sub import x\n")
    monkeypatch.setattr(scripts, "ROOT", tmp_path)
    with pytest.raises(LggError, match=r"lgg_monai.user imports from the package lgg_monai.sub"):
        closure(["lgg_monai.user"])
