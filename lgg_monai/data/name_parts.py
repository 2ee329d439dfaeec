"""What a file name says beside patient and sequence: BIDS entities, and which scan it was registered to."""

from __future__ import annotations

import re
from collections.abc import Callable

_SEQUENCE = r"flair|t[12](?:w|c|ce|gd|n)?"
_VERB = r"(?:co)?reg(?:istered)?|aligned|warped|resampled|resliced|rigid|affine|into|in|onto|on|to"
_END = r"(?=[_. -]|$)"
# T2 SPACE is a sequence of its own, so t2_space-flair is a FLAIR.
_SPACE = re.compile(rf"(?<!t2)_space-(?P<onto>{_SEQUENCE}|orig|native|individual|scanner|subject)(?=_|$)", re.I)
_REGISTERED = re.compile(
    rf"[_. -]+(?:(?:{_VERB})(?:[_. -]+|2|to))+(?P<onto>{_SEQUENCE})(?:[_. -]?space)?{_END}"
    rf"|(?<!t2)[_. -]+(?P<of>flair)space{_END}",
    re.I,
)
_FUSED = re.compile(rf"(?<![^\W_])(?P<of>{_SEQUENCE})(?:to|2)(?P<onto>{_SEQUENCE})(?![^\W_])", re.I)
# Entities that tell acquisitions of one patient apart, not patients; a run or a session stays.
_ENTITY = re.compile(r"_(?P<key>acq|rec|part|desc|label|seg|res|den|ce)-(?P<value>[a-z0-9+]+)(?=_|$)", re.I)
_OF_WHAT = ("desc", "label", "seg")
_TUMOUR = re.compile(r".*(tumou?r|lesion|glioma|o?edema|manual|rater).*")
_ENHANCED = re.compile(r".*(post|gd|gad|gado|contrast)")


def without_registration(text: str, names: Callable[[str], bool]) -> tuple[str, str]:
    """Take from a name what the scan was resampled onto, as in ``p1_t1_to_flair`` or ``sub-01_space-FLAIR_T1w``.

    A template's space (``space-MNI152``) stays, as scans in it are not to be grouped with those outside it.

    Args:
        text: a file's name without suffixes.
        names: tells whether a text names a sequence or a mask.

    Returns:
        The name without it, and ``flair``, another sequence, or an empty text.
    """
    onto = ""
    match = _SPACE.search(text)
    if match:
        rest = text[: match.start()] + text[match.end() :]
        # BIDS ends with what a file is, be it known here or not: sub-01_space-FLAIR_dseg.
        if names(rest) or (text.lower().startswith("sub-") and match.end() < len(text)):
            text, onto = rest, match["onto"]
    match = _FUSED.search(text)
    if match:
        text, onto = text[: match.end("of")] + text[match.end() :], match["onto"]
    match = _REGISTERED.search(text)
    if match and names(text[: match.start()]):
        text, onto = text[: match.start()] + text[match.end() :], match["onto"] or match["of"]
    return text, onto.lower() if re.fullmatch(_SEQUENCE, onto, re.I) else ""


def without_entities(text: str, speaks: Callable[[str], bool], is_mask: bool = False) -> str:
    """Take from a BIDS name (``sub-01_acq-3D_FLAIR``) the entities that its other files need not share.

    Of what a mask is stays: ``lesion`` for all that sounds like tumour, else the value, as ``ribbon``: what pipelines
    call masks may be of anything.

    Args:
        text: a file's name without suffixes.
        speaks: tells whether an entity's value says something of the sequence; then the value stays.
        is_mask: the name ends with what a mask is called.
    """
    if not text.lower().startswith("sub-"):
        return text

    def spoken(match: re.Match[str]) -> str:
        key, value = match["key"].lower(), match["value"].lower()
        if is_mask:
            if key not in _OF_WHAT:
                return ""
            return "_lesion" if _TUMOUR.fullmatch(value) else f"_{value}"
        if key == "ce":  # whatever the agent is called
            return "" if value in ("none", "no") else "_ce"
        if speaks(value):
            return f"_{value}"
        return "_post" if key == "acq" and _ENHANCED.fullmatch(value) else ""

    return _ENTITY.sub(spoken, text)
