"""What a cached result depends on, as text: files by size and times, transforms by settings and code."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

# What the pixels of a cached volume go through besides the transforms' own code.
PACKAGES = ("monai", "torch", "numpy", "nibabel", "pillow")
# What MONAI writes an `@id` of an expression as: __local_refs['id'].
REFERENCES = "__local_refs"


def files_state(paths: Sequence[Path]) -> str | None:
    """Identify files by name, size and times, those of a folder one by one; pixels are not read.

    The time of change, which no program can set, tells a file that was replaced by an older one of the same size.

    Returns:
        A hash, or None where a path does not exist.
    """
    lines = []
    try:
        for path in sorted(set(paths)):
            members = sorted(os.scandir(path), key=lambda member: member.name) if path.is_dir() else [path]
            for member in members:
                state = member.stat()
                lines.append(f"{member.name} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}")
    except OSError:
        return None
    return short_hash("\n".join(lines))


def code_state(*settings: Any) -> str:
    """Identify objects by their types, their attributes, and the source files that define their types.

    A setting that is changed, an edited transform or another version of MONAI so gives another hash; so does another
    value of what an expression of a config refers to, and an edited module that it names.
    """
    modules: set[str] = set()
    described = [_describe(value, modules, ()) for value in settings]
    sources = [f"{name} {_source_hash(name)}" for name in sorted(modules)]
    return short_hash("\n".join([*described, *sources, *(f"{name} {version(name)}" for name in PACKAGES)]))


def short_hash(text: str) -> str:
    """Hash a text to 32 hexadecimal digits; names of files in it need be no text (``surrogateescape``)."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def _describe(value: Any, modules: set[str], inside: tuple[int, ...]) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Path | torch.dtype):
        return repr(value)
    if isinstance(value, np.ndarray | torch.Tensor):
        array = np.asarray(value)
        return f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, type):
        return _name(value, modules)
    if id(value) in inside:
        return "itself"
    inside = (*inside, id(value))
    if isinstance(value, Mapping):
        return str({str(key): _describe(item, modules, inside) for key, item in sorted(value.items(), key=str)})
    if isinstance(value, Set):  # their order differs from process to process
        return str(sorted(_describe(item, modules, inside) for item in value))
    if isinstance(value, Sequence):
        return str([_describe(item, modules, inside) for item in value])
    if isinstance(value, functools.partial):
        return _describe(["partial", value.func, value.args, value.keywords], modules, inside)
    if isinstance(value, FunctionType):  # of a lambda, neither name nor file says which
        caught = [cell.cell_contents for cell in value.__closure__ or ()]
        described = _describe([value.__defaults__, value.__kwdefaults__, caught], modules, inside)
        used = _used(value, modules)
        described += _describe(used, modules, inside) if used else ""
        return f"{_name(value, modules)} {_code(value.__code__)} {described}"
    attributes = {name: item for name, item in getattr(value, "__dict__", {}).items() if not name.startswith("__")}
    return f"{_name(type(value), modules)} {_describe(attributes, modules, inside)}"


def _used(function: FunctionType, modules: set[str]) -> dict[str, Any]:
    """Return what a function of a config looks up outside itself, by name; modules are added to ``modules``.

    For a function that a file defines, that file's content stands, as for a transform.
    """
    if _source_hash(str(function.__module__)):
        return {}
    codes = [function.__code__]
    for code in codes:  # those of inner functions are appended while it runs
        codes += [item for item in code.co_consts if isinstance(item, CodeType)]
    names = {name for code in codes for name in code.co_names}
    found = {name: item for name, item in function.__globals__.items() if name in names and name != REFERENCES}
    if REFERENCES in names:  # it holds the whole config: only what this function names
        ids = {item for code in codes for item in code.co_consts if isinstance(item, str)}
        found |= {f"@{key}": item for key, item in function.__globals__.get(REFERENCES, {}).items() if key in ids}
    for item in found.values():
        if isinstance(item, ModuleType):
            _add_module(item, names, modules)
    return {name: item for name, item in found.items() if not isinstance(item, ModuleType)}


def _add_module(module: ModuleType, names: set[str], modules: set[str]) -> None:
    """Add a module and those of it that a function names; of ``PACKAGES`` the version says it all."""
    if module.__name__ in modules or module.__name__.split(".")[0] in PACKAGES:
        return
    modules.add(module.__name__)
    for name in names:
        member = getattr(module, name, None)
        if isinstance(member, ModuleType):
            _add_module(member, names, modules)
        elif isinstance(member, FunctionType | type):  # may be defined elsewhere
            modules.add(str(member.__module__))


def _code(code: CodeType) -> str:
    constants = [_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names}"


def _name(definition: type | Callable, modules: set[str]) -> str:
    module = str(definition.__module__)
    modules.add(module)
    return f"{module}.{getattr(definition, '__qualname__', '')}"


def _source_hash(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
