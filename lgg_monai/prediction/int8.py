"""A network in whole numbers of 8 bits, run by ONNX Runtime on a CPU: `lgg-monai quantize` makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lgg_monai.engines.checkpoints import read_weights
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages

INT8 = "int8"
"""The ``precision`` of predictions that asks for it."""
MADE_OF = "weights_sha256"
"""Key of the file's metadata: `weights_digest` of the weights that it was made of."""


def int8_file(checkpoint: Path) -> Path:
    """Name the 8-bit network of a file of weights, which lies beside it."""
    return checkpoint.with_name(f"{checkpoint.stem}_{INT8}.onnx")


def weights_digest(checkpoint: Path) -> str:
    """Give the SHA-256 of a network's weights as they are loaded, in whatever form the file holds them.

    Raises:
        LggError: the file cannot be read.
    """
    digest = hashlib.sha256()
    for name, value in sorted(read_weights(checkpoint).items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def sums_exactly() -> bool:
    """Tell whether the processor multiplies and adds 8-bit integers without saturation, as ONNX Runtime does it there.

    On x86 without VNNI it adds two products in 16 bits, which they may exceed.
    """
    # Older releases of PyTorch cannot tell.
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return known.get("architecture") != "x86_64" or any(known.get(name, True) for name in ("avx512_vnni", "avx_vnni"))


def require_runtime() -> None:
    """Prove that 8-bit networks can be run here.

    Raises:
        LggError: ONNX Runtime is not installed, or the processor cannot, see `sums_exactly`.
    """
    require_packages("int8", "onnxruntime", what=f"--precision {INT8}")
    if not sums_exactly():
        message = f"--precision {INT8} needs a processor with VNNI, without which sums of products saturate"
        raise LggError(f"{message}: leave it away")


class Int8Network(torch.nn.Module):
    """The 8-bit network of a file of weights, in place of the network itself where nothing is trained.

    It takes as many threads as PyTorch does.

    Args:
        checkpoint: the weights that it was made of; it lies beside them, see `int8_file`.
        bundle: their bundle, for messages.

    Raises:
        LggError: as `require_runtime`, or the file is missing, damaged or of other weights.
    """

    def __init__(self, checkpoint: Path, bundle: str) -> None:
        super().__init__()
        require_runtime()
        import onnxruntime

        path = int8_file(checkpoint)
        make = f"make it by `lgg-monai quantize`, or leave --precision {INT8} away"
        if not path.is_file():
            raise LggError(f"no 8-bit network {path.name} beside the weights of the bundle {bundle}: {make}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            content = path.read_bytes()  # of bytes, nothing that other files hold is loaded
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds
            raise LggError(f"cannot read the 8-bit network {path}: {make}") from error
        if self.session.get_modelmeta().custom_metadata_map.get(MADE_OF) != weights_digest(checkpoint):
            raise LggError(f"the 8-bit network {path} was made of other weights than {checkpoint.name}: {make}")
        self.input = self.session.get_inputs()[0].name

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map slices [N, 3, X, Y] to logits [N, 1, X, Y], float32."""
        (logits,) = self.session.run(None, {self.input: image.float().contiguous().numpy()})
        return torch.from_numpy(logits)
