"""Which patients weights have seen, by the ``datalist.json`` beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lgg_monai.data.file_names import composed
from lgg_monai.data.people import person_of
from lgg_monai.data.split import PARTS
from lgg_monai.errors import LggError
from lgg_monai.files import read_json, read_object, sha256

logger = logging.getLogger(__name__)

DATALIST = "datalist.json"
ENTRY = ("patient", "fingerprint", "image_fingerprint")  # what :func:`identities` needs
BEFORE = "seen_before"
"""Key of a ``datalist.json``: what the weights that the training began with had seen, by part, and if all is known."""
WEIGHTS = "initial_weights_sha256"
"""Key of a ``datalist.json``: the digest of the file of these weights, whose path differs from machine to machine."""


def read_datalist(path: Path) -> dict[str, Any]:
    """Read a ``datalist.json``; it may lack parts, but those that are there name patients.

    Raises:
        LggError: it is missing, no JSON, or of another kind, such as the Decathlon's, which lists files.
    """
    content = read_object(path, "datalist")
    for part in PARTS:
        entries = content.get(part, [])
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("patient"), str) for entry in entries
        ):
            raise LggError(
                f"the datalist {path} does not name its {part} patients: "
                "restore that of the run, or move it away if it is of something else"
            )
    return content


def given_parts(path: Path) -> dict[str, list[str]]:
    """Read a ``datalist.json`` whose parts are to be used, which may be written by hand: names of patients by part.

    Raises:
        LggError: it is missing, no JSON, lacks a part, or has no training patients.
    """
    content = read_json(path, "datalist")
    try:
        parts = {part: [composed(str(entry["patient"])) for entry in content[part]] for part in PARTS}
    except (KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else "does not name patients by part"
        message = f"the datalist {path} {what}: it needs training, validation and test lists of {{'patient': name}}"
        raise LggError(message) from error
    if not parts["training"]:
        raise LggError(f"the datalist {path} has no training patients: list at least one")
    return parts


def datalist_of(checkpoint: Path) -> Path | None:
    """Find the patients of a file of weights: beside it, as in a bundle, or in the run folder that it lies in."""
    places = (checkpoint.parent / DATALIST, checkpoint.parent.parent / DATALIST)
    return next((path for path in places if path.is_file()), None)


def digest_of(weights: str | Path | None) -> str | None:
    """Give the SHA-256 of a file of weights; None where there is none, which reading it will refuse."""
    try:
        return None if weights is None else sha256(Path(str(weights)))
    except OSError:
        return None


def training_people(checkpoint: Path) -> set[str]:
    """Name the people, by `person_of`, who took part in the training or validation of weights; none without a list."""
    path = datalist_of(checkpoint)
    known = read_datalist(path) if path else {}
    return {person_of(entry["patient"]) for part in ("training", "validation") for entry in seen_as(known, part)}


def seen_as(datalist: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    """List the patients of a part, in this training or in those that its first weights came from."""
    return [*datalist.get(part, []), *(datalist.get(BEFORE) or {}).get(part, [])]


def seen_before(weights: Path) -> dict[str, Any]:
    """Give what a training that begins with these weights has to remember of them, for its own ``datalist.json``.

    Returns:
        ``training`` and ``validation`` entries without the places of files, and ``complete``: False where nothing says
        what the weights, or those that they came from, have seen.
    """
    path = datalist_of(weights)
    known = read_datalist(path) if path else {}
    found: dict[str, Any] = {
        part: [{key: entry[key] for key in ENTRY if key in entry} for entry in seen_as(known, part)]
        for part in ("training", "validation")
    }
    return found | {"complete": path is not None and is_complete(known)}


def is_complete(datalist: Mapping[str, Any]) -> bool:
    """Tell whether a list, with what it remembers of the first weights, names all that its weights have seen."""
    return bool((datalist.get(BEFORE) or {}).get("complete", True))


def identities(entry: Mapping[str, Any]) -> set[str]:
    """Give all that a patient of a datalist can be known again by, whatever its name and whoever outlined it.

    That is the person (two scans of one person are one patient), the pixels with their mask, and the pixels alone,
    which lists of before 2026-11-26 lack.
    """
    pixels = {str(entry[key]) for key in ("fingerprint", "image_fingerprint") if entry.get(key)}
    return pixels | {f"person {person_of(entry['patient'])}"}


def parts_by_identity(datalists: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Tell by :func:`identities` what part patients had in one or several trainings: training before all others."""
    datalists = list(datalists)
    return {
        identity: part
        for part in ("test", "validation", "training")
        for datalist in datalists
        for entry in seen_as(datalist, part)
        for identity in identities(entry)
    }


def require_unseen(datalist: dict[str, Any], weights: Path) -> None:
    """Refuse to begin with weights that know patients by which this training is to be judged.

    Patients are the same by :func:`identities`. Where nothing says what the weights have seen, a warning is logged.

    Args:
        datalist: of the run that begins.
        weights: the file that it begins with.

    Raises:
        LggError: they were trained on, or chosen by, a test patient, or were trained on a validation patient.
    """
    path = datalist_of(weights)
    if path is None:
        logger.warning("no %s says which patients %s has seen: scores may flatter", DATALIST, weights)
        return
    known = read_datalist(path)
    if not is_complete(known):
        logger.warning(
            "nothing says which patients the weights that %s began with have seen: scores may flatter", weights
        )
    for part, before in (("test", ("training", "validation")), ("validation", ("training",))):
        seen = {identity for other in before for entry in seen_as(known, other) for identity in identities(entry)}
        clash = [entry["patient"] for entry in datalist[part] if identities(entry) & seen]
        if clash:
            raise LggError(
                f"{part} patient {clash[0]} (of {len(clash)}) is known to {weights}, so its score would flatter: "
                "take weights that have not seen it, the split that they were trained with, or --fold all"
            )
