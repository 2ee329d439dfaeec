"""Which channel is which sequence, where a NIfTI data set's ``dataset.json`` says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lgg_monai.data.file_names import parse
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.errors import LggError

DATASET_JSON = "dataset.json"


@dataclass(frozen=True)
class Channels:
    """What ``dataset.json`` calls the channels: nnU-Net's ``channel_names``, or the Decathlon's ``modality``.

    Args:
        path: of the file; None where there is none that can be read.
        names: by index, as they are written there.
    """

    path: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def sequences(self) -> dict[str, int]:
        """The index of each sequence that is named; empty where the names say nothing of sequences."""
        roles = {index: parse(name).role for index, name in self.names.items()}
        found = {}
        for place, sequence in enumerate(SEQUENCES):
            indices = [index for index, role in roles.items() if role == sequence]
            if indices:  # a copy of FLAIR may stand in for another sequence, under FLAIR's name
                found[sequence] = place if place in indices else indices[0]
        return found


def dataset_channels(images: Path) -> Channels:
    """Read what ``dataset.json`` in a folder of images, or beside that folder, calls their channels."""
    for path in (images / DATASET_JSON, images.parent / DATASET_JSON):
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
            names = content.get("channel_names") or content.get("modality") or {}
            pairs = enumerate(names) if isinstance(names, list) else names.items()
            found = {int(index): " ".join(str(name).split()) for index, name in pairs}
        except (OSError, ValueError, AttributeError):
            continue
        return Channels(path, dict(sorted(found.items())))
    return Channels()


def order_problems(dataset_dir: Path) -> list[str]:
    """Tell where a data set's own description names another order than the networks take its channels in.

    Names that say nothing of sequences are no problem.
    """
    channels = dataset_channels(Path(dataset_dir) / "imagesTr")
    if all(index == SEQUENCES.index(sequence) for sequence, index in channels.sequences.items()):
        return []
    return [
        f"{channels.path} names the channels {', '.join(channels.names.values())}, expected pre, FLAIR, post in this "
        f"order: `lgg-monai collect {dataset_dir} --output OUT` writes such a set (tumour is what is not 0), "
        "or correct the names where they are wrong"
    ]


def require_order(dataset_dir: Path) -> None:
    """Refuse a data set that `order_problems` tells of, as is known before a volume is read.

    Raises:
        LggError: names the channels.
    """
    for problem in order_problems(dataset_dir):
        raise LggError(problem)
