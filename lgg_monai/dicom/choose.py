"""Choosing which series of a study are FLAIR and T1 before and after contrast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lgg_monai.dicom.geometry import plane, series_grid
from lgg_monai.dicom.headers import Series
from lgg_monai.dicom.identity import are_several
from lgg_monai.dicom.sequences import Kind, is_enhanced, kind_of
from lgg_monai.dicom.tags import text, values
from lgg_monai.errors import LggError

NAMES = {"pre": "pre-contrast T1", "flair": "FLAIR", "post": "post-contrast T1"}
LEFT_OUT = "none"
"""What to choose for a T1 sequence that is not to be used."""
_MOST_LISTED = 8


@dataclass
class Selection:
    """The series of one scan.

    Args:
        series: by sequence; FLAIR is always there.
        warnings: what was decided that a person might decide otherwise.
    """

    series: dict[str, Series]
    warnings: list[str] = field(default_factory=list)


def matches(series: Series, choice: str) -> bool:
    """Tell whether a user's choice (SeriesInstanceUID, number or description) means this series."""
    return choice in (series.uid, str(series.number)) or choice.casefold() == series.description.casefold()


def select(study: list[Series], choices: Mapping[str, str]) -> Selection:
    """Choose one study's series.

    Where several are of one sequence, the best by the first rule in which they differ is taken: it makes a regular
    volume; it is axial and without contrast (of T1: in FLAIR's frame of reference, in FLAIR's plane); it is original
    rather than derived; it has more slices; it is later.

    Args:
        study: its series.
        choices: the user's, by sequence; where none of the study's series matches, the rules choose.

    Raises:
        LggError: there is no FLAIR, or that of several patients, or a choice cannot be followed.
    """
    kinds = {series.uid: kind_of(series) for series in study}
    selection = Selection({})
    flair = _choose("flair", study, kinds, choices, selection)
    if flair is None:
        volumes = any(kind.usable for kind in kinds.values())
        advice = "if one is, choose it with --series flair=NUMBER" if volumes else "give a folder with a FLAIR series"
        raise LggError(f"no FLAIR in a study of {_listed(study, kinds)}: {advice}")
    for sequence in ("pre", "post"):
        if choices.get(sequence) != LEFT_OUT:
            _choose(sequence, study, kinds, choices, selection)
    taken = [series.uid for series in selection.series.values()]
    if len(set(taken)) < len(taken):
        raise LggError(f"one series chosen for two sequences, {flair.title} or a T1: choose others with --series")
    return selection


def _choose(
    sequence: str, study: list[Series], kinds: Mapping[str, Kind], choices: Mapping[str, str], selection: Selection
) -> Series | None:
    """Choose the series of one sequence, and note it and what to warn of in ``selection``."""
    named = [series for series in study if sequence in choices and matches(series, choices[sequence])]
    for series in named:
        if not kinds[series.uid].usable:
            raise LggError(
                f"{series.title} cannot be {NAMES[sequence]}, as it is {kinds[series.uid].reason}: choose another"
            )
    candidates = named or [series for series in study if kinds[series.uid].sequence == sequence]
    if not candidates:
        return None
    ranks = {series.uid: _rank(series, selection.series.get("flair")) for series in candidates}
    candidates.sort(key=lambda series: tuple(ranks[series.uid].values()), reverse=True)
    sound = [series for series in candidates if ranks[series.uid]["a regular volume"]]
    if sequence == "flair" and sound and are_several(person for series in sound for person in series.people):
        titles = ", ".join(series.title for series in sound)
        advice = "separate the patients' files, or choose one with --series flair=NUMBER"
        raise LggError(f"FLAIR of more than one patient in one study ({titles}): {advice}")
    best, others = candidates[0], candidates[1:]
    if sequence != "flair":
        problem = _problem(best)
        if problem:
            selection.warnings.append(f"{NAMES[sequence]} left out: {problem}")
            return None
    if named:
        found = kinds[best.uid]
        if found.sequence != sequence:
            looks = NAMES[found.sequence] if found.sequence else found.reason
            selection.warnings.append(f"{best.title} was chosen as {NAMES[sequence]} though it looks to be {looks}")
    elif others:
        rules = zip(ranks[best.uid].items(), ranks[others[0].uid].values(), strict=True)
        why = next((rule for (rule, value), other in rules if value != other), "first found")
        selection.warnings.append(
            f"{len(candidates)} series could be {NAMES[sequence]}: took {best.title} ({why}), not "
            f"{', '.join(series.title for series in others)}; choose another with --series {sequence}=NUMBER"
        )
    selection.series[sequence] = best
    return best


def _rank(series: Series, flair: Series | None) -> dict[str, Any]:
    """Return the rules in their order, each with a value of which more is better."""
    rules: dict[str, Any] = {"a regular volume": _problem(series) is None}
    if flair is None:
        rules["axial"] = plane(series) == "axial"
        rules["without contrast"] = not is_enhanced(series)  # which would brighten parts of the tumour
    else:
        rules["in FLAIR's frame of reference"] = same_frame(series, flair)
        rules["in FLAIR's plane"] = plane(series) == plane(flair)
    rules["original rather than derived"] = not {"DERIVED", "SECONDARY"}.intersection(
        values(series.header, "ImageType")
    )
    rules["more slices"] = len(series.frames)
    rules["later"] = (
        text(series.header, "AcquisitionDate") or text(series.header, "SeriesDate"),
        text(series.header, "AcquisitionTime") or text(series.header, "SeriesTime"),
    )
    rules["higher series number"] = series.number
    return rules


def same_frame(one: Series, other: Series) -> bool:
    """Tell whether positions of two series are comparable: one frame of reference, or not said of both."""
    frames = {text(series.header, "FrameOfReferenceUID") for series in (one, other)} - {""}
    return len(frames) < 2


def _problem(series: Series) -> str | None:
    try:
        series_grid(series)
    except LggError as error:
        return str(error)
    return None


def _listed(study: list[Series], kinds: Mapping[str, Kind]) -> str:
    ordered = sorted(study, key=lambda series: series.number)
    listed = []
    for series in ordered[:_MOST_LISTED]:
        kind = kinds[series.uid]
        listed.append(f"{series.title} is {NAMES[kind.sequence] if kind.sequence else kind.reason}")
    more = len(ordered) - len(listed)
    return f"{len(study)} series ({'; '.join(listed)}{f'; and {more} more' if more else ''})"
