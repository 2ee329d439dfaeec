"""What masks depend on besides the scan: results of other settings are never mixed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lgg_monai.errors import LggError
from lgg_monai.files import read_json
from lgg_monai.prediction.outputs import SETTINGS
from lgg_monai.prediction.segmenter import THRESHOLD, Segmenter
from lgg_monai.transforms.components import SMALLEST_COMPONENT, SMALLEST_SHARE

FORMAT = 1  # of what is written; a new one makes old results be made again


def settings_of(segmenter: Segmenter) -> dict[str, Any]:
    """Return what masks depend on besides the scan."""
    return {
        "format": FORMAT,
        "bundle": segmenter.name,
        "weights_sha256": list(segmenter.digests),
        "dtype": segmenter.dtype,
        "mirrored": segmenter.tta,
        "threshold": THRESHOLD,
        "smallest_component": SMALLEST_COMPONENT,
        "smallest_share": SMALLEST_SHARE,
    }


def settings_digest(settings: dict[str, Any]) -> str:
    """Return a short hash of the settings that masks depend on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def require_same_settings(output: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Prove that what an output folder holds was made with these settings, or is to be made anew.

    Raises:
        LggError: names what differs.
    """
    path = output / SETTINGS
    if overwrite or not path.is_file():
        return
    before = read_json(path, "settings").get("settings", {})
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        message = (
            f"{output} holds results of another {changed[0].replace('_', ' ')} ({before.get(changed[0])}, now "
            f"{settings[changed[0]]}): --overwrite makes them anew, or choose another --output"
        )
        raise LggError(message)
