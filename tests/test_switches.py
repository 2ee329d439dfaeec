"""Keys that are on or off take True and False from MONAI's command line, and no other word."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import fire
import pytest
import yaml
from monai import bundle
from monai.bundle import ConfigParser

REPOSITORY = Path(__file__).resolve().parents[1]
UNET, PLAIN, PSPNET = "bundles/unet.yaml", "bundles/plain_unet.yaml", "bundles/pspnet.yaml"
EVALUATE = "configs/evaluate.yaml"


def switches(path: str) -> list[str]:
    """The keys of a config file whose value is true or false."""
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    return [key for key, value in content.items() if isinstance(value, bool)]


TRAINING = [*switches(UNET), "progress"]  # whose default is an expression
CASES = [(config, key) for config in (UNET, PLAIN, PSPNET) for key in TRAINING]
CASES += [(f"['{config}','{EVALUATE}']", key) for config in (UNET, PLAIN, PSPNET) for key in switches(EVALUATE)]


def test_every_switch_is_a_case() -> None:
    assert {key for _, key in CASES} == {
        *("cuda_graph", "compile", "channels_last", "resume", "progress", "val_head_only", "imagenet"),
        *("tta", "probabilities", "pictures"),
    }


@pytest.mark.parametrize(("config", "key"), CASES)
def test_text_is_refused_before_anything_is_done(config: str, key: str, tmp_path: Path) -> None:
    command = ["--config_file", config, "--output_dir", str(tmp_path / "run"), "--logging_file", "False"]
    with contextlib.chdir(REPOSITORY), pytest.raises(SystemExit) as caught:
        fire.Fire(bundle.run, command=[*command, f"--{key}", "false"])
    # Python prints a text to stderr and ends with exit code 1.
    assert caught.value.code == (
        f"lgg-monai: error: {key} is 'false': give --{key} True or --{key} False, with a capital letter"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", [UNET, PLAIN, PSPNET, [UNET, EVALUATE], [PLAIN, EVALUATE], [PSPNET, EVALUATE]])
def test_what_the_configs_say_and_what_the_command_line_hands_on_passes(config: str | list[str]) -> None:
    shipped, changed = ConfigParser(), ConfigParser()
    with contextlib.chdir(REPOSITORY):
        for parser in (shipped, changed):
            parser.read_config(config)
        keys = [*TRAINING, *(switches(EVALUATE) if isinstance(config, list) else [])]
        changed.update({key: fire.parser.DefaultParseValue("True") for key in keys})
        for parser in (shipped, changed):
            parser.resolve_macro_and_relative_ids()
            (number,) = (
                n for n, step in enumerate(parser["initialize"]) if step.startswith("$engines.check_switches(")
            )
            assert parser.get_parsed_content(f"initialize#{number}") is None


@pytest.mark.parametrize("config", [UNET, PLAIN, PSPNET])
def test_every_option_reaches_more_than_the_checks(config: str) -> None:
    keys = list(yaml.safe_load((REPOSITORY / UNET).read_text(encoding="utf-8")))
    options = set(keys[: keys.index("network_def")]) - {"imports", "bundle_root"}  # the latter is of evaluations
    parser = ConfigParser()
    with contextlib.chdir(REPOSITORY):
        parser.read_config(config)
        parser.resolve_macro_and_relative_ids()
    content = {key: value for key, value in parser.get().items() if key != "initialize"}
    assert sorted(options - set(re.findall(r"@(\w+)", str(content)))) == []
