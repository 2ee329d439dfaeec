"""What its arguments make of a call: texts that are looked up, addresses, downloads, switches that make it unsafe."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from lgg_monai.sharing.inspect import policy
from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.names import Names, Remark, grade_target, keyword_grade
from lgg_monai.sharing.inspect.policy import D, E, N
from lgg_monai.sharing.inspect.resolve import Resolver

ALL_BUILTINS = set(dir(builtins))
# A dotted name that is no file's.
_FILES = "nii|gz|dcm|png|jpg|tif|tiff|npy|npz|mha|nrrd|json|csv|txt|pt"
_DOTTED_CALL = re.compile(rf"(?!.*\.(?:{_FILES})$)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_OF_VALUES = re.compile(r"\{[^}]*[.\[]")  # '{0.x}' of str.format


def is_made_safe(name: str, call: ast.Call | None) -> bool:
    """Whether a function that is dangerous otherwise is called with the argument that makes it safe."""
    word, value = policy.SAFE_WITH.get(name, ("", None))
    return any(
        one.arg == word and isinstance(one.value, ast.Constant) and one.value.value is value
        for one in (call.keywords if call else [])
    )


def call_remarks(name: str, call: ast.Call | None, line: int, resolver: Resolver, script: bool) -> Iterator[Remark]:
    """Remark on a known function or class by how it is called.

    Args:
        name: its dotted name.
        call: None where it is only mentioned, and so may be called with anything.
        line: where that is.
        resolver: follows dotted names.
        script: whether that is in a script and not in an expression.
    """
    arguments, keywords = (call.args, call.keywords) if call else ([], [])
    unpacked = any(isinstance(one, ast.Starred) for one in arguments)
    alone = len(arguments) == 1 and not keywords and not unpacked
    if not alone and resolver.definition(name)[0] in policy.SAFE_ALONE:
        yield Remark(line, name, D, f"{name}: with more than one argument, it reaches what a text names")
    if name.endswith("init_process_group"):
        named = any(word.arg in ("init_method", "store", None) for word in keywords)
        if len(arguments) > 1 or unpacked or named or not (call or script):
            yield Remark(line, name, D, "connects to an address of the bundle's choice")
    if name.startswith(policy.MAY_DOWNLOAD) and any(isinstance(a, ast.Constant) and a.value is True for a in arguments):
        yield Remark(line, name, N, "True by its position, which tells some networks to download weights")
    last = name.split(".")[-1]
    if last in policy.DOWNLOADS and not any(word.arg == "pretrained" for word in keywords):
        yield Remark(line, name, N, f"{name}: downloads weights unless pretrained is false")
    if last in policy.UNPICKLES_BEHIND and (unpacked or len(arguments) > policy.UNPICKLES_BEHIND[last]):
        yield Remark(line, name, D, f"{name}: an argument by its position may let it unpickle whatever a file holds")
    elif last in policy.UNPICKLES_BEHIND and not call:
        yield Remark(line, name, N, f"{name}: may be called with an argument that lets it unpickle")
    if last in policy.LOOKS_UP:
        for text in (text for argument in arguments for text in _texts(argument)):
            if text in ALL_BUILTINS or _DOTTED_CALL.fullmatch(text):
                grade, reason = grade_target(text, resolver)
                yield Remark(line, repr(text), grade, f"{name} looks it up and calls it: {reason}")
        if not call or not all(map(_is_plain, [*arguments, *keywords])):
            yield Remark(line, name, N if script else D, f"{name}: looks up and calls what a computed text names")


def keyword_remarks(call: ast.Call, resolver: Resolver, script: bool) -> Iterator[Remark]:
    """Remark on the arguments that a call names, whatever it calls."""
    for word in _unpacked(call.keywords):
        line, value = word.value.lineno, word.value.value if isinstance(word.value, ast.Constant) else None
        if word.arg is None and not script:
            yield Remark(line, "**", N, "arguments whose names are computed")
        yield Remark(line, f"{word.arg}=", *keyword_grade(word.arg, value))
        if word.arg in policy.LOOKED_UP and isinstance(value, str):
            yield Remark(line, f"{word.arg}=", *grade_target(value, resolver))


def harmless_types(tree: ast.AST, names: Names) -> set[int]:
    """Ids of the nodes in a script where the class of a value is only named, shown or compared, and so not called."""
    own = {"__eq__", "__ne__", "__contains__"}.intersection(names.attributes)  # which would be handed the class
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=inner, attr="__name__" | "__qualname__" | "__module__"):
                found.append(inner)
            case ast.FormattedValue(value=inner):
                found.append(inner)
            case ast.Compare(left=inner, comparators=others) if not own:
                found += [inner, *others]
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "print" | "repr" | "str" as name), args=inner):
                found += inner if name not in {*names.local, *names.aliases} else []
            case ast.ClassDef(bases=inner):
                found += [one for one in inner if isinstance(one, ast.Name)]
            case ast.arg(annotation=inner) | ast.AnnAssign(annotation=inner) if inner is not None:
                found += _plain_annotation(inner, names)
            case ast.FunctionDef(returns=inner) | ast.AsyncFunctionDef(returns=inner) if inner is not None:
                found += _plain_annotation(inner, names)
    found += [one for node in found if isinstance(node, ast.Tuple) for one in node.elts]
    return {id(node) for node in found}


def _plain_annotation(annotation: ast.expr, names: Names) -> list[ast.AST]:
    """The nodes of an annotation, unless something of the bundle's own may be handed a part of it."""
    inside = list(ast.walk(annotation))
    for node in inside:
        origins = names.aliases.get(node.id, ()) if isinstance(node, ast.Name) else ()
        own = (isinstance(node, ast.Name) and node.id in names.local) or any(map(names.resolver.is_own, origins))
        if not names.lazy and (own or isinstance(node, ast.Call)):
            return []
    return inside


def grade_replace(call: ast.Call | None) -> Grade:
    """Grade a method of that name: a text's has two arguments, a date's has names, and a path's moves a file."""
    match call:
        case ast.Call(args=[_, _, *_] as given) if not any(isinstance(one, ast.Starred) for one in given):
            return E
        case ast.Call(args=[], keywords=[_, *_] as given) if not {None, "target"}.intersection(w.arg for w in given):
            return E
    return D


def grade_eval_or_format(call: ast.Call | None) -> Grade:
    """Grade a method of that name: network.eval() has no arguments, what evaluates text has; a format may reach in."""
    match call:
        case ast.Call(func=ast.Attribute(attr="eval"), args=[], keywords=[]):
            return E
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=text))):
            return D if _OF_VALUES.search(str(text)) else E
    return D


def _unpacked(keywords: list[ast.keyword]) -> list[ast.keyword]:
    """The keywords of a call, those among them that are unpacked from a dictionary that stands there by their names."""
    found = []
    for word in keywords:
        if word.arg is not None or not isinstance(word.value, ast.Dict):
            found.append(word)
            continue
        for key, value in zip(word.value.keys, word.value.values, strict=True):
            name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
            found.append(ast.copy_location(ast.keyword(name, value), value))
    return found


def _is_plain(node: ast.AST) -> bool:
    """Whether an argument is there to be read: a literal, or the dotted name of something."""
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts=inner) | ast.List(elts=inner):
            return all(map(_is_plain, inner))
        case ast.Attribute(value=inner) | ast.keyword(arg=str(), value=inner):
            return _is_plain(inner)
        case ast.Name(id=name):
            return name in ("monai", "torch", "np", "numpy")
    return False


def _texts(node: ast.AST) -> list[str]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
