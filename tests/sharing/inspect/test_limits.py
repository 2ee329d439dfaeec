"""Bundles that are small, and would take for ever to look through."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from pathlib import Path

import malicious
import pytest

from lgg_monai.sharing.inspect import Grade, inspect_bundle
from lgg_monai.sharing.inspect.findings import RefusedError
from lgg_monai.sharing.inspect.limits import limited

TEN = ", ".join(["*a{}"] * 10)
ENDLESS: dict[str, malicious.Files] = {
    "merges of merges": {
        "configs/train.yaml": "a0: &a0 {k: 1}\n"
        + "\n".join(f"a{n}: &a{n} {{<<: [{TEN.replace('{}', str(n - 1))}]}}" for n in range(1, 12))
    },
    "a list of copies of many imports": {
        "configs/train.json": json.dumps({"a": {f"i{n}": "$import torch" for n in range(1000)}, "m": ["%a"] * 20_000})
    },
    "a file's name of slashes": {"configs/train.json": json.dumps({"filename": "/" * 300_000})},
    "TorchScript of many calls": {
        "models/model.ts": malicious.archive(b"\x80\x02N.", **{"code/a.py": b"torch.save(x)\n" * 200_000})
    },
    "TorchScript of spaces": {
        "models/model.ts": malicious.archive(b"\x80\x02N.", **{"code/a.py": b"torch" + b" " * 200_000 + b"x"})
    },
}


@pytest.mark.parametrize("trick", ENDLESS)
def test_costs_no_more_than_its_size(tmp_path: Path, trick: str) -> None:
    root = malicious.write(tmp_path / "bundle", ENDLESS[trick])
    with limited(seconds=30):  # minutes to ages, where the work grows faster than the file
        inspect_bundle(root)


def test_merges_of_merges_are_dangerous(tmp_path: Path) -> None:
    report = inspect_bundle(malicious.write(tmp_path / "bundle", ENDLESS["merges of merges"]))
    assert report.grade == Grade.DANGEROUS
    assert any("merges of merges" in finding.reason for finding in report.findings)


def test_a_long_computation_is_ended() -> None:
    def endless() -> None:
        while True:
            with contextlib.suppress(Exception):  # as readers of damaged files do
                sum(range(1000))

    with pytest.raises(RefusedError, match="more than 0 seconds of computing"), limited(0.1):
        endless()


def test_a_computation_of_much_memory_is_ended() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(RefusedError, match=f"more than {2**26} bytes of memory"), limited(memory=2**26):
        bytearray(2**32)  # more than what other tests left may give back meanwhile
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_the_command_refuses_what_takes_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless(path: Path) -> None:
        raise MemoryError

    from lgg_monai.cli import main

    monkeypatch.setattr("lgg_monai.sharing.inspect.inspect_bundle", endless)
    monkeypatch.setattr(sys, "argv", ["lgg-monai", "inspect", str(tmp_path)])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 2
    assert "refused: it takes more than" in capsys.readouterr().out
