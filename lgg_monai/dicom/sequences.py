"""Telling FLAIR and T1 with and without contrast from everything else, by a series' description and parameters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from pydicom import Dataset, uid

from lgg_monai.dicom.headers import Series
from lgg_monai.dicom.tags import number, text, values

MR_CLASSES = (uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage)


@dataclass(frozen=True)
class Kind:
    """What a series is.

    Args:
        sequence: ``flair``, ``pre`` or ``post``; None for anything else.
        reason: why it is not used, to follow "is"; empty where it may be.
        usable: False where not even the user's word makes it an MR volume.
    """

    sequence: str | None
    reason: str = ""
    usable: bool = True


# Matched against descriptions in lower case whose separators have become single blanks: " ax t2 flair +c ".
_FLAIR = re.compile(r"flair|dark ?fluid|(?<![a-z0-9])da fl(?![a-z0-9])|fluid att")
_T1 = re.compile(r"(?<![a-z0-9])(s|[23]d)?t1(?![0-9])|mp ?rage|bravo|spgr")
_T2 = re.compile(r"(?<![a-z0-9])(s|[23]d)?t2(?![0-9])")
_OPERATION = re.compile(
    r" (pre|post|vor|nach|avant|apres|before|after) ?(op\w*|surg\w*|rt|xrt|radio\w*|radiat\w*|chemo\w*"
    r"|treat\w*|therap\w*|process\w*)(?= )"
)
_NO = "no|non|w ?o|without|ohne|sans|sin|senza|sem|zonder|bez|utan|uden|uten"
_NOT_OF_CONTRAST = re.compile(rf" ({_NO}) ?(fs|fat( ?(sat|sup)\w*)?|gap|angle\w*|dist\w*|motion)(?= )")
_WITHOUT = re.compile(
    rf" (pre|{_NO}|s c|vor|avant|antes|before|voor(?= (contrast|gado?|gd|km))|przed|prije|nativ\w*"
    r"|unenh\w*|non(enh|con)\w*|pre ?(contrast|gado?|gd)|kontrastsiz|oncesi|nelkul|minus (contrast|c|gado?|gd|km)) "
)
_AGENTS = "dotarem|clariscan|magnevist|multihance|omniscan|prohance|primovist|eovist|vueway|elucirem|optimark"
_WITH = re.compile(
    rf" (post|\+|c\+|c|ce|gd|gad|gado\w*|contrast[eo]?|kontras\w*|enh\w*|km|mdc|civ|inj(ect\w*)?|{_AGENTS}"
    r"|(s|[23]d)?t1(w)?(c|ce|gd|post)"
    r"|post ?(contraste?|gado?|gd|km))\+?(?= )"
)
_LOCALIZER = re.compile(
    r" (loc|locali[sz]er|localizador|scout|aahscout|aahead|survey|3 ?pl|3 ?plane|plan|smartbrain|pilot) "
)
_DERIVED = re.compile(
    r" (adc|eadc|dwi|dti|trace|tracew|b ?1?[05]00|perf|perfusion|pwi|dsc|dce|asl|p?casl|r?cb[fv]|mtt|ttp|tmax|ktrans"
    r"|swi|swan|mip|minip|phase|fieldmap|bold|fmri|mrs|csi|tof|mra|mrv|subs?|subtr\w*|minus (pre|nativ\w*)|maps?"
    r"|screen|mask|seg\w*) "
)
_DERIVED_TYPES = {
    *("ADC", "FA", "DIFFUSION", "PERFUSION", "PROJECTION IMAGE"),
    *("MIP", "MNIP", "SUBTRACT", "T1 MAP", "MASK"),
}
_HEAD = re.compile(
    r"head|brain|skull|cran|neuro|cereb|kopf|schae?del|hirn|gehirn|tete|cerveau|encephal|cabeza|hypoph|pituit"
)
_BODY = re.compile(
    r" ([ctl] ?spine|spine|cspine|neck|chest|thorax|lung|heart|cardiac|abdomen|liver|kidney|pancreas|pelvis|prostate"
    r"|breast|hip|knee|leg|foot|ankle|shoulder|arm|elbow|wrist|hand|extremity|whole ?body|cervical|thoracic|lumbar"
    r"|uterus|rectum|bladder|aorta) "
)
_NO_AGENT = re.compile(r"((no|none|non|n|na|without|ohne|nil)( .*)?|0( 0+)?( (ml|cc)( .*)?)?)?")


def kind_of(series: Series) -> Kind:
    """Tell what a series is, in words that do not name the patient."""
    return kind_of_header(series.header, series.identity.hide)


def kind_of_header(header: Dataset, hide: Callable[[str], str] = str) -> Kind:
    """Tell what a series is: by what its tags rule out, then by its description, then by its timing.

    Args:
        header: of its first image.
        hide: takes the patient's name out of a text.
    """
    modality = text(header, "Modality").upper()
    if modality not in ("MR", ""):
        return Kind(None, f"{modality}, not MR", usable=False)
    if header.SOPClassUID not in MR_CLASSES:
        return Kind(None, f"{_class_name(header)}, no MR image", usable=False)
    if (number(header, "SamplesPerPixel") or 1) != 1 or text(header, "PhotometricInterpretation") != "MONOCHROME2":
        return Kind(None, "a colour or inverted picture, not an acquired image", usable=False)
    # Only the classes for many frames say where each one lies.
    if header.SOPClassUID == uid.MRImageStorage and (number(header, "NumberOfFrames") or 1) > 1:
        return Kind(None, "a file of many frames that does not say where they lie", usable=False)
    types = set(values(header, "ImageType"))
    if "MOSAIC" in types:
        return Kind(None, "a mosaic of many slices in one picture", usable=False)
    name, protocol = _plain(text(header, "SeriesDescription")), _plain(text(header, "ProtocolName"))
    part = text(header, "BodyPartExamined")
    if "LOCALIZER" in types or _LOCALIZER.search(name):
        return Kind(None, "a localizer")
    if part and _BODY.search(_plain(part)) and not _HEAD.search(part.lower()):
        return Kind(None, f"of another body part ({hide(part)})")
    for words in (name, _plain(text(header, "StudyDescription"))):
        if _BODY.search(words) and not _HEAD.search(words):
            return Kind(None, "of another body part by its description")
    # Without operations, as "post-pre op" is no subtraction.
    if types & _DERIVED_TYPES or _DERIVED.search(_OPERATION.sub(" ", name)):
        return Kind(None, "a derived map or a special technique")
    for words in (name, protocol):
        sequence = _by_words(words, header)
        if sequence == "t2":
            # Siemens' t2_tirm with a long inversion time is FLAIR; double inversion (DIR) has one too.
            if _by_timing(header) == "flair" and " dir " not in name:
                return Kind("flair")
            return Kind(None, "another sequence (T2)")
        if sequence:
            return Kind(sequence)
    sequence = _by_timing(header)
    if sequence == "t1":
        sequence = _contrast(name, header)
    return Kind(sequence) if sequence else Kind(None, "another sequence, or one that its tags do not tell")


def is_enhanced(series: Series) -> bool:
    """Tell whether a series was acquired after contrast was given, by its description, then by the agent."""
    return _contrast(_plain(series.description), series.header) == "post"


def _by_words(words: str, header: Dataset) -> str | None:
    t1, t2 = _T1.search(words), _T2.search(words)
    if _FLAIR.search(words):
        echo = number(header, "EchoTime")
        # "T1 FLAIR" is T1 weighted, and a FLAIR without a weight in its name is so where its echo is short.
        if t2 or not (t1 or (echo is not None and 0 < echo < 50)):
            return "flair"
        return _contrast(words, header)
    if t1:
        return _contrast(words, header)
    return "t2" if t2 else None


def _by_timing(header: Dataset) -> str | None:
    """Tell ``flair`` or ``t1`` from milliseconds, where no word does."""
    echo, repetition, inversion = (number(header, tag) or 0 for tag in ("EchoTime", "RepetitionTime", "InversionTime"))
    if inversion >= 1500 and echo >= 60:
        return "flair"
    spin_echo = "SE" in values(header, "ScanningSequence") and not inversion
    if spin_echo and 0 < echo <= 30 and 0 < repetition <= 1200:
        return "t1"
    if 500 <= inversion <= 1400 and 0 < echo <= 15:
        return "t1"
    return None


def _contrast(words: str, header: Dataset) -> str:
    """Tell ``pre`` from ``post``: by words, which a person wrote, then by the agent, which is often a default."""
    words = _NOT_OF_CONTRAST.sub(" ", _OPERATION.sub(" ", words))
    if _WITHOUT.search(words):
        return "pre"
    if _WITH.search(words):
        return "post"
    agent = _plain(text(header, "ContrastBolusAgent")).strip()
    return "post" if not _NO_AGENT.fullmatch(agent) or header.get("ContrastBolusAgentSequence") else "pre"


def _plain(words: str) -> str:
    """Lower case without accents, separators as single blanks, a plus apart from what it precedes, minus as a word."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter))
    lowered = re.sub(r"\+(?=[a-z])", "+ ", letters.lower())
    # A hyphen between words, as in Gd-DTPA and T1-C, is no minus.
    lowered = re.sub(r"(?<![a-z0-9])(t1w?)?(c|gd|gado?|km)-(?![a-z0-9])", r"\1 without ", lowered)
    lowered = re.sub(r"(?<![a-z0-9])post ?- ?pre(?![a-z0-9])", "post minus pre", lowered)
    lowered = re.sub(r"(?<![a-z0-9+/])-(c|gd|km)(?![a-z0-9+])", " without ", lowered)
    return f" {re.sub(r'[^a-z0-9+]+', ' ', lowered).strip()} "


def _class_name(header: Dataset) -> str:
    name = uid.UID(text(header, "SOPClassUID")).name
    return name.removesuffix(" Storage") if not name[:1].isdigit() else "of an unknown class"
