"""The inspector reads configs, references and dotted names as MONAI and Python do, and survives rubbish."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import malicious
import pytest
import yaml
from monai.bundle import ConfigParser, ReferenceResolver

from lgg_monai.errors import LggError
from lgg_monai.sharing.inspect import Grade, inspect_bundle
from lgg_monai.sharing.inspect.configs import Item, read_config
from lgg_monai.sharing.inspect.findings import RefusedError, shown
from lgg_monai.sharing.inspect.policy import RULES
from lgg_monai.sharing.inspect.references import absolute, code, macro
from lgg_monai.sharing.inspect.resolve import Resolver

REPOSITORY = Path(__file__).resolve().parents[3]


def texts(item: Item) -> Any:
    if item.kind == "map":
        return {key.text: texts(value) for key, value in item.pairs}
    return [texts(value) for value in item.items] if item.kind == "list" else item.text


def as_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): as_texts(item) for key, item in value.items()}
    return [as_texts(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "path", sorted([*REPOSITORY.glob("bundles/*.yaml"), *REPOSITORY.glob("configs/*.yaml")]), ids=lambda path: path.name
)
def test_yaml_and_json_are_read_as_by_their_libraries(path: Path) -> None:
    content = yaml.load(path.read_text(), yaml.BaseLoader)
    assert texts(read_config(path.read_bytes(), True)) == content
    for indent in (None, 2):
        assert texts(read_config(json.dumps(content, indent=indent).encode(), False)) == as_texts(content)


@pytest.mark.parametrize(
    "text", ["{", "[1,]", '{"a" 1}', "{1: 2}", '"a', "01", "[1] 2", "", "nul", "\ufeff{}", "[" * 500, "1" * 5000 + "x"]
)
def test_unsound_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_config(text.encode(), False)
    assert "\n" not in str(raised.value)
    with pytest.raises((ValueError, RecursionError)):
        json.loads("\ufeff{}" if text.startswith("\ufeff") else text)


def test_huge_numbers_are_no_trouble() -> None:
    assert read_config(b'{"a": ' + b"9" * 100_000 + b"}", False).pairs[0][1].kind == "other"
    assert read_config(b"a: " + b"9" * 100_000, True).pairs[0][1].kind == "other"


@pytest.mark.parametrize(
    "text",
    ["$@a + @a::b + '@ab'", "$@#x + @##y", "@#x", "%#x", "$1 #2 @a#0", "$'@f {x} @f'", "plain @a", "$@", "$@a@b"],
)
def test_references_are_replaced_as_by_monai(text: str) -> None:
    ours = absolute(text, "one::two::3")
    theirs = ConfigParser.resolve_relative_ids("one::two::3", text)
    assert ours == theirs
    ids = ReferenceResolver.match_refs_pattern(theirs)
    if text.startswith("$"):
        assert code(ours) == ReferenceResolver.update_refs_pattern(theirs, dict.fromkeys(ids))[1:]


@pytest.mark.parametrize(
    "text", ["%a/b.yaml::c::d", "%c#d", "%x.json", "%A.YML#b", "%/tmp/x.json.yaml::y", "%a.json::b.json::c"]
)
def test_macros_are_split_as_by_monai(text: str) -> None:
    assert macro(text) == ConfigParser.split_path_id(text[1:])


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("torch.nn.functional.importlib.import_module", "importlib.import_module"),
        ("monai.transforms.Compose", "monai.transforms.compose.Compose"),
        ("torch.utils.data.DataLoader", "torch.utils.data.dataloader.DataLoader"),
        ("monai.utils.optional_import", "monai.utils.module.optional_import"),
        ("lgg_monai.engines.load_weights", "lgg_monai.engines.checkpoints.load_weights"),
        ("contextlib.os.system", "os.system"),
        ("own.sub.t.hub.load", "torch.hub.load"),
        ("own.sub.Thing.method", "own.sub.Thing.method"),
    ],
)
def test_names_are_followed_without_importing(name: str, origin: str) -> None:
    own = {"own": ("", True), "own.sub": ("import torch as t\nclass Thing: ...\n", False)}
    assert Resolver(own).definition(name)[0].endswith(origin)


def test_every_rule_for_this_package_and_monai_names_something() -> None:
    """A rule that names nothing protects nobody: MONAI may have moved it."""
    resolver = Resolver()
    missing = []
    for name in RULES:
        if name.split(".")[0] in ("monai", "lgg_monai") and name.count(".") and not name.endswith("__version__"):
            origin, _, found = resolver.definition(name)
            if not found:
                missing.append((name, origin))
    assert missing == []


def test_text_is_safe_to_print() -> None:
    assert shown("a\x1b[2J\n\u202eb\u200b é") == "a\\x1b[2J\\n\\u202eb\\u200b é"
    assert len(shown("x" * 10_000)) == 161


@pytest.mark.parametrize(
    "name",
    [
        "configs/a.json",
        "configs/a.yaml",
        "configs/logging.conf",
        "scripts/a.py",
        "models/a.pt",
        "models/a.onnx",
        "a.bin",
        "docs/a.md",
        "manifest.json",
        "b.safetensors",
    ],
)
def test_rubbish_is_never_a_traceback(tmp_path: Path, name: str) -> None:
    source = random.Random(name)
    for number in range(12):
        data = source.randbytes(source.choice([0, 1, 7, 300]))
        data = data if number % 3 else bytes(byte & 0x7F for byte in data)
        report = inspect_bundle(malicious.write(tmp_path / str(number), {name: data}))
        assert "\x1b" not in report.text()
        if name.startswith(("scripts", "configs", "models")) and b"\0" in data:
            assert report.grade == Grade.DANGEROUS


def test_damaged_zips_are_refused_or_dangerous(tmp_path: Path) -> None:
    good = malicious.zipped({"b/configs/a.json": json.dumps(malicious.BENIGN), "b/docs/README.md": "text " * 40})
    path = tmp_path / "b.zip"
    source = random.Random(0)
    for cut in range(0, len(good), 7):
        path.write_bytes(good[:cut])
        assert inspect_bundle(path).refused
    for _ in range(150):
        data = bytearray(good)
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(data)
        json.dumps(inspect_bundle(path).as_dict())


@pytest.mark.parametrize("name", ["nowhere", "nowhere.zip"])
def test_a_missing_bundle_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(LggError, match="cannot read the bundle") as raised:
        inspect_bundle(tmp_path / name)
    assert "\n" not in str(raised.value)
