"""What a cached result depends on gives another hash when it changes, and the same one otherwise, in every process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, Lambdad, NormalizeIntensityd, ScaleIntensityRangePercentilesd

from lgg_monai.data.identity import code_state, files_state


def folder(path: Path) -> Path:
    path.mkdir()
    for name in ("a_1.tif", "a_1_mask.tif", "a_2.tif"):
        (path / name).write_bytes(name.encode())
    return path


def test_files_state_is_the_same_while_nothing_changes(tmp_path: Path) -> None:
    patient = folder(tmp_path / "a")
    assert files_state([patient]) == files_state([patient, patient])
    assert files_state([patient / "a_1.tif"]) != files_state([patient])


@pytest.mark.parametrize(
    "change",
    [
        lambda patient: (patient / "a_3.tif").write_bytes(b"new"),
        lambda patient: (patient / "a_2.tif").unlink(),
        lambda patient: (patient / "a_2.tif").write_bytes(b"longer than before"),
        lambda patient: (patient / "a_2.tif").rename(patient / "a_4.tif"),
        lambda patient: os.utime(patient / "a_2.tif", (1, 1)),
    ],
    ids=["added", "removed", "size", "name", "time"],
)
def test_files_state_notices(change: Callable[[Path], object], tmp_path: Path) -> None:
    patient = folder(tmp_path / "a")
    before = files_state([patient])
    change(patient)
    assert files_state([patient]) not in (before, None)


@pytest.mark.skipif(sys.platform == "win32", reason="the time of change is that of creation there")
def test_files_state_takes_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"M\xfcller_1.tif")).write_bytes(b"pixels")
    assert files_state([tmp_path]) is not None


def test_files_state_notices_other_pixels_of_the_same_size_and_time(tmp_path: Path) -> None:
    patient = folder(tmp_path / "a")
    before, times = files_state([patient]), (patient / "a_2.tif").stat()
    (patient / "a_2.tif").write_bytes(b"2_a.fit")  # as long as before
    os.utime(patient / "a_2.tif", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (patient / "a_2.tif").stat().st_mtime_ns == times.st_mtime_ns
    assert files_state([patient]) != before


def test_absent_files_have_no_state(tmp_path: Path) -> None:
    assert files_state([tmp_path / "nowhere"]) is None


def scaled(upper: float = 99, **kwargs: object) -> Compose:
    scale = ScaleIntensityRangePercentilesd("image", 1, upper, 0, 1, channel_wise=True)
    return Compose([scale, NormalizeIntensityd("image", **kwargs)])


def test_code_state_follows_the_settings() -> None:
    assert code_state(scaled()) == code_state(scaled())
    states = {
        code_state(scaled()),
        code_state(scaled(upper=98)),
        code_state(scaled(channel_wise=True)),
        code_state(scaled(dtype=torch.float64)),
        code_state(Compose(scaled().transforms[::-1])),
        code_state(scaled(), 1),
    }
    assert len(states) == 6


def test_functions_are_told_apart_by_what_they_do() -> None:
    def add(amount: int) -> Callable[[int], int]:
        return lambda x: x + amount

    functions = [add(1), add(2), lambda x: x * 2, lambda x: x * 3, functools.partial(max, 1), functools.partial(max, 2)]
    assert len({code_state(Lambdad("image", function)) for function in functions}) == len(functions)
    assert code_state(Lambdad("image", add(1))) == code_state(Lambdad("image", add(1)))


def test_an_edited_transform_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "own_transform.py"
    module.write_text("class Own:\n    def __call__(self, x):\n        return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    from own_transform import Own  # type: ignore[import-not-found]

    before = code_state(Compose([Own()]))
    assert code_state(Compose([Own()])) == before
    module.write_text(module.read_text().replace("return x", "return 2 * x"))
    assert code_state(Compose([Own()])) != before


def from_config(function: str, imports: str = "$import math", **settings: object) -> Compose:
    steps = [{"_target_": "Lambdad", "keys": "image", "func": function}]
    parser = ConfigParser({**settings, "imports": [imports], "steps": {"_target_": "Compose", "transforms": steps}})
    parser.get_parsed_content("imports")
    return parser.get_parsed_content("steps")


@pytest.mark.parametrize(
    "function",
    ["$lambda image: image.clamp(max=@top)", "$lambda image: (lambda x: x * @inner#top)(image)", "$@scale"],
    ids=["reference", "nested", "whole"],
)
def test_what_an_expression_refers_to_is_noticed(function: str) -> None:
    def state(top: int, other: int = 0) -> str:
        settings = {"top": top, "inner": {"top": top}, "scale": f"$lambda x: x * {top}", "other": other}
        return code_state(from_config(function, **settings))

    assert state(200) == state(200, other=1)  # what it does not name is not of it
    assert state(200) != state(50)


@pytest.mark.parametrize("imports", ["$import own_steps", "$import own_steps.inner as own_steps"])
def test_an_edited_module_that_an_expression_names_is_noticed(
    imports: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "own_steps" / "inner.py"
    inner.parent.mkdir()
    inner.write_text("def scale(x):\n    return x\n")
    (inner.parent / "__init__.py").write_text("from own_steps.inner import scale\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_steps", "own_steps.inner"):  # of the case before
        sys.modules.pop(name, None)
    function = "$lambda image: own_steps.scale(image)"
    before = code_state(from_config(function, imports))
    assert code_state(from_config(function, imports)) == before
    inner.write_text(inner.read_text().replace("return x", "return 2 * x"))
    assert code_state(from_config(function, imports)) != before


SCRIPT = """
from monai.bundle import ConfigParser
from lgg_monai.data.identity import code_state
parser = ConfigParser()
parser.read_config("configs/data.yaml")
print(code_state(parser.get_parsed_content("preprocessing")))
"""


def test_bundle_preprocessing_has_one_state_in_every_process(in_repository: Path) -> None:
    parser = ConfigParser()
    parser.read_config("configs/data.yaml")
    environment = os.environ | {"PYTHONHASHSEED": "7"}  # sets of text have another order
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert result.stdout.split()[-1] == code_state(parser.get_parsed_content("preprocessing"))
