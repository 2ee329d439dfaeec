"""Which sequence a NIfTI file holds, and whose, told by its name."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lgg_monai.data.name_parts import without_entities, without_registration
from lgg_monai.data.people import NO_PERSON

NIFTI_SUFFIXES = (".nii.gz", ".nii")

LONGEST_NAME = 120
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?<>|\ud800-\udfff]")

Role = Literal["pre", "flair", "post", "mask", "other", "unknown"]

# Words that name a sequence wherever they stand in a file name.
_FLAIR = re.compile(r"(?!(3d)?t1w?flair)\w*flair\w*|t2f|tirm|darkfluid|da[_-]fl")
_T1_FLAIR = re.compile(r"(3d)?t1w?flair")
_T1 = re.compile(rf"t1(w|wi|n)?|st1w|mprage|t1mprage|bravo|f?spgr|{_T1_FLAIR.pattern}")
_T1_POST = re.compile(r"t1w?(c|ce|gd|gad|post|km|contrast)\+?|(c|ce|gd)t1w?")
_T1_PRE = re.compile(r"t1w?((c|gd|gado?|km)-|pre|nativ|native)")
_T2 = re.compile(
    r"t2(w|wi)?|pdw?|dwi|adc|swi|dti|fa|md|asl|cb[fv]|mtt|ttp|tmax|bold|tof|dsc|dce|perf(usion)?|phase|ct|probseg"
)
# Words that mean something only beside those, or at the end of a name: they may be part of a patient's name too.
_AGENT = r"contrast|gd|gad|gado|gadolinium|km"
_POST = re.compile(rf"post|(post)?({_AGENT})\+?|ce|c\+?|enhanced")
_PRE = re.compile(
    rf"(pre|non|no)({_AGENT})|(c|gd|gado?|km)-|pre|nativ|native|unenhanced|without|w[_-]?o|no|ohne|vor|sans|sin"
)
_JOIN = re.compile(r"with|w|mit|nach|con|avec")
_MASK = re.compile(
    r"(mask|seg|roi)\d*|masks|maske|dseg|segm|label|labels|segment(ations?|ierung)|gt|truth|groundtruth|manual"
    r"|(lesion|tumou?r)(mask)?|annotation|glistrboost|manuallycorrected"
)
_FINDING = re.compile(r"lesion|tumou?r")
_ORGAN = re.compile(r"brain|head|skull|wm|gm|csf|tissue|ventricles?|parenchyma|bet")
_BESIDE = re.compile(
    r"ax|axial|tra|transversal|sag|sagittal|cor|coronal|3d|2d|dark|fluid|space|tse|fse|mri|mr|image|img"
    r"|weighted|spc|cube|vista|vibe|blade|propeller|fat_?sat|brain"
)
# As scanners, and those who prepare scans, write them behind the sequence; before it they may be a patient's initials.
_TECHNIQUE = re.compile(
    rf"se|gre|tfe|ffe|f?spgr|mpr|fs|spir|spair|iso|p\d_iso|\d+mm|({_AGENT})\+?|bias|n4|bet|unstripped"
)
_WORD = re.compile(r"(?<![^\W_])((t1w?)?(c|gd|gado?|km)[+-]|w[_-]o|da[_-]fl|p\d_iso|fat_sat)(?![^\W_])|[^\W_]+", re.I)
# Whom BIDS says was scanned, and when, which is nothing of a sequence: ses-post is not after contrast.
_SUBJECT = re.compile(r"sub-[a-z0-9+]+(_ses-[a-z0-9+]+)?(?=_)", re.I)
# Of contrast only behind T1 or before another such word; just before T1 they may be anything.
_BEHIND = re.compile(rf"c|sin|vor|{_JOIN.pattern}")
# By default, dcm2niix ends names with the study's time, which its series share, and the number of each.
_SERIES_NUMBER = re.compile(r"(?<=_\d{14})_\d+[a-z]?$")
# CaPTk's BraTS pipeline, which registers to the SRI24 atlas, calls FLAIR so. Elsewhere it may be somebody's initials.
_CAPTK_FLAIR = re.compile(r"(?<![^\W_])FL(?=_to_SRI(_|$))")
_NUMBER = re.compile(r"^\d+[_ -]+")  # before what a folder is named after


@dataclass(frozen=True)
class FileName:
    """What a file's name says.

    Args:
        role: the sequence; ``mask`` for a reference mask; ``other`` for what is not used; ``unknown``.
        patient: what is left of the name, which files of one patient share; may be empty.
        onto: the sequence that it was resampled onto by its name, such as ``flair``; else empty.
        t1_flair: it is a T1 though its name says FLAIR too.
    """

    role: Role
    patient: str
    onto: str = ""
    t1_flair: bool = False


def is_nifti(name: str) -> bool:
    """Tell by its name whether a file is NIfTI; hidden ones (as macOS leaves beside the real ones) are not."""
    return name.lower().endswith(NIFTI_SUFFIXES) and not name.startswith(".")


def stem(name: str) -> str:
    """Return a NIfTI file's name without its suffixes."""
    suffix = next((suffix for suffix in NIFTI_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def parse(name: str) -> FileName:
    """Tell role and patient from a file name such as ``sub-01_ce-gadolinium_T1w.nii.gz`` or ``BraTS_7_t1ce.nii``.

    A sequence's words are looked for from the end of the name, as patients' names come first, and those beside them
    (``post``, ``gd``, ``ax``) belong to them; what is left is the patient. What a scan was registered to
    (``t1_to_flair``, ``space-FLAIR``) is no sequence of it. ``T1_FLAIR`` is T1 weighted, as in DICOM's descriptions.
    """
    text = _CAPTK_FLAIR.sub("FLAIR", _SERIES_NUMBER.sub("", stem(name)))
    text, onto = without_registration(text, _names_something)
    text = without_entities(text, _speaks, bool(_MASK.fullmatch(text.rpartition("_")[2].lower())))
    behind = subject.end() if (subject := _SUBJECT.match(text)) else 0
    words = [(match.group().lower(), match.span()) for match in _WORD.finditer(text, behind)]
    last = len(words) - 1
    strong = [i for i, (word, _) in enumerate(words) if _is_strong(word)]
    flairs = [i for i in strong if _FLAIR.fullmatch(words[i][0])]
    if last >= 0 and _MASK.fullmatch(words[last][0]):
        core = last
    elif flairs:
        core = _t1_before([word for word, _ in words], flairs[-1])
    elif strong:
        core = strong[-1]
    elif last >= 0 and (_is_contrast(words[last][0]) or _T2.fullmatch(words[last][0])):
        core = last
    else:
        return FileName("unknown", stem(name))
    first, end = _extent([word for word, _ in words], core)
    used = [word for word, _ in words[first : end + 1]]
    rest = text[: words[first][1][0]].rstrip("_-. ") + text[words[end][1][1] :]
    role = _role(words[core][0], used)
    t1_flair = role in ("pre", "post") and any("flair" in word for word in used)
    return FileName(role, rest.strip("_-. "), onto, t1_flair)


def parse_folder(name: str) -> FileName:
    """Tell role and patient from a folder's name such as ``4_FLAIR``, ``masks`` or ``P01_T1ce``."""
    return parse(_NUMBER.sub("", name))


def is_of_masks(folder: str) -> bool:
    """Tell by its name alone whether a folder holds masks; ``tumour`` and ``lesion`` may be what its scans show."""
    parsed = parse_folder(folder)
    return parsed.role == "mask" and not parsed.patient and not _FINDING.fullmatch(folder.lower())


def folder_name(folder: Path) -> str:
    """Return the name of the patient in whose folder nameless files lie (``FLAIR.nii.gz``).

    A folder that says what lies in it or when, as in ``patient/mri`` or ``patient/ses-1/anat``, is named with those
    above, so that a scan's name does not depend on which folder of them was given to be searched, nor on what else.
    """
    folder = folder.absolute()
    parts = [folder.name]
    while NO_PERSON.fullmatch(folder.name) and folder.parent.name:
        folder = folder.parent
        parts.insert(0, folder.name)
    return "_".join(parts)


def composed(text: str) -> str:
    """Write letters with their accents as one character: what came by way of a Mac looks the same and has two."""
    return unicodedata.normalize("NFC", text)


def safe_name(text: str) -> str:
    """Return a text as a file name: blanks, quotes and letters of any script stay, separators do not."""
    name = _UNSAFE.sub("_", text).strip().strip(".") or "scan"
    while len(name.encode()) > LONGEST_NAME:
        name = name[:-1]
    return name


def _t1_before(words: list[str], flair: int) -> int:
    """Return where the T1 stands that a FLAIR's word belongs to (``T1_ax_FLAIR``), or of any other the word itself."""
    before = flair - 1
    while before >= 0 and any(pattern.fullmatch(words[before]) for pattern in (_BESIDE, _POST, _PRE)):
        before -= 1
    is_t1 = before >= 0 and any(pattern.fullmatch(words[before]) for pattern in (_T1, _T1_POST, _T1_PRE))
    return before if is_t1 else flair


def _extent(words: list[str], core: int) -> tuple[int, int]:
    """Return the first and the last of the words that belong to what one of them names."""
    named, first, end = words[core], core, core

    def belongs(word: str, enhanced: bool) -> bool:
        # Beside a T1 that says it is enhanced, pre is the time of the scan: before an operation.
        return _belongs(word, named) and not (enhanced and word == "pre")

    def is_technique(word: str) -> bool:
        return bool(_TECHNIQUE.fullmatch(word)) and not _MASK.fullmatch(named)

    while end + 1 < len(words) and (
        is_technique(words[end + 1]) or belongs(words[end + 1], bool(_T1_POST.fullmatch(named)))
    ):
        end += 1
    contrast = {_contrast_of(word) for word in words[core : end + 1]} - {""}
    enhanced = contrast == {"post"} and not _POST.fullmatch(named)
    while first > 0 and belongs(words[first - 1], enhanced):
        if first == core and _BEHIND.fullmatch(words[first - 1]):
            break
        first -= 1
    return first, end


def _role(core: str, used: list[str]) -> Role:
    if _MASK.fullmatch(core):
        # What BIDS calls dseg is tissue unless it says that it is tumour: fMRIPrep's sub-01_dseg.
        tissue = core == "dseg" and not any(word != core and _MASK.fullmatch(word) for word in used)
        return "other" if tissue or any(_ORGAN.fullmatch(word) for word in used) else "mask"
    if _FLAIR.fullmatch(core) or {"dark", "fluid"} <= set(used):
        return "flair"
    contrast = {_contrast_of(word) for word in used}
    if "pre" in contrast:
        return "pre"
    if "post" in contrast:
        return "post"
    return "pre" if _T1.fullmatch(core) else "other"


def _contrast_of(word: str) -> str:
    if _T1_PRE.fullmatch(word) or _PRE.fullmatch(word):
        return "pre"
    return "post" if _T1_POST.fullmatch(word) or _POST.fullmatch(word) else ""


def _is_strong(word: str) -> bool:
    if word in ("t2", "t2w", "t2wi"):
        return True
    return any(pattern.fullmatch(word) for pattern in (_FLAIR, _T1, _T1_POST, _T1_PRE))


def _names_something(text: str) -> bool:
    words = re.findall(r"[^\W_]+", text.lower())
    return any(map(_is_strong, words)) or bool(words and _MASK.fullmatch(words[-1]))


def _speaks(value: str) -> bool:
    """Tell whether a BIDS entity's value says something of the sequence, as post in ``acq-post_T1w`` does."""
    return any(pattern.fullmatch(value) for pattern in (_POST, _PRE))


def _is_contrast(word: str) -> bool:
    if word in ("c", "no", "wo", "without", "sin", "vor"):
        return False
    return bool(_POST.fullmatch(word) or _PRE.fullmatch(word))


def _belongs(word: str, core: str) -> bool:
    """Tell whether a word beside the core is part of what it names, rather than of the patient's name."""
    if _MASK.fullmatch(core):
        return _is_strong(word) or any(pattern.fullmatch(word) for pattern in (_MASK, _ORGAN, _BESIDE))
    if _FLAIR.fullmatch(core):
        return word in ("t2", "t2w") or bool(_BESIDE.fullmatch(word))
    patterns = (_T1, _T1_POST, _T1_PRE, _FLAIR, _POST, _PRE, _JOIN, _BESIDE)
    return any(pattern.fullmatch(word) for pattern in patterns)
