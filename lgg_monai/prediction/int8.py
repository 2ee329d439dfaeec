"""A network in whole numbers of 8 bits, run by ONNX Runtime on a CPU: `lgg-monai quantize` makes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from lgg_monai.engines.checkpoints import read_weights
from lgg_monai.errors import LggError

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


class Int8Network(torch.nn.Module):
    """The 8-bit network of a file of weights, in place of the network itself where nothing is trained.

    It takes as many threads as PyTorch does.

    Args:
        checkpoint: the weights that it was made of; it lies beside them, see `int8_file`.
        bundle: their bundle, for messages.

    Raises:
        LggError: ONNX Runtime is not installed, or the file is missing, damaged or of other weights.
    """

    def __init__(self, checkpoint: Path, bundle: str) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            message = f"onnxruntime is not installed, which --precision {INT8} needs: pip install 'lgg-monai[int8]'"
            raise LggError(message) from error
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
