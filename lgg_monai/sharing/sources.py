"""What a package is made from: configs, weights and texts of a bundle in the repository."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from lgg_monai.engines.checkpoints import SHIPPED, load_weights, read_weights
from lgg_monai.engines.parts_check import root_cause
from lgg_monai.errors import LggError
from lgg_monai.flatten import flatten, own_names_to_scripts, parse, read_text
from lgg_monai.networks.ensemble import Ensemble
from lgg_monai.networks.strides import divisor, smallest_side
from lgg_monai.sharing.metadata import metrics_table

TEMPLATES = Path("configs/package")
USAGE = "<!-- how to use the package -->"  # in a bundle's own card
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train")
_DEFINITION = 'network_def: "%BUNDLE::network_def"'
# Clients that drive inference.json by themselves cannot import a bundle's scripts.
_FROM_TORCHSCRIPT = """network_def: # not in MONAI; as TorchScript it runs where scripts cannot be imported
  _target_: torch.jit.load
  f: $@bundle_root + '/models/model.ts'
  map_location: "@device\""""


def bundle_file(bundle: str) -> Path:
    """Give a bundle's config in the repository.

    Raises:
        LggError: there is none of that name here.
    """
    path = Path("bundles") / f"{bundle}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in Path("bundles").glob("*.yaml"))) or "none here"
        raise LggError(f"no {path}: run this in the repository's root, with --bundle one of {known}")
    return path


def package_configs(bundle: str) -> dict[str, str]:
    """Give the text of every YAML config of a package by its name, free of ``%`` and of this repository."""
    aliases = {"BUNDLE": str(bundle_file(bundle)), "INFERENCE": str(TEMPLATES / "inference.yaml")}
    definition = _network_definition(bundle)
    side, smallest = divisor(definition), smallest_side(definition)
    texts = {}
    for name in CONFIGS:
        text = read_text(TEMPLATES / f"{name}.yaml")
        if name == "inference" and not in_monai(bundle):
            text = text.replace(_DEFINITION, _FROM_TORCHSCRIPT)
        text = flatten(text, aliases)
        text = text.replace("k: [16, 16, 1]", f"k: [{side}, {side}, 1]").replace("divisor: 16", f"divisor: {side}")
        text = text.replace("spatial_size: [16, 16, -1]", f"spatial_size: [{smallest}, {smallest}, -1]")
        text = text.replace("smallest: 16", f"smallest: {smallest}")
        texts[name] = own_names_to_scripts(text)
    return texts


def in_monai(bundle: str) -> bool:
    """Tell whether a bundle's network is one of MONAI's own."""
    return not str(_network_definition(bundle)["_target_"]).startswith("lgg_monai.")


def joins_networks(bundle: str) -> bool:
    """Tell whether a bundle's network is made of others, whose weights are joined rather than trained."""
    return "networks" in _network_definition(bundle)


def joins_shipped_weights(network: nn.Module) -> bool:
    """Tell whether a network is made of others, each with the weights that a bundle of the repository ships."""
    if not isinstance(network, Ensemble):
        return False
    shipped = [read_weights(path) for path in sorted(Path("bundles").glob(f"*/{SHIPPED}"))]
    members = [member.state_dict() for member in network.networks]
    return all(any(_same_weights(member, one) for one in shipped) for member in members)


def network_with_weights(bundle: str, weights: Path) -> nn.Module:
    """Build a bundle's network and load weights, strictly.

    Raises:
        LggError: it cannot be built.
        SystemExit: with one line, where the weights are missing, damaged or of another network.
    """
    definition = _network_definition(bundle)
    try:
        network: nn.Module = ConfigParser({"network_def": definition}).get_parsed_content("network_def")
    except Exception as error:  # whatever a network makes of wrong arguments, or of a package that is missing
        reason = root_cause(error)
        text = " ".join(str(reason).split())[:200]
        raise LggError(
            f"cannot build the network of {bundle_file(bundle)} ({type(reason).__name__}: {text}): correct network_def"
        ) from error
    return load_weights(network, str(weights)).eval()


def plain_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copy a network's state so that equal weights are equal bytes, whatever file they came from."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}


def model_card(bundle: str, name: str, metadata: dict[str, Any], shipped: bool = False) -> str:
    """Write a package's model card: of its weights, and of the use that all packages share.

    Args:
        bundle: ``unet``, ``pspnet`` or ``plain_unet``.
        name: of the package.
        metadata: of the package, filled.
        shipped: the weights are those of the repository, which the bundle's own card describes, or joined from such.
    """
    values = {
        "NAME": name,
        "TITLE": metadata["name"],
        "DESCRIPTION": metadata["description"],
        "VERSION": metadata["version"],
        "PATIENTS": metadata["data_source"],
        "METRICS": metrics_table(metadata["eval_metrics"]),
        "MONAI": metadata["monai_version"],
        "PYTORCH": metadata["pytorch_version"],
        "PARAMETERS": f"{metadata['parameters'] / 1e6:.1f} million",
        "PACKAGES": " ".join(f"'{name}>={release}'" for name, release in metadata["required_packages_version"].items()),
    }
    try:
        usage = Template(read_text(TEMPLATES / "usage.md")).substitute(values)
        if not shipped:
            return Template(read_text(TEMPLATES / "model_card.md")).substitute(values, USAGE=usage)
    except (KeyError, ValueError) as error:
        raise LggError(f"a text in {TEMPLATES} has an unknown placeholder ({error}): correct it") from error
    card = Path("bundles") / bundle / "docs/README.md"
    before, mark, after = read_text(card).partition(USAGE)
    if not mark:
        raise LggError(f"the model card {card} lacks the line {USAGE}, where the use is told: add it")
    return before + usage.strip() + after


def _same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _network_definition(bundle: str) -> dict[str, Any]:
    path = bundle_file(bundle)
    definition: Any = parse(flatten(f"{_DEFINITION}\n", {"BUNDLE": str(path)}))["network_def"]
    if not (isinstance(definition, dict) and "_target_" in definition):
        raise LggError(f"network_def of {path} names no network: give it as a block with _target_")
    return definition
