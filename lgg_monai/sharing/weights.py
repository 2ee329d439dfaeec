"""A file of weights to share: the averaged weights alone, made less certain or smaller where that is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from lgg_monai.data.seen import BEFORE, DATALIST, datalist_of, is_complete, read_datalist
from lgg_monai.engines.checkpoints import load_weights, save_checkpoint
from lgg_monai.engines.compact_weights import compact as make_compact
from lgg_monai.errors import LggError
from lgg_monai.files import writable_folder, write_json
from lgg_monai.networks.ensemble import Ensemble
from lgg_monai.networks.temperature import soften
from lgg_monai.prediction.models import resolve
from lgg_monai.prediction.network_def import build_network


def write_weights(
    checkpoints: Sequence[Path], output: Path, bundle: str, temperature: float | None = None, compact: bool = False
) -> None:
    """Write the weights of a checkpoint, and beside them which patients they have seen.

    Args:
        checkpoints: ``best.pt`` or ``last.pt`` of a run, or a ``model.pt``; of an ensemble one for each of its
            networks, in their order, which are joined.
        output: file to write; ``datalist.json`` is written into its folder, with the names of folders instead of paths.
        bundle: whose network it is, see :func:`lgg_monai.prediction.models.resolve`.
        temperature: that the logits are divided by, see :func:`lgg_monai.networks.temperature.soften`.
        compact: hold the weights of convolutions as one byte each, see :mod:`lgg_monai.engines.compact_weights`.

    Raises:
        LggError: a checkpoint cannot be read or is of another network, their number is not that of the networks, the
            network cannot be softened, the output is a folder, or the folder that it lies in has a ``datalist.json``
            that describes other weights.
    """
    if output.is_dir():
        raise LggError(f"{output} is a folder: give the file to write, such as {output / 'model.pt'}")
    if output.resolve() in [checkpoint.resolve() for checkpoint in checkpoints]:
        raise LggError(f"{output} would replace the weights that are read: give another --output")
    with resolve(bundle, checkpoints) as model:
        network = build_network(model.network_def, model.name)
    for part, checkpoint in zip(_parts(network, len(checkpoints), bundle), checkpoints, strict=True):
        # Unwrapped, a mistake is an exception rather than the end of the program.
        inspect.unwrap(load_weights)(part, str(checkpoint))
    if temperature is not None:
        soften(network, temperature)
    state = network.state_dict()
    datalists = [datalist_of(checkpoint) for checkpoint in checkpoints]
    known = joined([read_datalist(path) if path else None for path in datalists])
    beside = output.parent / DATALIST
    # Written into the run's own folder, they are described already, and the run needs its list as it is.
    if beside.resolve() in [path.resolve() for path in datalists if path]:
        known = None
    elif known is None and beside.exists():
        strange = next(str(file) for file, path in zip(checkpoints, datalists, strict=True) if path is None)
        raise LggError(
            f"{beside} says which patients other weights saw, and nothing says it of {strange}: "
            "give an --output in another folder"
        )
    if known is not None:
        _require_alone(output)
    writable_folder(output.parent, choose="another with --output")
    save_checkpoint(output, make_compact(state) if compact else state)
    if known is not None:
        write_json(output.parent / DATALIST, without_paths(known))


def joined(datalists: Sequence[dict | None]) -> dict | None:
    """Say which patients several networks together have seen, be it one of them or all.

    Args:
        datalists: of each network; None where it is not known, and then nothing is known of all together.
    """
    known = [datalist for datalist in datalists if datalist is not None]
    if len(known) < len(datalists):
        return None
    if len(known) == 1:
        return known[0]
    seen: set[str] = set()
    parts: dict[str, list[dict]] = {}
    for part in ("training", "validation", "test"):
        parts[part] = []
        for entry in (entry for datalist in known for entry in datalist.get(part, [])):
            if entry["patient"] not in seen:
                seen.add(entry["patient"])
                parts[part].append(entry)
    before = [datalist[BEFORE] for datalist in known if datalist.get(BEFORE)]
    first = {part: [entry for one in before for entry in one.get(part, [])] for part in ("training", "validation")}
    more = {BEFORE: first | {"complete": all(map(is_complete, known))}} if before else {}
    return {"phantom": any(datalist.get("phantom", False) for datalist in known), **parts, **more}


def _parts(network: nn.Module, checkpoints: int, bundle: str) -> list[nn.Module]:
    """Give the networks that so many checkpoints are of: one, or the members of an ensemble."""
    if checkpoints == 1:
        return [network]
    if not isinstance(network, Ensemble):
        raise LggError(f"{checkpoints} checkpoints for {bundle}, which is one network: give one, or --bundle ensemble")
    if len(network.networks) != checkpoints:
        raise LggError(
            f"{checkpoints} checkpoints for the {len(network.networks)} networks of {bundle}: give one for each"
        )
    return list(network.networks)


def _require_alone(output: Path) -> None:
    """Refuse a folder whose ``datalist.json`` says of other weights what they have seen."""
    beside = [path.name for path in sorted(output.parent.glob("*.pt")) if path.name != output.name]
    others = beside + [f"checkpoints/{path.name}" for path in sorted(output.parent.glob("checkpoints/*.pt"))]  # a run's
    if others and (output.parent / DATALIST).exists():
        raise LggError(
            f"{output.parent / DATALIST} says which patients {', '.join(others)} saw and would be replaced: "
            "give an --output in another folder"
        )


def without_paths(datalist: dict) -> dict:
    """Name each patient's files by their names alone: where they lay on one machine is nobody else's business."""
    keys = ("image", "label")
    shared = {key: value for key, value in datalist.items() if key != "dataset_dir"}
    for part in ("training", "validation", "test"):
        shared[part] = [
            entry | {key: _names(entry[key]) for key in keys if key in entry} for entry in datalist.get(part, [])
        ]
    return shared


def _names(files: str | list[str]) -> str | list[str]:
    return [Path(file).name for file in files] if isinstance(files, list) else Path(files).name
