"""A trained model with its patients, built from the config of its run or bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd

from lgg_monai.analysis.sources import expand_sources, require_apart
from lgg_monai.data import evaluation_datalist
from lgg_monai.data.datalist import SUBSETS
from lgg_monai.data.people import person_of
from lgg_monai.data.seen import DATALIST, read_datalist
from lgg_monai.engines import load_weights, select_device
from lgg_monai.engines.checkpoints import BEST, SHIPPED
from lgg_monai.engines.evaluation import EVALUATION
from lgg_monai.engines.run_folder import RUN, has_ended
from lgg_monai.engines.tta import LEFT_RIGHT, SMALLEST_PROBABILITY
from lgg_monai.errors import LggError
from lgg_monai.files import read_object
from lgg_monai.provenance import commit, versions
from lgg_monai.transforms.components import SMALLEST_COMPONENT, SMALLEST_SHARE, without_specks

logger = logging.getLogger(__name__)


@dataclass
class TrainedModel:
    """A network with everything that its config says about a scan on the way in and out.

    Args:
        label: of the run or bundle.
        checkpoints: the files of its weights.
        networks: one a checkpoint, in evaluation mode.
        preprocessing: of a dictionary with ``image`` and ``label``; it begins by reading files.
        postprocessing: of a batch with ``pred`` (logits), to a binary mask.
        inferer: runs a network over a volume ``[1, 3, X, Y, Z]``.
        device: of the networks.
        specks: ``smallest_component`` and ``smallest_share`` of `configs/evaluate.yaml`.
        datalist: the patients to work on, see :func:`lgg_monai.data.evaluation_datalist`.
    """

    label: str
    checkpoints: list[str]
    networks: list[torch.nn.Module]
    preprocessing: Compose
    postprocessing: Compose
    inferer: Inferer
    device: torch.device
    specks: dict[str, Any]
    datalist: dict[str, Any]

    def read(self, entry: dict[str, Any]) -> torch.Tensor:
        """Read one patient's image as stored, ``[3, X, Y, Z]``, with nothing done to it."""
        return torch.as_tensor(self.preprocessing({"image": entry["image"]}, end=self._reading)["image"])

    def label_of(self, entry: dict[str, Any]) -> torch.Tensor:
        """Read one patient's true mask, ``[1, X, Y, Z]`` with 0 and 1."""
        return torch.as_tensor(self.preprocessing({"image": entry["image"], "label": entry["label"]})["label"])

    def probability(self, image: torch.Tensor, network: int = 0, mirrored: bool = False) -> torch.Tensor:
        """Segment a scan as it was read.

        Args:
            image: ``[3, X, Y, Z]``.
            network: which of the networks.
            mirrored: segment the left-right mirror image, and mirror the result back.

        Returns:
            The probability of tumour, ``[1, X, Y, Z]`` on the CPU.

        Raises:
            LggError: the preprocessing gives another grid than the scan's.
        """
        prepared = torch.as_tensor(self.preprocessing({"image": image}, start=self._reading)["image"])
        if prepared.shape[1:] != image.shape[1:]:
            raise LggError(
                f"the preprocessing of {self.label} changes the grid of a scan from {tuple(image.shape[1:])} to "
                f"{tuple(prepared.shape[1:])}, which this command cannot undo: leave out what crops or resizes"
            )
        batch = prepared.float().to(self.device)[None]
        if mirrored:
            batch = batch.flip(LEFT_RIGHT)
        with torch.inference_mode():
            logits = self.inferer(batch, self.networks[network])
        return torch.sigmoid(logits.flip(LEFT_RIGHT) if mirrored else logits)[0].float().cpu()

    def mask(self, probability: torch.Tensor) -> torch.Tensor:
        """Turn a probability map ``[1, X, Y, Z]`` into the binary mask ``[X, Y, Z]`` that an evaluation scores."""
        logits = torch.logit(probability, eps=SMALLEST_PROBABILITY)[None]
        mask = torch.as_tensor(self.postprocessing({"pred": logits})["pred"])[0, 0].bool()
        kept = without_specks(mask.numpy(), self.specks["smallest_component"], self.specks["smallest_share"])
        return torch.from_numpy(kept)

    @property
    def _reading(self) -> int:
        """Number of steps at the start of the preprocessing that read files and order their axes."""
        steps = [
            isinstance(step, LoadImaged | EnsureChannelFirstd | Orientationd) for step in self.preprocessing.transforms
        ]
        return len(steps) - steps[::-1].index(True) if True in steps else 0


def load_models(
    sources: Sequence[Path],
    dataset_dir: Path | None = None,
    subset: str | None = None,
    checkpoints: Sequence[Path] = (),
    device: str | None = None,
) -> list[TrainedModel]:
    """Load run folders, the folds of a cross-validation, or a bundle with its shipped weights.

    Args:
        sources: run folders, a folder of a cross-validation (its folds are taken), or a bundle's config file.
        dataset_dir: folder of the patients; by default that of the training.
        subset: ``test``, ``val``, ``train`` or ``all``; by default the test patients, of shipped weights all.
        checkpoints: weights instead of the run's best; several for one source.
        device: where to run; by default the first GPU, else the CPU.

    Returns:
        One model a run, none with a patient of another.

    Raises:
        LggError: no run or bundle, one that is given twice, weights that are missing, or runs that share patients.
    """
    folders = expand_sources(sources)
    if checkpoints and len(folders) > 1:
        raise LggError(f"--checkpoint is given with {len(folders)} runs: give one run with it")
    _require_apart(folders, subset)
    return [load_model(folder, dataset_dir, subset, checkpoints, device) for folder in folders]


def load_model(
    source: Path,
    dataset_dir: Path | None = None,
    subset: str | None = None,
    checkpoints: Sequence[Path] = (),
    device: str | None = None,
) -> TrainedModel:
    """Load one run folder or bundle; see `load_models`."""
    run = source if source.is_dir() else None
    parser = _run_config(source) if run else _bundle_config(source)
    chosen = select_device(device)
    parser["device"] = str(chosen)
    if run:
        parser["output_dir"] = str(run)  # as it lies now, with the cache beside it
    specks = _specks(run)
    try:
        root = Path(parser.get_parsed_content("bundle_root"))
        own = run / "checkpoints" / BEST if run else root / SHIPPED
        files = [str(file) for file in checkpoints] or [str(own)]
        networks = []
        for file in files:
            network = ConfigParser({"network_def": parser["network_def"]}).get_parsed_content("network_def")
            load_weights(network, file)
            networks.append(network.to(chosen, memory_format=torch.channels_last).eval())
        preprocessing = parser.get_parsed_content("preprocessing")
        postprocessing = parser.get_parsed_content("postprocessing")
        inferer = parser.get_parsed_content("validate#inferer")
        data = str(dataset_dir or parser.get_parsed_content("dataset_dir"))
        cache = parser.get_parsed_content("cache_dir") if "cache_dir" in parser else None
    except (KeyError, ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"the config of {source} cannot be used ({reason}): give a run or bundle of this project"
        raise LggError(message) from error
    subset = subset or (None if run else "all")
    datalist = evaluation_datalist(data, str(run or root), subset, files, cache, writes=False)
    return TrainedModel(str(source), files, networks, preprocessing, postprocessing, inferer, chosen, specks, datalist)


def patients(models: Sequence[TrainedModel]) -> list[tuple[TrainedModel, dict[str, Any]]]:
    """List each patient with the model that is to segment it."""
    return [(model, entry) for model in models for entry in model.datalist["patients"]]


def describe(models: Sequence[TrainedModel]) -> dict[str, Any]:
    """Say which models and patients the numbers of a report belong to, and what made the report."""
    names = [entry["patient"] for _, entry in patients(models)]
    return {
        "models": [{"source": model.label, "checkpoints": model.checkpoints, **model.specks} for model in models],
        "subset": models[0].datalist["subset"],
        "phantom": any(model.datalist["phantom"] for model in models),
        "fingerprint": models[0].datalist["fingerprint"],
        "patients": len(names),
        "people": len(set(map(person_of, names))),
        "patients_seen_in_training_or_validation": sum(len(model.datalist["seen"]) for model in models),
        "device": str(models[0].device),
        "versions": versions(),
        "commit": commit(),
    }


def _require_apart(folders: Sequence[Path], subset: str | None) -> None:
    """Prove before networks and patients are read that no patient would be judged by two models."""
    if len(folders) < 2:
        return
    whole = [folder for folder in folders if subset == "all" or not (folder / DATALIST).is_file()]
    if whole:
        message = (
            f"{whole[0]} would be judged by every patient of the data set, and so by those of the other runs: "
            "give it alone, or runs with --subset test"
        )
        raise LggError(message)
    parts = SUBSETS.get(subset or "test", ())
    datalists = {str(folder): read_datalist(folder / DATALIST) for folder in folders}
    require_apart(
        (folder, [entry["patient"] for part in parts for entry in datalist.get(part, [])])
        for folder, datalist in datalists.items()
    )


def _specks(run: Path | None) -> dict[str, Any]:
    """Give the rule on small parts that a run was scored with, or else the one that it would be scored with."""
    present = {"smallest_component": SMALLEST_COMPONENT, "smallest_share": SMALLEST_SHARE}
    path = None if run is None else run / EVALUATION / "summary.json"
    if path is None or not path.is_file():
        return present
    config = read_object(path, "evaluation summary").get("config") or {}
    return {key: config.get(key, 0) for key in present} if config else present  # an evaluation of before had none


def _run_config(folder: Path) -> ConfigParser:
    record = read_object(folder / RUN, "run record")
    config = record.get("config")
    if not config:
        raise LggError(f"{folder / RUN} holds no config: give a run that a bundle made")
    if not has_ended(record):
        logger.warning("the training in %s is unfinished: what it has saved so far is judged", folder)
    return ConfigParser(config)


def _bundle_config(path: Path) -> ConfigParser:
    parser = ConfigParser()
    try:
        parser.read_config(str(path))
        parser.parse()
    except Exception as error:  # MONAI and YAML raise many kinds
        reason = " ".join(str(error).split())[:200]
        message = f"cannot read the bundle {path} ({reason}): run from the repository's root, with bundles/unet.yaml"
        raise LggError(message) from error
    return parser
