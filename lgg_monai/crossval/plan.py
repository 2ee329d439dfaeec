"""What a cross-validation consists of, written down so that every process and machine does the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from lgg_monai.data import default_dataset_dir, find_patients
from lgg_monai.data.seen import digest_of
from lgg_monai.data.split import PLAN
from lgg_monai.engines.run_folder import RUN
from lgg_monai.engines.settings import FIRST_WEIGHTS, different_settings, different_trainings, shared_settings
from lgg_monai.errors import LggError
from lgg_monai.files import read_json, writable_folder, write_json

EVALUATE = "configs/evaluate.yaml"
MACRO_LEVELS = 5  # files that draw on files by `%`, one on the next
RESERVED = {
    "fold": "--fold before --",
    "folds": "--folds before --",
    "split": "--leave-one-site-out",
    "output_dir": "--output",
    "dataset_dir": "--dataset_dir before --",
    "resume": "nothing: it always resumes",
    "datalist_file": "nothing: the folds are split here",
    "subset": "nothing: test patients are scored",
    "checkpoint": "nothing: each fold's best epoch is scored, or its last where nothing validates",
    "probabilities": "--keep-probabilities",
}


@dataclass(frozen=True)
class Plan:
    """A cross-validation.

    Args:
        bundle: the bundle's config file.
        split: ``folds``, or ``sites``: a fold a site.
        folds: number of folds.
        sites: the sites in the order of their folds; empty where ``split`` is ``folds``.
        overrides: of the bundle's config, by key, for training and evaluation.
        evaluation: of the evaluation's config alone.
        settings: the effective config of the training, but for what belongs to one fold or machine.
        weights: digest of the file ``initial_weights``; None where there is none, or it is not on this machine.
    """

    bundle: str
    split: Literal["folds", "sites"]
    folds: int
    sites: tuple[str, ...]
    overrides: dict[str, Any]
    evaluation: dict[str, Any]
    settings: dict[str, Any]
    weights: str | None = None


def make_plan(
    bundle: str,
    folds: int = 5,
    leave_one_site_out: bool = False,
    dataset_dir: Path | None = None,
    tokens: Sequence[str] = (),
) -> Plan:
    """Read the bundle and the overrides.

    Args:
        bundle: ``unet``, ``pspnet``, ``plain_unet`` or a config file.
        folds: number of folds; of no account with ``leave_one_site_out``.
        leave_one_site_out: test each fold on all patients of one site.
        dataset_dir: folder of the patients, whose names tell the sites.
        tokens: overrides as on the command line: ``--key``, ``value``, ...

    Raises:
        LggError: no such bundle or one that could not be scored, an override that is none or belongs to an option,
            fewer than two sites, or no epoch that would be validated.
        SystemExit: with one line, for an override that the evaluation would refuse.
    """
    config = bundle if bundle.endswith((".yaml", ".yml", ".json")) else f"bundles/{bundle}.yaml"
    missing = next((file for file in (config, EVALUATE) if not Path(file).is_file()), None)
    if missing:
        message = (
            f"no config {missing} here: run from the repository's root, "
            "with --bundle unet, pspnet, plain_unet or a config file"
        )
        raise LggError(message)
    everything = parse_overrides(tokens)
    known, scoring = _keys(config), _keys(EVALUATE)
    evaluation = {key: value for key, value in everything.items() if _root(key) in scoring - known}
    overrides = {key: value for key, value in everything.items() if key not in evaluation}
    sites: tuple[str, ...] = ()
    if leave_one_site_out:
        sites = tuple(sorted({patient.site for patient in find_patients(dataset_dir or Path(default_dataset_dir()))}))
        if len(sites) < 2:
            message = f"all patients are of site {sites[0]}, by their names: leave --leave-one-site-out out"
            raise LggError(f"{message}, or give patients of more sites, whom names tell such as LGG_SITE_0001")
        overrides["split"] = "sites"
    else:
        overrides["folds"] = folds
    settings = effective_settings(config, overrides)
    if settings.get("validation_fraction") != 0:  # else a fold is scored with its last epoch
        _require_validation(settings.get("val_interval"), settings.get("max_epochs"))
    _require_scoring(config, {**overrides, **evaluation})
    return Plan(
        bundle=config,
        split="sites" if sites else "folds",
        folds=len(sites) or folds,
        sites=sites,
        overrides=overrides,
        evaluation=evaluation,
        settings=shared_settings(settings),
        weights=digest_of(settings.get(FIRST_WEIGHTS)),
    )


def _require_validation(interval: Any, epochs: Any) -> None:
    """Refuse a training without a best epoch, whose weights are what a fold is scored with."""
    # What is no number at all, training refuses in its own words.
    if isinstance(interval, int) and isinstance(epochs, int) and interval > epochs > 0:
        message = f"val_interval is {interval} and max_epochs {epochs}, so no epoch would be validated"
        raise LggError(f"{message} and none the best: give --val_interval {epochs} or less")


def _require_scoring(config: str, overrides: Mapping[str, Any]) -> None:
    """Let the evaluation refuse its settings now, and not after hours of training."""
    parser = ConfigParser()
    parser.read_config([config, EVALUATE])
    parser.update(pairs=dict(overrides))
    try:
        for number, step in enumerate(parser["initialize"]):
            if re.search(r"engines\.check_(switches|numbers)\(", str(step)):
                parser.get_parsed_content(f"initialize::{number}")
    except Exception as error:  # MONAI raises many kinds
        reason = " ".join(str(error).split())[:200]
        message = f"{EVALUATE} cannot score what {config} trains ({reason}): give the config what bundles/unet.yaml has"
        raise LggError(message) from error


def parse_overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """Read ``--key value`` and ``--key=value`` as ``python -m monai.bundle`` does.

    Raises:
        LggError: a word that is neither, or a key that an option of the command stands for.
    """
    found: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key or not (equals or rest):
            raise LggError(f"cannot read {word!r} as an override: after -- give --key value, such as --max_epochs 20")
        if _root(key) in RESERVED:
            raise LggError(f"{key} cannot be overridden in a cross-validation: give {RESERVED[_root(key)]}")
        found[key] = DefaultParseValue(value if equals else rest.pop(0))
    return found


def effective_settings(config: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Give the config with overrides and with what ``%`` draws on, as ``run.json`` records it.

    Raises:
        LggError: MONAI cannot read it.
    """
    parser = ConfigParser()
    try:
        parser.read_config(config)
        parser.update(pairs=dict(overrides))
        # MONAI replaces one level each time it parses, and a run, whose record this is compared with, parses often.
        for _ in range(MACRO_LEVELS):
            parser.resolve_macro_and_relative_ids()
        parser.parse()
    except Exception as error:  # MONAI and YAML raise many kinds
        reason = " ".join(str(error).split())[:200]
        message = (
            f"cannot read the config {config} with these overrides ({type(error).__name__}: {reason}): correct them"
        )
        raise LggError(message) from error
    return json.loads(json.dumps({key: value for key, value in parser.get().items() if key != "_meta_"}, default=str))


def adopt_plan(plan: Plan, output: Path) -> bool:
    """Write the plan into the output folder, or prove that it is the one that is there.

    Returns:
        Whether there was none.

    Raises:
        LggError: the folder holds a cross-validation with other settings, or is that of a run.
    """
    if (output / RUN).is_file():  # and would be taken for one by all that reads runs, the folds in it for nothing
        raise LggError(f"{output} is the folder of a run: choose another --output")
    path = writable_folder(output, choose="another with --output") / PLAN
    content = json.loads(json.dumps(asdict(plan)))
    if not path.is_file():
        write_json(path, content)
        return True
    before = read_json(path, "plan of the cross-validation")
    if not isinstance(before, dict) or not isinstance(before.get("settings"), dict):
        raise LggError(f"{path} is no plan of a cross-validation: choose another --output")
    differences = different_trainings(plan.settings, before["settings"], plan.weights, before.get("weights"))
    differences += different_settings(plan.evaluation, before.get("evaluation") or {})
    # What the bundle's file says is among the settings; its path is that of a machine.
    compared = content.keys() - {"settings", "weights", "overrides", "evaluation", "bundle"}
    differences += [key for key in content if key in compared and before.get(key) != content[key]]
    if differences:
        message = (
            f"the cross-validation in {output} began with other settings ({', '.join(differences[:5])}): "
            "repeat its command, or choose another --output"
        )
        raise LggError(message)
    return False


def _keys(config: str) -> set[str]:
    return {str(key).lstrip("+") for key in ConfigParser.load_config_files(config)}


def _root(key: str) -> str:
    return re.split("#|::", key)[0]
