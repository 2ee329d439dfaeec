"""Reads what a pickle would import and call, opcode by opcode, without unpickling it."""

from __future__ import annotations

import pickletools
from typing import IO

from lgg_monai.sharing.inspect.findings import Grade
from lgg_monai.sharing.inspect.policy import D, E, N

MOST_OPCODES = 5_000_000
MOST_PICKLES = 12  # one after another; PyTorch's old format has five
_TENSORS = {
    f"{module} {name}"
    for module, names in {
        "torch._utils": "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
        "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_device_tensor_from_numpy",
        "torch": "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage "
        "ShortStorage CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage UntypedStorage Size "
        "device dtype float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 bool complex64 complex128 "
        "per_tensor_affine per_channel_affine",
        "torch.storage": "UntypedStorage TypedStorage",
        "torch._tensor": "_rebuild_from_type_v2",
        "torch.nn.parameter": "Parameter",
        "torch.jit._pickle": "build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag",
        "torch.serialization": "_get_layout",
        "collections": "OrderedDict defaultdict Counter",
        "monai.data.meta_tensor": "MetaTensor",
        "monai.utils.enums": "MetaKeys TraceKeys SpaceKeys",
        "numpy": "dtype ndarray",
        "numpy.core.multiarray": "_reconstruct scalar",
        "numpy._core.multiarray": "_reconstruct scalar",
        "_codecs": "encode",
    }.items()
    for name in names.split()
}  # fmt: skip
# Classes that older checkpoints hold whole: constructed without code of the bundle, but refused by weights_only=True.
_CLASSES = ("torch.nn.modules.", "torch.optim.", "monai.networks.")
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_OLD_FORMAT = 5
_STORES = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALLS = {"GET", "BINGET", "LONG_BINGET"}


def _read_one(stream: IO[bytes], found: list[tuple[int, str]]) -> bool:
    """Add what one pickle imports to ``found``: position and ``module name``, ``?`` where that is computed.

    Returns:
        whether the pickle has an end; what is imported before one breaks off is imported all the same.
    """
    memo: dict[int, str | None] = {}
    top: list[str | None] = []  # what the last opcodes put on the stack, as far as it is text
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            name = opcode.name
            if count > MOST_OPCODES:
                found.append((position or 0, "? more opcodes than are looked through"))
                return False
            if name in ("GLOBAL", "INST"):
                found.append((position or 0, str(argument)))
            elif name == "STACK_GLOBAL":
                known = len(top) >= 2 and top[-1] is not None and top[-2] is not None
                found.append((position or 0, f"{top[-2]} {top[-1]}" if known else "? ?"))
            elif name in ("EXT1", "EXT2", "EXT4"):
                found.append((position or 0, f"? extension {argument}"))
            if name in _STRINGS:
                top.append(argument if isinstance(argument, str) else None)
            elif name in _RECALLS:
                top.append(memo.get(int(argument)))  # type: ignore[arg-type]
            elif name in _STORES or name == "MEMOIZE":
                index = len(memo) if name == "MEMOIZE" else int(argument)  # type: ignore[arg-type]
                memo[index] = top[-1] if top else None
            elif name not in ("PROTO", "FRAME"):
                top = []
    except Exception:  # pickletools raises whatever its readers of arguments raise
        return False
    return True


def pickled_names(stream: IO[bytes]) -> tuple[list[tuple[int, str]], int]:
    """What the pickles at the beginning of a stream import, and how many of them are complete.

    PyTorch's old format is five pickles one after another and then raw numbers.
    """
    found: list[tuple[int, str]] = []
    complete = 0
    while complete < MOST_PICKLES:
        start = stream.tell()
        if not stream.read(1):
            break
        stream.seek(start)
        names: list[tuple[int, str]] = []
        ended = _read_one(stream, names)
        if ended or complete < _OLD_FORMAT:
            found += [(start + position if start else position, name) for position, name in names]
        if not ended:
            break
        complete += 1
    return found, complete


def grade_name(name: str, torchscript: bool = False) -> tuple[Grade, str]:
    """Grade what a pickle imports."""
    if name in _TENSORS:
        return E, "tensors and what holds them"
    module, _, attribute = name.partition(" ")
    if torchscript and module.startswith("__torch__"):
        return E, "a class of the TorchScript archive itself"
    if module.startswith(_CLASSES) and attribute.isidentifier() and attribute[:1].isupper() and name.isascii():
        return N, "an object and not only tensors: it does not load with weights_only=True"
    return D, "computed while unpickling, so it could be anything" if "?" in name else "runs when the file is unpickled"
