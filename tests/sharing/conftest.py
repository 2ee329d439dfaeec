"""A small repository to package from, and what was packaged from it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import lay_out, random_weights

from lgg_monai.data.convert import convert
from lgg_monai.data.phantom import write_phantom
from lgg_monai.sharing.package import package


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with smaller networks; do not write into it."""
    return lay_out(tmp_path_factory.mktemp("small") / "repository")


@pytest.fixture(scope="session")
def make_package(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Package a bundle of the small repository with untrained weights; the result is the folder, its zip beside it."""

    def make(bundle: str) -> Path:
        output = tmp_path_factory.mktemp("dist")
        with contextlib.chdir(small_root):
            weights = random_weights(bundle, output / "weights.pt")
            return package(bundle, output / "dist", checkpoint=weights).with_suffix("")

    return make


@pytest.fixture(scope="session")
def packaged(make_package: Callable[[str], Path]) -> Path:
    """The packaged small UNet; do not write into it (see `own_bundle`)."""
    return make_package("plain_unet")


@pytest.fixture
def own_bundle(packaged: Path, tmp_path: Path) -> Path:
    """A copy of the packaged small UNet that a test may change."""
    return Path(shutil.copytree(packaged, tmp_path / "received" / packaged.name))


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic patients in both NIfTI layouts: `msd` and `nnunet/Dataset501_LGG`."""
    folder = tmp_path_factory.mktemp("scans")
    phantom = write_phantom(folder / "phantom", patients=4, seed=3, size=64, slices=(5, 6))
    convert(phantom, folder / "msd", "msd")
    convert(phantom, folder / "nnunet", "nnunet")
    return folder


@pytest.fixture(scope="session")
def without_us(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess]:
    """Run Python in a folder elsewhere, in a process that cannot import lgg_monai."""
    blocked = tmp_path_factory.mktemp("blocked")
    (blocked / "lgg_monai.py").write_text("raise ImportError('lgg_monai is blocked')\n")
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: object, path: Path | None = None, python: str = sys.executable) -> subprocess.CompletedProcess:
        paths = os.pathsep.join(str(folder) for folder in (blocked, path) if folder)
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [python, *map(str, arguments)]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=900)

    return run
