"""Grades everything in a config that MONAI would act upon."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from lgg_monai.sharing.inspect import policy
from lgg_monai.sharing.inspect.configs import Item
from lgg_monai.sharing.inspect.context import (
    LONGEST_EXPRESSION,
    LONGEST_MACRO,
    Context,
    Place,
    import_of,
    is_manifest,
    made_absolute,
    places,
)
from lgg_monai.sharing.inspect.expressions import CodeGrader
from lgg_monai.sharing.inspect.findings import Finding, Grade, shown
from lgg_monai.sharing.inspect.imports import import_remarks
from lgg_monai.sharing.inspect.names import Names, Remark, grade_target, keyword_grade, named_by_text, odd_names, worst
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.references import (
    SEPARATOR,
    absolute,
    and_above,
    any_index,
    canonical,
    code,
    is_relative,
    macro,
    normalised,
    references,
)
from lgg_monai.sharing.inspect.sources import PARSE_ERRORS, parsed

MOST_TEXTS = 100  # that one id may stand for
_OLD_REFERENCE = re.compile(r"@(?:\w*)(?:(?:#|::)\w*)*")
# One power at most, and of less than four digits: MONAI computes it.
_ARITHMETIC = re.compile(r"(?!.*\*\*.*(?:\*\*|\d{4}))[0-9np*+/ ()-]{1,40}")


def grade_config(file: str, root: Item, context: Context) -> list[Finding]:
    """Grade a config: expressions, targets, imports, requirements, macros, paths, and how it is written."""
    findings: list[Finding] = []
    about = PurePosixPath(file).stem in ("metadata", "large_files") or is_manifest(file, root)
    for place in places(file, root):
        line = place.item.line
        for noted, text, dangerous in place.item.notes:
            findings.append(Finding(file, noted, "syntax", text, D if dangerous else N, "not needed in a config"))
        if place.item.shared and context.changes:
            reason = "other keys may change it in all places where it stands"
            findings.append(Finding(file, line, "syntax", "alias", D, reason))
        if place.item.kind == "map":
            for key, value in place.item.pairs:
                findings.extend(_special(file, place, key, value, context))
        if place.item.kind != "text":
            continue
        kind, grade, reason = _text(place, context, about)
        if kind:
            findings.append(Finding(file, line, kind, shown(place.item.text), grade, reason))
    return findings


def _special(file: str, place: Place, key: Item, value: Item, context: Context) -> Iterator[Finding]:
    """Findings about a key that MONAI gives a meaning to; a key `a::b` sets `b` of `a`."""
    name = re.split("::|#", key.text)[-1].removeprefix("+")
    texts = [value] if value.kind != "list" else value.items
    if name in policy.LOOKED_UP:
        for one in texts:
            if one.kind == "text":
                kind = "target" if name == "_target_" else "name"
                verdict = _target(one.text, context)
                last = one.text.split(".")[-1]
                if verdict[0] == N and last in policy.WRITES_TEXT:
                    verdict = E, "writes into the file that it names, which is graded by itself"
                if verdict[0] == E and last in policy.DOWNLOADS and place.item.get("pretrained") is None:
                    verdict = N, "downloads weights unless pretrained is false"
                yield Finding(file, one.line, kind, f"{name}: {shown(one.text)}", *verdict)
            elif name == "_target_":
                yield Finding(file, one.line, "target", f"{name}: ({one.kind})", D, "not the name of anything")
    if name == "_requires_":
        for one in texts:
            yield Finding(file, one.line, "requires", f"{name}: {shown(one.text)}", E, "graded where it is defined")
    if name == "_mode_":
        # Another key or file may say what it is of.
        of = canonical(f"{place.id}{SEPARATOR}{key.text.removeprefix('+')}").removeprefix(SEPARATOR)
        targets = context.texts.get(any_index(of.removesuffix("_mode_") + "_target_"), {""})
        known = len(targets) <= MOST_TEXTS and policy.DEPENDS.isdisjoint(one.split(".")[-1] for one in targets)
        plain = value.text == "default" or (value.text == "callable" and known and "" not in targets)
        reason = "calls, or hands on what it would call"
        reason = (
            reason if plain else "opens the debugger, is computed, or hands on what calls anything that a text names"
        )
        yield Finding(file, value.line, "mode", f"{name}: {shown(value.text)}", E if plain else D, reason)
    checkpoint = name.endswith("_filename")  # as CheckpointSaver has them: what it writes is no text
    if (checkpoint or name in ("filename", "mapping_file_path")) and value.kind == "text":
        again = re.split(r"[/\\]", value.text)[-1] in context.configs
        grade = D if again or policy.PROGRAM_FILE.fullmatch(value.text) else N
        if (again or not policy.DATA_FILE.fullmatch(value.text)) and (
            not checkpoint or (grade == D and not value.text.lower().endswith(".pth"))
        ):
            text = f"{name}: {shown(value.text)}"
            yield Finding(file, value.line, "file", text, grade, "a program may read what it names")
    grade, reason = keyword_grade(name, value.plain())
    if grade != E:
        yield Finding(file, value.line, "argument", f"{name}: {shown(value.text)}", grade, reason)
    if name == "spatial_shape":
        for one in texts:
            if one.kind == "text" and not _ARITHMETIC.fullmatch(one.text):
                yield Finding(
                    file, one.line, "shape", shown(one.text), D, "MONAI evaluates it: more than n, p and numbers"
                )


def _target(text: str, context: Context) -> tuple[Grade, str]:
    """Grade a text that MONAI looks up and calls; one that is computed hides what it names."""
    if text.startswith("$"):
        chain = re.fullmatch(r"\$\s*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\s*", text)
        root = text[1:].strip().split(".")[0]
        if chain and root in context.names.aliases:
            return E, "graded as the expression that it is"
        return D, "names what it calls only when it runs"
    if text.startswith("@"):
        found = context.texts.get(any_index(normalised(text)[1:]), set())
        if 0 < len(found) <= MOST_TEXTS and not any(one[:1] in "$@%" for one in found):
            return max(grade_target(one, context.names.resolver) for one in found)
        return D, "names what it calls only when it runs"
    if text.startswith("%"):
        return D, "names what it calls elsewhere"
    return grade_target(text, context.names.resolver)


def _text(place: Place, context: Context, about: bool) -> tuple[str, Grade, str]:
    """The kind, grade and reason of a text; without kind where MONAI does nothing with it."""
    text = place.item.text
    if is_relative(text) and context.odd_keys and text[:1] in "$%@":
        return "reference", D, f"relative, in a bundle with the key {shown(context.odd_keys[0], 40)} that it may insert"
    if is_relative(text) and text[:1] in "$%@" and _is_copied(place, context):
        return "reference", D, "relative, in a part that a macro copies to where it means something else"
    if text.startswith("$"):
        return _expression(text, place.id, context)
    if text.startswith("%"):
        return "macro", *_macro(text, place.id, context)
    if place.key != "_requires_" and any(map(context.names.reaches_module, references(made_absolute(text, place.id)))):
        return "reference", D, "hands on imported modules, which hides their names"
    grade, reason = named_by_text(text, context.names.resolver)
    if grade != E and place.key not in policy.LOOKED_UP:
        return "text", grade, reason
    if policy.OUTSIDE.fullmatch(text):
        return "path", N, "a path outside the bundle"
    if policy.ADDRESS.fullmatch(text) and not about:
        return "address", N, "an address: something may be fetched from it or sent to it"
    return "", E, ""


def _is_copied(place: Place, context: Context) -> bool:
    around = [any_index(one) for one in and_above(place.id)]
    return any((file, one) in context.copied for file in ("", place.file) for one in around)


def _macro(text: str, here: str, context: Context) -> tuple[Grade, str]:
    if len(text) > LONGEST_MACRO:
        return D, f"longer than the {LONGEST_MACRO} characters that are looked through"
    try:
        path, _ = macro(absolute(text, here))
    except ValueError as error:
        return D, str(error)
    if not path:
        return E, "another part of the config"
    if path in context.paths:
        return E, "another config of the bundle"
    return D, "a config that is not in the bundle: it could hold anything"


def _expression(text: str, here: str, context: Context) -> tuple[str, Grade, str]:
    if len(text) > LONGEST_EXPRESSION:
        return "expression", D, f"longer than the {LONGEST_EXPRESSION} characters that are looked through"
    try:
        variants = {code(absolute(text, here))}
    except ValueError as error:
        return "expression", D, str(error)
    if "#" in text:  # before MONAI 1.3, only `#` separated ids, and the rest of it were comments
        variants.add(
            _OLD_REFERENCE.sub(lambda match: f"__local_refs['{match.group()[1:].replace('#', '::')}']", text)[1:]
        )
    kind, remarks = "expression", []
    for variant in sorted(variants):
        found, more = grade_code(variant, context.names)
        kind = found if found == "import" else kind
        remarks += more
    return kind, *worst(remarks, "plain, or of MONAI, PyTorch, NumPy or Ignite")


def grade_code(text: str, names: Names) -> tuple[str, list[Remark]]:
    """Grade the text of one expression or import statement; the kind is expression or import."""
    odd = odd_names(text)
    statement = import_of(text)
    if statement is not None:
        if len(ast.parse(text).body) > 1:
            odd.append(Remark(1, text, D, "more than an import statement"))
        if isinstance(statement, ast.Import) and any(alias.name.split(".")[0] == "sys" for alias in statement.names):
            # MONAI keeps what is imported under an id, by which other parts of a config reach all of sys.
            odd.append(Remark(1, text, D, "hands on sys, which holds every module: import what is used of it"))
        return "import", odd + import_remarks(statement, names.resolver, None, False)
    try:
        tree = parsed(text, "eval")
    except PARSE_ERRORS as error:
        return "expression", [
            *odd,
            Remark(1, text, D, f"not a Python expression, so it cannot be inspected ({type(error).__name__})"),
        ]
    return "expression", odd + CodeGrader(names).grade(tree)
