"""`lgg-monai inspect` as people and programs see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import malicious
import pytest

from lgg_monai.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["lgg-monai", "inspect", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        main()
    return int(raised.value.code or 0)


@pytest.mark.parametrize(
    ("value", "grade", "code"), [("$1 + 1", "clean", 0), ("$unknown", "note", 1), ("$eval('1')", "dangerous", 2)]
)
def test_exit_code_and_reports(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str,
    grade: str,
    code: int,
) -> None:
    root = malicious.write(tmp_path / "bundle", {"configs/a.json": json.dumps({"x": value})})
    assert run(monkeypatch, root) == code
    out, err = capsys.readouterr()
    assert err == ""
    assert f"configs/a.json:1  expression  {value}" in out
    assert out.splitlines()[-1].startswith("verdict")
    assert run(monkeypatch, root, "--json") == code
    report = json.loads(capsys.readouterr().out)
    assert (report["grade"], report["exit_code"], report["manifest"]) == (grade, code, "absent")
    assert sum(report["counts"].values()) == len(report["findings"])
    assert {"file": "configs/a.json", "line": 1, "kind": "expression", "text": value} in [
        {key: finding[key] for key in ("file", "line", "kind", "text")} for finding in report["findings"]
    ]


def test_refused_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(malicious.zipped({"../evil.py": "x"}))
    assert run(monkeypatch, path, "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["refused"] == "path ../evil.py leads out of the bundle or is not plain"


def test_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, tmp_path / "none.zip") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lgg-monai: error: cannot read the bundle")
    assert err.count("\n") == 1


def test_nothing_is_imported(tmp_path: Path) -> None:
    """Neither the bundle's modules nor the libraries it names, even where Python would find the bundle's first."""
    files = {"scripts/__init__.py": "raise SystemExit('ran')", "monai.py": "raise SystemExit('ran')"}
    config = json.dumps({"x": ["$import scripts", {"_target_": "UNet"}, "$torch.zeros(1)"]})
    root = malicious.write(tmp_path / "bundle", {**files, "configs/a.json": config})
    check = (
        "import sys; from lgg_monai.sharing.inspect import inspect_bundle; r = inspect_bundle('.');"
        "print(int(r.grade), [name for name in ('torch', 'monai', 'numpy', 'scripts') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}{Path(__file__).resolve().parents[3]}"}
    done = subprocess.run([sys.executable, "-c", check], cwd=root, env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("2 []", 0), done.stderr
