"""A file of weights to share: the averaged weights alone, made less certain or smaller where that is asked for."""

from __future__ import annotations

import inspect
from pathlib import Path

from lgg_monai.data.seen import DATALIST, datalist_of
from lgg_monai.engines.checkpoints import load_weights, save_checkpoint
from lgg_monai.engines.compact_weights import compact as make_compact
from lgg_monai.errors import LggError
from lgg_monai.files import read_json, writable_folder, write_json
from lgg_monai.networks.temperature import soften
from lgg_monai.prediction.models import resolve
from lgg_monai.prediction.network_def import build_network


def write_weights(
    checkpoint: Path, output: Path, bundle: str, temperature: float | None = None, compact: bool = False
) -> None:
    """Write the weights of a checkpoint, and beside them which patients they have seen.

    Args:
        checkpoint: ``best.pt`` or ``last.pt`` of a run, or a ``model.pt``.
        output: file to write; ``datalist.json`` is written into its folder, with the names of folders instead of paths.
        bundle: whose network it is, see :func:`lgg_monai.prediction.models.resolve`.
        temperature: that the logits are divided by, see :func:`lgg_monai.networks.temperature.soften`.
        compact: hold the weights of convolutions as one byte each, see :mod:`lgg_monai.engines.compact_weights`.

    Raises:
        LggError: the checkpoint cannot be read or is of another network, the network cannot be softened, or the folder
            has a ``datalist.json`` that describes other weights.
    """
    if output.resolve() == checkpoint.resolve():
        raise LggError(f"{output} would replace the weights that are read: give another --output")
    with resolve(bundle, [checkpoint]) as model:
        network = build_network(model.network_def, model.name)
    # Unwrapped, a mistake is an exception rather than the end of the program.
    inspect.unwrap(load_weights)(network, str(checkpoint))
    if temperature is not None:
        soften(network, temperature)
    state = network.state_dict()
    datalist = datalist_of(checkpoint)
    known = read_json(datalist, "datalist") if datalist else None
    # Written into the run's own folder, they are described already, and the run needs its list as it is.
    if datalist is None or datalist.resolve() == (output.parent / DATALIST).resolve():
        known = None
    if known is not None:
        _require_alone(output)
    writable_folder(output.parent)
    save_checkpoint(output, make_compact(state) if compact else state)
    if known is not None:
        write_json(output.parent / DATALIST, without_paths(known))


def _require_alone(output: Path) -> None:
    """Refuse a folder whose ``datalist.json`` says of other weights what they have seen."""
    beside = [path.name for path in sorted(output.parent.glob("*.pt")) if path.name != output.name]
    others = beside + [f"checkpoints/{path.name}" for path in sorted(output.parent.glob("checkpoints/*.pt"))]  # a run's
    if others and (output.parent / DATALIST).exists():
        message = (
            f"{output.parent / DATALIST} says which patients {', '.join(others)} saw and would be replaced: "
            "give an --output in another folder"
        )
        raise LggError(message)


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
