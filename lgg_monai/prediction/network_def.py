"""A network from a bundle's ``network_def``, of plain values alone: nothing that someone sent is evaluated."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import monai.networks.nets
import torch

import lgg_monai.networks
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.errors import LggError
from lgg_monai.networks.strides import MEMBERS, divisor, member_definitions
from lgg_monai.sharing.inspect.findings import shown
from lgg_monai.sharing.inspect.policy import ADDRESS

# These download weights as they are built: whatever their arguments, or by other ones than `pretrained`.
FETCHING = ("TorchVisionFCModel", "Transchex")


def build_network(network_def: dict[str, Any], name: str) -> torch.nn.Module:
    """Build a network from plain values alone: no expression of a config is evaluated, and only known classes are used.

    Nothing is fetched either: it is built without pretrained weights, as its own replace them.

    Args:
        network_def: ``_target_``, a network of MONAI's or of this package, and its arguments.
        name: of the bundle, for messages.

    Raises:
        LggError: it is another class, an argument is not plain or an address, or the network cannot be built.
    """
    strange = strange_value(network_def)
    if strange is not None:
        raise LggError(
            f"network_def of the bundle {name} is not made of plain values ({shown(strange)}): write them out"
        )
    arguments = _arguments(network_def)
    address = next((text for text in _texts(arguments) if ADDRESS.search(text)), None)
    if address is not None:
        raise LggError(
            f"network_def of the bundle {name} names an address ({shown(address)}), but nothing is fetched: drop it"
        )
    members = member_definitions(network_def)
    if members:
        arguments[MEMBERS] = [build_network(member, name) for member in members]
    target = str(network_def.get("_target_", ""))
    # A packaged bundle calls this package's modules `scripts`; the installed ones are used.
    homes = {
        "": monai.networks.nets,
        "monai.networks.nets": monai.networks.nets,
        "lgg_monai.networks": lgg_monai.networks,
    }
    module, _, kind = target.rpartition(".")
    module = ".".join(module.replace("scripts", "lgg_monai", 1).split(".")[: 3 if module.startswith("monai") else 2])
    network_class = getattr(homes.get(module), kind, None)
    if not (inspect.isclass(network_class) and issubclass(network_class, torch.nn.Module)):
        raise LggError(f"the bundle {name} names the network {target!r}: only MONAI's and this package's are used")
    if kind in FETCHING:
        raise LggError(f"the network {kind} of the bundle {name} fetches weights from the network: give another")
    # By default, too, some classes download; their other arguments of this kind are paths and addresses.
    arguments = {key: value for key, value in arguments.items() if not key.startswith("pretrained")}
    if "pretrained" in inspect.signature(network_class).parameters:
        arguments["pretrained"] = False
    try:
        return network_class(**arguments)
    except Exception as error:  # whatever a network makes of wrong arguments
        reason = " ".join(str(error).split())[:160]
        raise LggError(f"cannot build the network {kind} of the bundle {name} ({reason}): correct it") from error


def require_one_logit(network: torch.nn.Module, network_def: dict[str, Any], name: str, device: torch.device) -> None:
    """Prove on an empty slice that a network maps three sequences to one logit a pixel.

    Args:
        network: on the device, in evaluation mode.
        network_def: that it was built from.
        name: of the bundle, for messages.
        device: of the network.

    Raises:
        LggError: it does not.
    """
    side = 4 * divisor(network_def)
    try:
        with torch.inference_mode():
            output = network(torch.zeros(1, len(SEQUENCES), side, side, dtype=torch.float32, device=device))
        output = output[0] if isinstance(output, list | tuple) else output
        fits = tuple(output.shape) == (1, 1, side, side)
    except (RuntimeError, ValueError, TypeError, IndexError):
        fits = False
    if not fits:
        raise LggError(
            f"the network of the bundle {name} does not map slices of 3 sequences to one logit: give another"
        )


def strange_value(network_def: dict[str, Any], member: bool = False) -> str | None:
    """Return the first expression, reference or instruction among a network's arguments; None where all are plain.

    Args:
        network_def: as in a bundle's config; that of an ensemble may hold those of its members.
        member: it is one of these, which cannot be an ensemble again.
    """
    members = [] if member else member_definitions(network_def)
    arguments = {key: value for key, value in _arguments(network_def).items() if not (members and key == MEMBERS)}
    first = next((key for key in arguments if key.startswith("_")), None)
    first = first or next((found for inner in members if (found := strange_value(inner, True)) is not None), None)
    return first or next(
        (text for text in _texts(arguments) if text[:1] in ("$", "@", "%") or text == "_target_"), None
    )


def _arguments(network_def: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in network_def.items() if key not in ("_target_", "_desc_")}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (str(key) for key in value)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
