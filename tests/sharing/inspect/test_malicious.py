"""Every trick is caught, and none of them runs while it is."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

import malicious
import pytest
from monai.bundle import ConfigParser

from lgg_monai.sharing.inspect import Grade, Report, inspect_bundle

PLACE = "canary"
TOUCH = f"open('{PLACE}', 'w').close()"
EXPRESSIONS = malicious.expressions(TOUCH)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    FILES = malicious.other_files(TOUCH)
    ZIPS = malicious.zips(TOUCH)


@pytest.fixture(autouse=True)
def no_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the payloads would leave their canary, and see that they do not."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def caught(report: Report) -> bool:
    assert list(Path.cwd().iterdir()) == []
    for finding in report.findings:
        assert finding.text.isprintable()
        assert finding.reason.isprintable()
    json.dumps(report.as_dict())
    assert report.text().splitlines()[-1].startswith("verdict   DANGEROUS") == (report.grade == Grade.DANGEROUS)
    return report.grade == Grade.DANGEROUS


@pytest.mark.parametrize("trick", EXPRESSIONS)
def test_config_is_dangerous(tmp_path: Path, trick: str) -> None:
    config = json.dumps({"value": EXPRESSIONS[trick]}, indent=1)
    report = inspect_bundle(malicious.write(tmp_path / "bundle", {"configs/train.json": config}))
    assert caught(report)
    found = [finding for finding in report.findings if finding.grade == Grade.DANGEROUS]
    assert all(finding.file == "configs/train.json" for finding in found)
    assert all(1 < finding.line <= config.count("\n") for finding in found)


@pytest.mark.parametrize("trick", FILES)
def test_file_is_dangerous(tmp_path: Path, trick: str) -> None:
    report = inspect_bundle(malicious.write(tmp_path / "bundle", FILES[trick]))
    if trick == "duplicate key":
        assert any("there twice" in finding.text for finding in report.findings)
    assert caught(report)
    assert not report.refused


@pytest.mark.parametrize("trick", ["pickle", "script runs a command", "yaml tag", "nested zip"])
def test_file_in_a_zip_is_dangerous(tmp_path: Path, trick: str) -> None:
    files = {f"bundle/{name}": content for name, content in FILES[trick].items()}
    (tmp_path / "bundle.zip").write_bytes(malicious.zipped(files))
    report = inspect_bundle(tmp_path / "bundle.zip")
    assert caught(report)
    assert {finding.file for finding in report.findings if finding.grade == Grade.DANGEROUS} <= {*FILES[trick]}


@pytest.mark.parametrize("trick", ZIPS)
def test_zip_is_refused(tmp_path: Path, trick: str) -> None:
    (tmp_path / "bundle.zip").write_bytes(ZIPS[trick])
    report = inspect_bundle(tmp_path / "bundle.zip")
    assert caught(report)
    if trick != "wrong size":  # only seen when it is unpacked
        assert report.refused
        assert len(report.findings) == 1


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = malicious.write(tmp_path / "bundle", {})
    (tmp_path / "outside.json").write_text('{"x": "$import os"}')
    (root / "configs" / "train.json").symlink_to(tmp_path / "outside.json")
    (root / "scripts").symlink_to(tmp_path)
    report = inspect_bundle(root)
    assert caught(report)
    assert {finding.file for finding in report.findings if "link" in finding.reason} == {
        "configs/train.json",
        "scripts",
    }
    assert not [finding for finding in report.findings if "import os" in finding.text]


@pytest.mark.parametrize(
    "trick",
    [
        {"f": 1, "x": '$\'@f {open("canary", "w").close()} @f\''},  # a reference ends the quote
        {"x": "$[1, 2, 3][1 #open('canary', 'w').close()\n]"},  # a comment becomes a slice
        {"f, open('canary', 'w').close()": {"x": "$[0][@#b]", "b": 1}, "f": 1},  # a key becomes code
        {"x": {"_target_": "LoadImage", "reader": "os.mkdir", "path": "canary"}},
        {"libs": ["$import os"], "m": "% libs ::-1", "x": "$@m.mkdir('canary')"},
        {
            "f": ["$import functools"],
            "u": "$'_' * 2",
            "net": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1},
            "o": {"_target_": "torch.optim.SGD", "params": "$@net.parameters()", "lr": 1.0},
            "s": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@o", "step_size": 1},
            "w": "$functools.wraps(monai.data.list_data_collate, [@u + 'globals' + @u], [])(@s).state_dict()",
            "x": "$@w[@u + 'globals' + @u][@u + 'builtins' + @u]['op' + 'en']('canary', 'w').close()",
        },
        {"libs": ["$import os"], "m": "%#libs::\u0660", "x": "$@m.mkdir('canary')"},
        {"f": {"_target_": "LoadImage"}, "f::_mode_": "callable", "x": "$@f('o' + 's.mkdir', path='canary')"},
        {
            "required_packages_version": {"t": "UNet"},
            "optional_packages_version": {"t": "open"},
            "f": {"_target_": "@required_packages_version::t", "file": "canary", "mode": "w"},
            "x": "$@f.close()",
        },
        {"a": ["UNet"], "a::-1": "open", "f": {"_target_": "@a::0", "file": "canary", "mode": "w"}, "x": "$@f.close()"},
    ],
)
def test_unlikely_tricks_do_run_in_monai(tmp_path: Path, trick: dict[str, object]) -> None:
    """What the inspector goes to lengths for is no fancy: MONAI runs it."""
    report = inspect_bundle(malicious.write(tmp_path / "bundle", {"configs/train.json": json.dumps(trick)}))
    assert caught(report)
    parser = ConfigParser()
    parser.read_config(tmp_path / "bundle/configs/train.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in trick:
            with contextlib.suppress(Exception):
                parser.get_parsed_content(name)
            with contextlib.suppress(Exception):
                parser.get_parsed_content(f"{name}::x")
    assert Path(PLACE).exists()
