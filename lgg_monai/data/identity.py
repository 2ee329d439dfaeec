"""What a cached result depends on, as text: files by size and times, transforms by settings and code."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

# What the pixels of a cached volume go through besides the transforms' own code.
PACKAGES = ("monai", "torch", "numpy", "nibabel", "pillow")


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

    A setting that is changed, an edited transform or another version of MONAI so gives another hash.
    """
    modules: set[str] = set()
    described = [_describe(value, modules, ()) for value in settings]
    sources = [f"{name} {_source_hash(name)}" for name in sorted(modules)]
    return short_hash("\n".join([*described, *sources, *(f"{name} {version(name)}" for name in PACKAGES)]))


def short_hash(text: str) -> str:
    """Hash a text to 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
        return f"{_name(value, modules)} {_code(value.__code__)} {described}"
    attributes = {name: item for name, item in getattr(value, "__dict__", {}).items() if not name.startswith("__")}
    return f"{_name(type(value), modules)} {_describe(attributes, modules, inside)}"


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
