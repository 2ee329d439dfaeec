"""Phantom patients and the repository as working directory, shared by all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Before torch is imported: two threads beside another busy process are slower than one, and the suite is small.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MONAI_FAIL_ON_DUPLICATE_CONFIG"] = "1"

from lgg_monai.data.phantom import write_phantom

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small synthetic patients in kaggle_3m layout; do not write into it (see `own_phantom`)."""
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", patients=10, seed=1, size=64, slices=(8, 10))


@pytest.fixture
def own_phantom(phantom: Path, tmp_path: Path) -> Path:
    """A copy of the phantom that a test may damage."""
    return Path(shutil.copytree(phantom, tmp_path / "own_phantom"))


@pytest.fixture
def in_repository(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run a test in the repository's root, as `%configs/...` in the bundles resolves against the working directory."""
    monkeypatch.chdir(REPOSITORY)
    return REPOSITORY
