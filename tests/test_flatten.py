"""Configs that draw on each other, as configs that stand alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from lgg_monai.errors import LggError
from lgg_monai.flatten import flatten, own_names_to_scripts, parse
from lgg_monai.sharing.sources import TEMPLATES, package_configs

OTHER = """\
scalar: 3 # three
text: "a: b"
flow: [1, 2]
block: # of things
  # the first
  one: 1 # eins
  two:
    - deep: "@x"
      more: true
    - last

# of the next key
next: 0
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config to draw on, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "other.yaml"
    path.write_text(OTHER)
    return path


def test_every_kind_of_value_is_drawn_in_where_its_reference_stood(other: Path) -> None:
    text = (
        'a: "%other.yaml::scalar"\nb: "%other.yaml::text"\nc: "%other.yaml::flow" # kept\nd: "%other.yaml::block"\n'
        'e:\n  - "%other.yaml::block"\n  - "%other.yaml::block#two#0"\n'
        '  - x: "%OTHER::block#two"\n  - "%other.yaml::flow"\n'
    )
    content = yaml.safe_load(OTHER)
    block = content["block"]
    assert parse(flatten(text, {"OTHER": "other.yaml"})) == {
        "a": 3,
        "b": "a: b",
        "c": [1, 2],
        "d": block,
        "e": [block, block["two"][0], {"x": block["two"]}, [1, 2]],
    }


def test_comments_come_along_and_those_of_the_next_key_do_not(other: Path) -> None:
    text = flatten('d: "%other.yaml::block" # mine\nz: 1\n', {})
    assert text.splitlines()[:4] == ["d: # mine", "  one: 1 # eins", "  two:", '    - deep: "@x"']
    assert "of the next key" not in text


def test_a_reference_in_what_is_drawn_in_is_followed(other: Path) -> None:
    Path("chain.yaml").write_text('inner:\n  again: "%other.yaml::block#one"\n')
    assert parse(flatten('a: "%chain.yaml::inner"\n', {})) == {"a": {"again": 1}}


@pytest.mark.parametrize("reference", ["other.yaml::nothing", "other.yaml::block#two#7", "other.yaml::scalar#x"])
def test_a_missing_id_is_named(other: Path, reference: str) -> None:
    with pytest.raises(LggError, match=f"no {reference.split('::')[1]} in other.yaml"):
        flatten(f'a: "%{reference}"\n', {})


def test_a_missing_file_is_named(other: Path) -> None:
    with pytest.raises(LggError, match=r"cannot read absent.yaml .*repository's root"):
        flatten('a: "%absent.yaml::x"\n', {})


def test_own_names_become_scripts_by_the_module_that_defines_them() -> None:
    text = "_target_: lgg_monai.engines.PooledIoUHandler"
    assert own_names_to_scripts(text) == "_target_: scripts.engines.pooled_iou.PooledIoUHandler"
    with pytest.raises(LggError, match=r"no lgg_monai.engines.Absent"):
        own_names_to_scripts("lgg_monai.engines.Absent")


@pytest.mark.parametrize("bundle", ["unet", "plain_unet", "pspnet", "ensemble"])
def test_packaged_configs_stand_alone(in_repository: Path, bundle: str) -> None:
    for name, text in package_configs(bundle).items():
        assert "%" not in text, name
        assert "lgg_monai" not in text, name
        assert "# " in text, name
        parse(text)


@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
def test_flattening_says_what_monai_makes_of_the_references(in_repository: Path, tmp_path: Path, name: str) -> None:
    aliases = {"BUNDLE": "bundles/unet.yaml", "INFERENCE": "configs/package/inference.yaml"}
    text = (TEMPLATES / f"{name}.yaml").read_text()
    path = tmp_path / "config.yaml"
    for alias, file in aliases.items():
        # MONAI follows no reference inside what it drew in, so the file that is drawn on has none.
        plain = tmp_path / f"{alias}.yaml"
        plain.write_text(flatten(Path(file).read_text(), aliases))
        text = text.replace(f"%{alias}::", f"%{plain}::")
    path.write_text(text)
    parser = ConfigParser()
    parser.read_config(str(path))
    parser.resolve_macro_and_relative_ids()
    flattened = flatten((TEMPLATES / f"{name}.yaml").read_text(), aliases)
    resolved = {key: value for key, value in parser.get().items() if key != "_meta_"}
    # MONAI writes the separator of ids anew.
    assert json.loads(json.dumps(parse(flattened)).replace("#", "::")) == json.loads(
        json.dumps(resolved).replace("#", "::")
    )
