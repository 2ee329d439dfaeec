"""What masks depend on besides the scan: results of other settings are never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from lgg_monai.data.identity import short_hash
from lgg_monai.errors import LggError
from lgg_monai.files import read_json, read_object
from lgg_monai.prediction.inputs import RESULT, SETTINGS
from lgg_monai.prediction.models import preprocessing_config
from lgg_monai.prediction.outputs import MEASUREMENTS, REPORT
from lgg_monai.prediction.segmenter import THRESHOLD, Segmenter
from lgg_monai.transforms.components import SMALLEST_COMPONENT, SMALLEST_SHARE

FORMAT = 1  # of what is written; a new one makes old results be made again
LATER = ("preprocessing",)  # settings that results of before 2026-11-27 do not tell


def settings_of(segmenter: Segmenter) -> dict[str, Any]:
    """Return what masks depend on besides the scan."""
    return {
        "format": FORMAT,
        "preprocessing": short_hash(json.dumps(preprocessing_config(), sort_keys=True)),
        "bundle": segmenter.name,
        "weights_sha256": list(segmenter.digests),
        "dtype": segmenter.dtype,
        "mirrored": segmenter.tta,
        "threshold": THRESHOLD,
        "smallest_component": SMALLEST_COMPONENT,
        "smallest_share": SMALLEST_SHARE,
    }


def settings_digests(settings: dict[str, Any]) -> tuple[str, str]:
    """Return a short hash of the settings that masks depend on, and the one of before the preprocessing was noted.

    Results of then are taken to have been prepared as scans are now.
    """
    return _digest(settings), _digest({name: value for name, value in settings.items() if name not in LATER})


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def require_same_settings(output: Path, settings: dict[str, Any], names: Container[str], overwrite: bool) -> None:
    """Prove that what an output folder holds was made with these settings, or is all to be made anew.

    Args:
        output: the folder.
        settings: from `settings_of`.
        names: of the scans that are given now.
        overwrite: they are to be made anew.

    Raises:
        LggError: names what differs, what would be left of other settings, or a file that is no earlier result.
    """
    path = output / SETTINGS
    before = read_object(path, "settings").get("settings") if path.is_file() else None
    if not isinstance(before, dict):
        strange = next((name for name in (SETTINGS, MEASUREMENTS, REPORT) if (output / name).exists()), None)
        if strange is not None:
            raise LggError(f"{output / strange} is no earlier result: move it away, or choose another --output")
        return
    told = [name for name in settings if name in before or name not in LATER]
    changed = [name for name in told if before.get(name) != settings[name]]
    if changed and not overwrite:
        raise LggError(
            f"{output} holds results of another {changed[0].replace('_', ' ')} ({before.get(changed[0])}, now "
            f"{settings[changed[0]]}): --overwrite makes them anew, or choose another --output"
        )
    if changed:
        results = [read_json(result, "result") for result in sorted(output.glob(f"*/{RESULT}"))]
        left = [result["patient"] for result in results if result.get("patient") not in names]
        if left:
            others = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise LggError(
                f"{output} holds results of another {changed[0].replace('_', ' ')} of {left[0]}{others} too: "
                "give all its scans with --overwrite, or choose another --output"
            )
