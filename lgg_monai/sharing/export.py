"""TorchScript and ONNX of a bundle's network: the same bytes from the same weights, checked against PyTorch.

Run as ``python -m lgg_monai.sharing.export BUNDLE``: in a process of its own, because the names in a TorchScript file
count what the process scripted before.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.nn import functional

from lgg_monai.errors import LggError

# Batch, channels, columns, rows: the size of the data set, and others that a client may come with.
CHECKED_SHAPES = ((1, 3, 256, 256), (3, 3, 256, 192), (2, 3, 80, 112))
# Logits. A wrong corner makes PSPNet's differ by more than 1; bilinear enlarging by factors that float32 does
# not hold exactly rounds coordinates, which a deep network amplifies to some 0.0001.
TOLERANCE = 1e-3
SMOOTH = 5  # pixels over which the compared noise is averaged, as scans are smooth
TORCHSCRIPT = Path("models/model.ts")  # in a bundle
# What PyTorch's zip writer adds by itself.
_WRITTEN_ANYWAY = ("version", ".data/serialization_id")


def export(bundle: Path) -> float:
    """Write ``models/model.ts`` and ``models/model.onnx`` of a bundle in a process of its own.

    Args:
        bundle: its folder, with ``models/model.pt`` and the configs as JSON.

    Returns:
        The largest difference to PyTorch that was seen, in logits.

    Raises:
        LggError: the exports cannot be made, or differ from PyTorch.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "lgg_monai.sharing.export", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            # TorchScript writes sets in the order of their hashes, which Python otherwise draws anew for each process.
            "PYTHONHASHSEED": "0",
            # Compiled copies of the bundle's scripts would become part of it, with paths of this machine.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LggError(f"cannot export the network ({last.removeprefix('lgg-monai: error: ')})")
    return float(done.stdout.strip().splitlines()[-1])


def write_exports(bundle: Path) -> float:
    """Do what :func:`export` says, in this process."""
    config = json.loads((bundle / "configs/train.json").read_text(encoding="utf-8"))
    sys.path.insert(0, str(bundle))  # a network that MONAI lacks comes from the bundle's own scripts
    network: nn.Module = ConfigParser({"network_def": config["network_def"]}).get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models/model.pt", map_location="cpu", weights_only=True))
    network.eval()
    # What clients read out of a TorchScript file instead of the bundle's folder.
    extra = {name: (bundle / "configs" / name).read_bytes() for name in ("metadata.json", "inference.json")}
    scripted = made("TorchScript", lambda: torchscript_bytes(network, extra))
    graph = made("ONNX", lambda: onnx_bytes(network))
    difference = max(largest_difference(network, run) for run in (torchscript_runner(scripted), onnx_runner(graph)))
    (bundle / TORCHSCRIPT).write_bytes(scripted)
    (bundle / "models/model.onnx").write_bytes(graph)
    return difference


def torchscript_bytes(network: nn.Module, extra_files: Mapping[str, bytes]) -> bytes:
    """Script a network and leave out what depends on the machine: the source paths kept for error messages.

    Args:
        network: in evaluation mode.
        extra_files: stored in it, as :func:`monai.data.load_net_with_metadata` reads them.
    """
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(network), stream, _extra_files=dict(extra_files))
    stream.seek(0)
    reader = torch._C.PyTorchFileReader(stream)
    with tempfile.TemporaryDirectory(prefix="lgg-export-") as folder:
        # Of a file, and not of a stream, the writer names the folder in the archive: as the file, where Deploy looks.
        plain = Path(folder) / TORCHSCRIPT.name
        writer = torch._C.PyTorchFileWriter(str(plain))
        for name in reader.get_all_records():
            if not name.endswith(".debug_pkl") and name not in _WRITTEN_ANYWAY:
                content = reader.get_record(name)
                writer.write_record(name, content, len(content))
        writer.write_end_of_file()
        return plain.read_bytes()


def onnx_bytes(network: nn.Module) -> bytes:
    """Export a network to ONNX with free batch and picture sizes, without PyTorch's notes on where code lies.

    Args:
        network: in evaluation mode; maps ``[B, 3, X, Y]`` named ``image`` to ``[B, 1, X, Y]`` named ``pred``.
    """
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that torchvision is absent
    program: Any = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 64, 96),),
        dynamo=True,
        dynamic_shapes=(free,),
        input_names=["image"],
        output_names=["pred"],
        verbose=False,
    )
    model = program.model_proto
    _rename_sizes(model.graph)
    strip_notes(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def strip_notes(model: Any) -> None:
    """Clear what an ONNX model notes besides the network, such as names of the machine's files, in place."""
    _strip(model)
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        _strip(part)
    for function in model.functions:
        _strip(function)
        for node in function.node:
            _strip(node)
    for initializer in model.graph.initializer:
        _strip(initializer)


def torchscript_runner(content: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load a TorchScript file's bytes as a function of an image batch."""
    loaded = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.jit.optimized_execution(False):  # optimising for each size takes longer than it saves
            result: torch.Tensor = loaded(image)
        return result

    return run


def onnx_runner(content: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load an ONNX file's bytes with onnxruntime as a function of an image batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


@torch.no_grad()
def largest_difference(network: nn.Module, other: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Compare an export with the network on several batch and picture sizes.

    Returns:
        The largest absolute difference of two logits.

    Raises:
        LggError: it is above ``TOLERANCE``, or shapes differ.
    """
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for shape in CHECKED_SHAPES:
        noise = torch.randn(shape, generator=generator)
        image = SMOOTH * functional.avg_pool2d(noise, SMOOTH, stride=1, padding=SMOOTH // 2)
        expected, found = network(image), other(image)
        if found.shape != expected.shape:
            raise LggError(f"an export gives {tuple(found.shape)} for an input of {shape}: report this as a mistake")
        difference = float((found - expected).abs().max())
        if not difference <= TOLERANCE:  # NaN included
            raise LggError(f"an export differs from PyTorch by {difference:.2g} for an input of {shape}: report this")
        largest = max(largest, difference)
    return largest


def made(form: str, make: Callable[[], bytes]) -> bytes:
    """Export a network, which may be of a kind that cannot be: what is raised then is many lines, its reason the first.

    Raises:
        LggError: names the form and the reason.
    """
    try:
        return make()
    except (ImportError, OSError):  # a package is missing, a disk is full
        raise
    except Exception as error:
        first, *_ = str(error).strip().splitlines() or ["no message"]
        reason = f"{type(error).__name__}: {first.strip()[:200]}"
        message = f"it has no {form}: {reason}; choose a network or options, such as no deep supervision, that have"
        raise LggError(message) from error


def _rename_sizes(graph: Any) -> None:
    for value in (*graph.input, *graph.output):
        for axis, name in ((0, "batch"), (2, "columns"), (3, "rows")):
            value.type.tensor_type.shape.dim[axis].dim_param = name


def _strip(part: Any) -> None:
    """Clear an ONNX object's notes, which hold file names of the machine."""
    for field in ("metadata_props", "doc_string"):
        if field in part.DESCRIPTOR.fields_by_name:
            part.ClearField(field)


def main() -> None:
    """Export the bundle that the command line names, and print the largest difference."""
    warnings.simplefilter("ignore")  # of deprecations inside PyTorch
    try:
        print(write_exports(Path(sys.argv[1])))
    except LggError as error:
        sys.exit(f"lgg-monai: error: {error}")


if __name__ == "__main__":
    main()
