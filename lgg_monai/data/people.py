"""Who was scanned, told by the names of scans: what of a name is the person's, and what that of one of many scans."""

from __future__ import annotations

import re
import unicodedata

# Folders before a published name, which tell copies of a scan apart, are no part of the person; before BIDS's they may
# be: every set has a sub-01. Behind these names come a session, a date, an aliquot: nothing that is the person's.
_BIDS = re.compile(r"(?P<person>(.*_)?sub-[^_]+)_.+", re.I)
_BRATS = re.compile(r"(.*_)?(?P<person>BraTS-[a-z]+-\d{5})-\d{3}([-_. ].*)?", re.I)
_NUMBERED = re.compile(r"(.*_)?(?P<person>UPENN-GBM-\d{5}|RHUH-\d{4})_\d{1,2}", re.I)
PUBLISHED = "TCGA_"
"""What the names of the published patients begin with."""
# Kaggle's names of the people of the TCGA, and those of the archive, and of sets that were made of it.
_TCGA = re.compile(r"(.*_)?TCGA[-_](?P<site>[A-Z0-9]{2})[-_](?P<number>[A-Z0-9]{4})([-_. ].*)?", re.I)

# Words for the time of a scan, which come last as a rule, and first where folders were named after them.
_UNIT = r"(days?|weeks?|months?|mo|years?)"
_TIME = (
    r"(ses|session|run|visit|time|timepoint|tp|day|week|month|year|fup?|follow[-_ ]?up)[-_ ]?\d[\da-z-]*"
    rf"|ses(sion)?-[\da-z]+|\d{{1,3}}[-_ ]?{_UNIT}|baseline|follow[-_ ]?up|initial|prior|current|recurren(ce|t)"
    r"|(early[-_ ]?)?(pre|post|intra)[-_ ]?(op|operative|surgery|rt|treatment)"
)
_YEAR, _MONTH, _DAY = r"(19|20)\d\d", r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
# A number of eight digits may be the person's own, so without separators only the commonest order counts.
_DATES = [f"{_YEAR}{between}{_MONTH}{between}{_DAY}" for between in ("", "-", "[.]", "_")]
_DATES += [
    between.join(order) for between in ("-", "[.]", "_") for order in ((_DAY, _MONTH, _YEAR), (_MONTH, _DAY, _YEAR))
]
_CLOCK = r"([-_ T]?\d{6}|[-_ T]\d\d([-:._]\d\d){1,2}|T\d{4})"
_DATE = rf"({'|'.join(_DATES)}){_CLOCK}?"
# Of one letter, or a word that is part of many names, only behind a number, which is the person's: P01_T0, LGG-104_v2.
_BEHIND_NUMBER = r"(?<=\d)[-_. ]([vtmwdy]\d{1,3}|\d{1,3}[dwmy]|(scan|exam|mri?)[-_ ]?\d{1,3})"
# Folders in which somebody's files lie, and after which scans are named with those above.
_PLACE = r"mri?|anat|nifti|nii|images?|scans?|sequences|raw|brain|head"
_LAST = re.compile(rf"([-_. ]({_DATE}|{_TIME}|{_PLACE}|bl|fu|pre|post)|{_BEHIND_NUMBER})$", re.I)
_FIRST = re.compile(rf"^(({_TIME})_|[vtm]\d{{1,3}}_(?=[^\W\d_])|{_DATE}[-_. ](?=.*[^\W\d_]))", re.I)
NO_PERSON = re.compile(rf"{_PLACE}|{_DATE}|{_TIME}|[vtm]\d{{1,2}}|(scan|exam)[-_ ]?\d", re.I)
"""What a folder is called after what lies in it or when that was made, rather than after whom."""


def person_of(name: str) -> str:
    """Give what is the same in the names of all scans of one person, in capitals and without accents.

    See :func:`without_scan`. Case and accents are no part of it, as a name is typed anew for each scan.
    """
    letters = unicodedata.normalize("NFD", without_scan(name).upper())
    return unicodedata.normalize("NFC", re.sub("(?<=[A-Z])[\u0300-\u036f]+", "", letters))


def without_scan(name: str) -> str:
    """Give a scan's name without what tells it from other scans of the same person, such as date or session.

    Known are dates (``_20010131``, ``_31.01.2001``), with a time of day too, BIDS (``sub-01_ses-2``), BraTS
    (``BraTS-GLI-00005-101``), UPENN-GBM (``UPENN-GBM-00001_11``), RHUH-GBM (``RHUH-0001_0``), words for times such as
    ``_FU007d``, ``_week-12``, ``_Timepoint_2`` or ``_baseline``, and behind a number letters for them, ``P01_T0`` or
    ``P01_v2``. ``TCGA-CS-4941`` is ``TCGA_CS_4941``, as weights that learnt from Kaggle's copy of a scan know it. Where
    a name may be understood in two ways, that counts by which more scans are of one person: that leaks nothing.
    """
    for pattern in (_BIDS, _BRATS, _NUMBERED):
        if match := pattern.fullmatch(name):
            name = match["person"]
    for pattern in (_LAST, _FIRST):
        while (shorter := pattern.sub("", name)) not in ("", name):
            name = shorter
    if match := _TCGA.fullmatch(name):
        return f"TCGA_{match['site']}_{match['number']}".upper()
    return name


def scans_of(people: int) -> str:
    """Say that there are fewer people than scans, for where both are told."""
    return f"scans of {people} {'person' if people == 1 else 'people'} by their names"
