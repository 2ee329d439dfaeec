"""Which settings make a training what it is: those that have to be the same when it is resumed or repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Where and how a run, or a fold of a cross-validation, is made may differ between machines; what it computes may not.
# The patients of a list are compared elsewhere, not its path.
OF_THE_MACHINE = {
    *("bundle_root", "dataset_dir", "output_dir", "device", "progress", "resume", "fold", "datalist_file"),
    *("cache", "cache_dir", "cuda_graph", "compile", "channels_last"),
}
# How it is started: what these call upon stands elsewhere in the config.
PROCEDURE = {"imports", "initialize", "run"}
# A run may go on for longer, or be judged at other epochs.
FREE_IN_RESUMING = {"max_epochs", "val_interval", "early_stop"}
FIRST_WEIGHTS = "initial_weights"


def shared_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a config what belongs to one fold or machine, and write its references in one way."""
    kept = {key: value for key, value in config.items() if key not in OF_THE_MACHINE}
    # MONAI writes `@train#dataset` as `@train::dataset`, but not everywhere at the first reading.
    return json.loads(json.dumps(kept).replace("#", "::"))


def different_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name the settings in which two configs differ."""
    keys = (key for key in dict.fromkeys((*one, *other)) if key not in PROCEDURE)
    return [key for key in keys if one.get(key) != other.get(key)]


def different_trainings(
    one: Mapping[str, Any], other: Mapping[str, Any], weights: Any = None, other_weights: Any = None
) -> list[str]:
    """Name what differs between two trainings.

    Args:
        one: settings of the first, see `shared_settings`.
        other: of the second.
        weights: digest of the weights that the first began with; None where it is not known, as of runs of before it
            was written down. Their path counts only where a digest is not known.
        other_weights: of the second.
    """
    differences = different_settings(one, other)
    if weights and other_weights:
        differences = [key for key in differences if key != FIRST_WEIGHTS]
        differences += [f"content of {FIRST_WEIGHTS}"] if weights != other_weights else []
    return differences
