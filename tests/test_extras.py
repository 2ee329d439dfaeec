"""What is said where a package is missing that only a part of this one needs."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages

REPOSITORY = Path(__file__).resolve().parents[1]


def test_a_missing_package_is_named_with_an_extra_that_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages("dicom", "numpy", what="counting")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(LggError, match=r"^pydicom is not installed, which reading x needs: pip install .*; or none$"):
        require_packages("dicom", "numpy", "pydicom", what="reading x", instead="; or none")


def test_only_extras_that_there_are_are_named() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "lgg_monai").rglob("*.py")]
    texts = [text for text in texts if "from lgg_monai.extras import" in text]
    named = {extra for text in texts for extra in re.findall(r'require_packages\(\s*"(\w+)", "', text)}
    assert {"compare", "dicom", "download", "int8", "package", "predict", "publish"} <= named <= extras.keys()
