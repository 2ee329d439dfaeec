"""Making a network's 8-bit twin: exported to ONNX, and quantized by ONNX Runtime on slices that it was trained on."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.data.seen import datalist_of, read_datalist
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.run_folder import trained_config
from lgg_monai.engines.scores import mask_dice
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.files import writable_folder, write_bytes
from lgg_monai.prediction.int8 import MADE_OF, Int8Network, int8_file, require_runtime, weights_digest
from lgg_monai.prediction.models import load_segmenter, resolve
from lgg_monai.sharing.export import made, onnx_bytes, strip_notes

PATIENTS = 10
"""Patients whose slices show which values each layer has to hold."""
SLICES = 4
"""Slices of each, from the whole height of the scan, as they are and with FLAIR in place of all sequences."""


@dataclass(frozen=True)
class Quantized:
    """What was made, and how well it does.

    Args:
        path: of the 8-bit network.
        slices: that it was made by.
        agreement: Dice of its masks of these slices with the network's own, all pixels pooled.
    """

    path: Path
    slices: int
    agreement: float


def quantize(bundle: str, dataset_dir: Path, checkpoint: Path | None = None) -> Quantized:
    """Write the 8-bit twin of a network beside its weights, where ``--precision int8`` looks for it.

    Weights and activations are held as integers of 8 bits, each with the range that it has on slices of training
    patients (static quantization; weights by output channel); the last convolution stays as it is, so that
    probabilities keep their steps.

    Args:
        bundle: ``unet``, ``pspnet`` or ``plain_unet``, or a run's folder.
        dataset_dir: the data set that the weights were trained on.
        checkpoint: other weights than the bundle's own.

    Raises:
        LggError: bundle, weights, their training patients or a package are not there, this processor could not run it,
            the network cannot be exported, or nothing can be written beside the weights.
    """
    require_packages("package", "onnx", "onnxruntime", "onnxscript", what="`quantize`")
    require_runtime()
    if Path(bundle).exists() and trained_config(Path(bundle)) is None:
        raise LggError(f"{bundle} is no run's folder: give a run or a bundle's name (of a package, what it is of)")
    with resolve(bundle, [checkpoint] if checkpoint else []) as model:
        (weights,) = model.checkpoints
    writable_folder(weights.parent, choose="weights in another folder with --checkpoint")
    patients = _training_patients(weights, find_patients(dataset_dir))
    segmenter = load_segmenter(bundle, [weights], device="cpu", precision="fp32", batch_size=SLICES)
    (network,) = segmenter.networks
    batches: list[torch.Tensor] = []

    def kept(batch: torch.Tensor) -> torch.Tensor:
        batches.append(batch.contiguous())
        return batch

    for image in _slices(patients, segmenter.preprocessing):  # padded as in prediction
        segmenter.inferer(image, kept)
    content = made("8-bit network", lambda: _quantized(network, batches, weights_digest(weights)))
    write_bytes(int8_file(weights), content)
    twin = Int8Network(weights, bundle)
    with torch.inference_mode():
        masks = [(network(batch).numpy() > 0, twin(batch).numpy() > 0) for batch in batches]
    own, theirs = (np.concatenate([mask.ravel() for mask in each]) for each in zip(*masks, strict=True))
    return Quantized(int8_file(weights), sum(map(len, batches)), mask_dice(theirs, own))


def _training_patients(weights: Path, patients: Sequence[Patient]) -> list[Patient]:
    """Choose patients that the weights learnt from; of weights that nothing is known of, any."""
    path = datalist_of(weights)
    if path is not None:
        training = {entry["patient"] for entry in read_datalist(path).get("training", [])}
        known = [patient for patient in patients if patient.name in training]
        if not known:
            message = f"none of the {len(training)} training patients that {path} names is in the folder"
            raise LggError(f"{message}: give with --dataset_dir the data that the weights were trained on")
        patients = known
    chosen = np.linspace(0, len(patients) - 1, min(PATIENTS, len(patients))).round().astype(int)
    return [patients[number] for number in chosen]


def _slices(patients: Sequence[Patient], preprocessing: Any) -> Iterator[torch.Tensor]:
    """Give slices [1, 3, X, Y, Z] of each patient, normalised; those with FLAIR alone after them as they are."""
    for patient in patients:
        image = preprocessing({"image": torch.from_numpy(read_patient(patient)[0]).float()})["image"].float()
        # Not the first and the last, which show little.
        places = np.linspace(0, image.shape[-1] - 1, SLICES + 2).round().astype(int)[1:-1]
        few = torch.as_tensor(image[..., places])[None]
        yield few
        yield few[:, [FLAIR] * few.shape[1]]


class _Batches:
    """What ONNX Runtime asks for batches."""

    def __init__(self, batches: Sequence[torch.Tensor]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return a batch by the name of the network's input, None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch.numpy()}


def _quantized(network: torch.nn.Module, batches: Sequence[torch.Tensor], digest: str) -> bytes:
    """Return the 8-bit network of batches [N, 3, X, Y] as an ONNX file's bytes, the same from the same weights."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="lgg-int8-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside PyTorch
        whole, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "small"))
        whole.write_bytes(onnx_bytes(network))
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)  # the exporter has told the shapes
        last = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"][-1]
        quantize_static(
            prepared,
            small,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with weights of int8, what ONNX Runtime has quick kernels for
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[last],
        )
        model = onnx.load(small)
    strip_notes(model)
    onnx.helper.set_model_props(model, {MADE_OF: digest})
    content: bytes = model.SerializeToString(deterministic=True)
    return content
