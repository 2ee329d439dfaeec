"""Walks an ONNX file's protocol buffer for what reaches outside it: external data and operators of other domains."""

from __future__ import annotations

from collections.abc import Iterator

from lgg_monai.sharing.inspect.findings import Grade, RefusedError
from lgg_monai.sharing.inspect.policy import D, E, N

DEEPEST = 16
_KNOWN = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
# Operators of a known domain that hold what was compiled for a device, or name a function of Python.
_OPAQUE = {"EPContext", "PythonOp", "PythonOpGrad"}
# Field numbers of onnx.proto: which are messages to go into, and the types they hold.
_MESSAGES = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def grade_onnx(data: bytes, paths: set[str], folder: str) -> list[tuple[str, Grade, str]]:
    """Grade what an ONNX file refers to: (text, grade, reason).

    Args:
        data: the file.
        paths: all files of the bundle.
        folder: where the file lies in it, with a slash at the end, or empty.

    Raises:
        RefusedError: it is not a sound ONNX model.
    """
    domains: set[str] = set()
    defined: set[str] = set()
    files: set[str] = set()
    operators: set[str] = set()
    graphs = 0
    for kind, fields in _walk("model", memoryview(data), 0):
        if kind == "node":
            domains.add(_text(fields, 7))
            operators.add(_text(fields, 4))
        elif kind == "function":
            defined.add(_text(fields, 10))
        elif kind == "entry" and _text(fields, 1) == "location":
            files.add(_text(fields, 2))
        graphs += kind == "graph"
    if not graphs:
        raise RefusedError("not an ONNX model")
    found = []
    for name in sorted(files):
        inside = folder + name in paths and not name.startswith("/") and ".." not in name.split("/")
        reason = "weights in another file of the bundle" if inside else "weights from a file that is not in the bundle"
        found.append((f"external data {name}", E if inside else D, reason))
    found += [(f"operator {name}", D, "runs what cannot be inspected") for name in sorted(operators & _OPAQUE)]
    for domain in sorted(domains - _KNOWN):
        own = domain in defined
        grade = E if own else D if "contrib" in domain else N
        found.append((f"operators of {domain}", grade, "defined in the file" if own else "need code from elsewhere"))
    return found


def _walk(kind: str, data: memoryview, depth: int) -> Iterator[tuple[str, dict[int, list[memoryview]]]]:
    if depth > DEEPEST:
        raise RefusedError("nested too deeply")
    fields: dict[int, list[memoryview]] = {}
    for number, value in _fields(data):
        fields.setdefault(number, []).append(value)
    yield kind, fields
    for number, inner in _MESSAGES.get(kind, {}).items():
        for value in fields.get(number, []):
            yield from _walk(inner, value, depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have a length; numbers are passed over."""
    position = 0
    while position < len(data):
        key, position = _number(data, position)
        wire = key & 7
        if wire == 0:
            _, position = _number(data, position)
        elif wire == 2:
            length, position = _number(data, position)
            if position + length > len(data):
                raise RefusedError("not a sound ONNX model")
            yield key >> 3, data[position : position + length]
            position += length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise RefusedError("not a sound ONNX model")


def _number(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise RefusedError("not a sound ONNX model")


def _text(fields: dict[int, list[memoryview]], number: int) -> str:
    return bytes(fields[number][-1]).decode("utf-8", "replace") if number in fields else ""
