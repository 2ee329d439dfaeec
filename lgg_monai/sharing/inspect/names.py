"""Grades what code and configs name by text or by keyword, and what is said about it."""

from __future__ import annotations

import builtins
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from lgg_monai.sharing.inspect import attributes, policy
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.references import and_above
from lgg_monai.sharing.inspect.resolve import Resolver
from lgg_monai.sharing.inspect.sources import monai_components, package_root

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
# MONAI knows these in any case; the last three are libraries that read slides.
_READERS = {"itkreader", "nibabelreader", "numpyreader", "pilreader", "pydicomreader", "cucim", "openslide", "tifffile"}


@dataclass(frozen=True)
class Remark:
    """What is not simply expected about a piece of code."""

    line: int
    text: str
    grade: Grade
    reason: str


@dataclass
class Names:
    """What the names in a piece of code can mean.

    Attributes:
        resolver: follows dotted names.
        aliases: names that stand for modules or things from modules: every dotted name that they can mean.
        local: names that the code itself binds to values.
        attributes: attributes that the code itself defines.
        modules: ids of a config at or below which imported modules lie.
        holders: ids above those.
        script: whether the code is a script and not an expression.
        lazy: whether the script's annotations are not evaluated.
    """

    resolver: Resolver
    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    local: Collection[str] = field(default_factory=set)
    attributes: Collection[str] = field(default_factory=set)
    modules: Collection[str] = field(default_factory=set)
    holders: Collection[str] = field(default_factory=set)
    script: bool = False
    lazy: bool = False

    def reaches_module(self, place: str) -> bool:
        """Whether a reference to an id of a config hands on an imported module, or what holds one."""
        return place in self.holders or any(one in self.modules for one in and_above(place))


def keyword_grade(name: str | None, value: object) -> tuple[Grade, str]:
    """Grade an argument by its name and value: `weights_only=False` and the like."""
    dangerous, grade, reason = policy.ARGUMENTS.get(name or "", (None, E, ""))
    if grade == E:
        return E, ""
    # Only the harmless value itself is harmless: not 1, not a text, not something computed.
    return (E, "") if isinstance(value, bool) and value is not dangerous else (grade, f"{name}: {reason}")


def grade_target(name: str, resolver: Resolver) -> tuple[Grade, str]:
    """Grade the name of something that MONAI looks up and calls, as in `_target_`."""
    parts = [part for part in name.split(".") if part]
    if not name.isascii() or not parts or not all(part.isidentifier() for part in parts):
        return D, "not a plain dotted name"
    found = monai_components().get(name)
    candidates = [f"{module}.{name}" for module in found or ()]
    if not candidates and len(parts) == 1:
        harmless = name in attributes.BUILTINS or name.lower() in _READERS
        if harmless:
            return E, "built in"
        # As a class is written, so of another version of MONAI: here it leads to nothing.
        module = name in sys.stdlib_module_names or resolver.is_own(name) or package_root(name) is not None
        if name[0].isupper() and not module and not hasattr(builtins, name):
            return N, f"{name}: not in the installed MONAI, but perhaps in the one that the bundle is for"
        return D, f"{name}: neither of MONAI nor a harmless built-in"
    if parts[0] == "builtins" and len(parts) == 2 and parts[1] in attributes.BUILTINS:
        return E, "built in"
    wanted = candidates or [".".join(parts)]
    if policy.SAFE_ALONE.intersection(resolver.definition(one)[0] for one in wanted):
        return D, f"{name}: not with the arguments of a config"
    for one in wanted:
        origin = resolver.definition(one)[0]
        if resolver.is_module(origin):
            return D, f"{origin}: hands on a module, which hides the names of what is used of it"
    return max(map(resolver.grade, wanted))


def named_by_text(text: str, resolver: Resolver) -> tuple[Grade, str]:
    """Grade a text that names something by a dotted path, which code may look up and call."""
    if not _DOTTED.fullmatch(text):
        return E, ""
    root = text.split(".")[0]
    if (
        root in attributes.DANGEROUS_ATTRIBUTES | {"builtins", "posix", "nt", "operator"}
        or policy.graded(root) is not None
    ):
        grade, reason = resolver.grade(text)
        if grade == D:
            return D, f"text that names {reason}"
    return E, ""


def odd_names(text: str) -> list[Remark]:
    """Remark on identifiers beyond ASCII: Python reads many a look-alike letter as the plain one."""
    remarks = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and not token.string.isascii():
                remarks.append(Remark(token.start[0], token.string, D, "a name with letters that look like others"))
            elif token.type == tokenize.STRING and not token.string.isascii() and "f" in token.string[:2].lower():
                remarks.append(Remark(token.start[0], token.string, N, "a computed text with unusual characters"))
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        return [Remark(1, text, D, f"cannot be read as Python: {error}")] if not text.isascii() else []
    return remarks


def worst(remarks: Iterable[Remark], otherwise: str = "") -> tuple[Grade, str]:
    """The worst grade of some remarks, with the reasons for it."""
    found = list(remarks)
    grade = max((remark.grade for remark in found), default=E)
    reasons = dict.fromkeys(remark.reason for remark in found if remark.grade == grade)
    return grade, "; ".join(reasons) if grade != E else otherwise
