"""nnU-Net's own 2D trainer on the same patients, where nnunetv2 is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from benchmarks.bundle import parser
from benchmarks.variants import NotComparedError, Variant, time_steps
from lgg_monai.data.convert import convert
from lgg_monai.data.phantom import PHANTOM_MARKER

PATIENTS = 10  # of the training part: nnU-Net prepares them all beforehand, and their number changes no step's time
WORKERS = "nnUNet_n_proc_DA"
DATASET = 501  # the number in the folder's name that `convert` writes


class NnUNet:
    """The training step of nnU-Net's trainer: its loader and augmentation, its loss, its optimizer.

    By default its 2D plan with the bundle's patch, batch and channels, the nearest network that it builds: the same
    channels, but two convolutions a stage without residual paths, the first stage at full resolution, and outputs at
    every scale. ``nnunet/planned`` takes the plan as nnU-Net makes it.

    Args:
        net: ``plain_unet``, whose channels its plan can take.
        variant: ``planned``, ``workers`` (processes that augment; by default one a processor, as nnU-Net has it).
        settings: overrides of the bundle that all variants share.

    Raises:
        NotComparedError: nnunetv2 is not installed, or another network is asked for.
    """

    def __init__(self, net: str, variant: Variant, settings: dict[str, Any]) -> None:
        if net != "plain_unet":
            raise NotComparedError(f"nnU-Net has no {net}")
        if importlib.util.find_spec("nnunetv2") is None:
            raise NotComparedError("nnunetv2 is not installed")
        config = parser(net, settings)
        root = Path(settings["output_dir"]).resolve() / "nnunet"
        for name in ("raw", "preprocessed", "results"):  # read whenever nnU-Net names a folder
            os.environ[f"nnUNet_{name}"] = str(root / name)
        self.device = torch.device(config.get_parsed_content("device"))
        if not root.exists():
            prepare(config, root)
        os.environ[WORKERS] = str(variant.options.get("workers", os.cpu_count()))
        (folder,) = (root / "preprocessed").iterdir()
        plans = json.loads((folder / "nnUNetPlans.json").read_text())
        if not variant.options.get("planned"):
            as_the_bundle(plans["configurations"]["2d"], config)
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        plans["continue_training"] = False  # as its own command sets it
        dataset = json.loads((folder / "dataset.json").read_text())
        self.trainer = nnUNetTrainer(plans, "2d", 0, dataset, self.device)
        self.trainer.initialize()
        self.trainer.on_train_start()
        self.trainer.on_train_epoch_start()
        self.batch = self.trainer.batch_size

    def run(self, steps: int) -> dict[str, float]:
        """Train some steps."""
        return time_steps(lambda: self.trainer.train_step(next(self.trainer.dataloader_train)), steps, self.device)


def prepare(config: ConfigParser, root: Path) -> None:
    """Convert, plan and preprocess some of the training patients, as nnU-Net's own commands do."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as their

    chosen = root / "chosen"
    chosen.mkdir(parents=True)
    source = Path(config.get_parsed_content("dataset_dir")).resolve()
    for marker in source.glob(PHANTOM_MARKER):  # so that synthetic patients stay marked
        (chosen / marker.name).symlink_to(marker)
    for entry in config.get_parsed_content("datalist")["training"][:PATIENTS]:
        (chosen / entry["patient"]).symlink_to(Path(entry["image"]).resolve(), target_is_directory=True)
    convert(chosen, root / "raw", "nnunet")
    os.environ[WORKERS] = "1"  # its planner asks for threads as well
    their.extract_fingerprints([DATASET], num_processes=1)
    identifier = their.plan_experiments([DATASET])
    their.preprocess([DATASET], identifier or "nnUNetPlans", configurations=["2d"], num_processes=[1])


def as_the_bundle(plan: dict[str, Any], config: ConfigParser) -> None:
    """Give nnU-Net's 2D plan the bundle's patch, batch and channels."""
    channels = list(config["network_def#channels"])
    stages = len(channels)
    plan["patch_size"] = [config.get_parsed_content("patch_size")] * 2
    plan["batch_size"] = config.get_parsed_content("batch_size")
    network = plan["architecture"]["arch_kwargs"]
    network |= {"n_stages": stages, "features_per_stage": channels, "kernel_sizes": [[3, 3]] * stages}
    network |= {"strides": [[1, 1]] + [[2, 2]] * (stages - 1)}
    network |= {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
