"""How runs were scored: with which weights, and by which rule their masks were made."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lgg_monai.analysis.runs import Run
from lgg_monai.data.people import person_of
from lgg_monai.engines.checkpoints import BEST
from lgg_monai.engines.settings import shared_settings
from lgg_monai.provenance import commit, versions

logger = logging.getLogger(__name__)

PROBABILITY_SCORING = ("tta",)
"""Keys of an evaluation that change probabilities whatever the network."""
SCORING = (*PROBABILITY_SCORING, "postprocessing", "smallest_component", "smallest_share")
"""Keys that change masks."""


def describe_runs(runs: Sequence[Run], keys: Sequence[str] = SCORING) -> dict[str, Any]:
    """Say which runs the numbers of a report belong to, how they were scored, and what made the report.

    What is odd in how they were scored is logged as well.

    Args:
        runs: with scores.
        keys: those of `SCORING` that the report depends on.
    """
    remarks = scoring_remarks(runs, keys)
    for remark in remarks:
        logger.warning("%s", remark)
    return {
        "runs": [str(run.folder) for run in runs],
        "people": len({person_of(entry["patient"]) for run in runs for entry in run.datalist["test"]}),
        "phantom": any(run.phantom for run in runs),
        "fingerprint": runs[0].datalist.get("fingerprint"),
        "scoring": [
            {"checkpoint": run.evaluation.get("checkpoint")} | {key: _setting(run, key) for key in keys} for run in runs
        ],
        "remarks": remarks,
        "versions": versions(),
        "commit": commit(),
    }


def scoring_remarks(runs: Sequence[Run], keys: Sequence[str] = SCORING) -> list[str]:
    """Say where scores are not of a run's own best weights, or masks were not made alike: no merit of the networks.

    Args:
        runs: of a comparison; those without scores are of no account.
        keys: as in `describe_runs`.
    """
    remarks = []
    parts = [part for run in runs if not run.unscored for part in run.parts]
    for run in parts:
        checkpoint = str(run.evaluation.get("checkpoint") or "")
        # The folder may have been moved or renamed since, with all the folders above it.
        own = Path(str((run.evaluation.get("config") or {}).get("output_dir"))) / "checkpoints" / BEST
        names = (run.folder.resolve().name, "checkpoints", BEST)
        if checkpoint and Path(checkpoint) != own and Path(checkpoint).parts[-3:] != names:
            remarks.append(f"{run.label} was scored with the weights {checkpoint}, not its own checkpoints/{BEST}.")
    for key in keys:
        settings = [_setting(part, key) for part in parts]
        ways = ["not set" if setting is None else str(setting) for setting in settings]
        if len(set(ways)) > 1:
            found = ", ".join(f"{way} ({part.label})" for part, way in zip(parts, ways, strict=True))
            remarks.append(
                f"The runs were scored in different ways: {key} is {found}. "
                "A difference in quality need not be the networks': evaluate them alike."
            )
    return remarks


def _setting(run: Run, key: str) -> Any:
    """Give a setting that a run was scored with; of a block of a config, which is too long to be told, the digest."""
    setting = shared_settings(run.evaluation.get("config") or {}).get(key)
    if isinstance(setting, dict | list):
        return hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:8]
    return setting
