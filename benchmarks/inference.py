"""Speed of inference: ``python -m benchmarks.inference [--dataset_dir D] [--nets unet pspnet] [--json F]``.

Volumes a second through the bundle's inferer against the bare forward pass over as many slices, and the time of one
patient from the files to the mask. Variants take turns within every repeat. Run it from the repository's root on an
idle machine.
"""

from __future__ import annotations

import argparse
import copy
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundle import parser, require_compiled, require_fast_bfloat16
from benchmarks.report import finish, machine, ratio, summary, table
from benchmarks.variants import NotComparedError, synchronize
from lgg_monai.engines.acceleration import fuse_batch_norms, prepare_network
from lgg_monai.engines.checkpoints import load_weights
from lgg_monai.engines.head import HeadInferer
from lgg_monai.engines.precision import AutocastInferer
from lgg_monai.engines.slicewise import CPU_SLICES, SlicewiseInferer
from lgg_monai.errors import LggError
from lgg_monai.prediction.int8 import INT8, Int8Network

TYPICAL_SLICES = 35
DEFAULT = ("bundle", "fused", "int8", "contiguous", "compile", "crop", "batch=1", "batch=2")
FURTHER = re.compile(r"batch=[1-9]\d*|fused/precision=(fp32|bf16)")


class Inference:
    """One network, the validation patients' volumes, and what can be done with them.

    Args:
        net: name of the bundle.
        settings: overrides of the bundle.
        volumes: how many validation patients.
    """

    def __init__(self, net: str, settings: dict[str, Any], volumes: int) -> None:
        config = parser(net, settings)
        self.device = torch.device(config.get_parsed_content("device"))
        self.precision = config.get_parsed_content("precision")
        self.batch = config.get_parsed_content("batch_size")
        if self.device.type == "cpu":
            self.batch = min(self.batch, CPU_SLICES)  # as the bundle does, for the bare pass too
        self.network = config.get_parsed_content("network").eval().to(memory_format=torch.channels_last)
        self.net, self.weights = net, Path(f"bundles/{net}/models/model.pt")
        self.trained = self.weights.is_file()
        if self.trained:
            load_weights(self.network, str(self.weights))
        self.preprocessing = config.get_parsed_content("preprocessing")
        self.postprocessing = config.get_parsed_content("postprocessing")
        dataset = config.get_parsed_content("validate#dataset")
        count = min(volumes, len(dataset))
        self.images = [dataset[number]["image"][None].float().contiguous().to(self.device) for number in range(count)]
        self.entries = config.get_parsed_content("datalist")["validation"]

    def network_of(self, variant: str) -> torch.nn.Module:
        """Return the network, changed as a variant says."""
        if variant == "contiguous":
            return copy.deepcopy(self.network).to(memory_format=torch.contiguous_format)
        if variant.startswith("fused"):
            return fuse_batch_norms(copy.deepcopy(self.network))
        if variant == INT8:
            if self.device.type != "cpu":
                raise NotComparedError("8-bit networks run on a CPU")
            try:
                return Int8Network(self.weights, self.net)
            except LggError as reason:
                raise NotComparedError(str(reason)) from reason
        if variant == "compile":
            require_compiled()
            return prepare_network(copy.deepcopy(self.network), channels_last=True, compile=True)
        return self.network

    def precision_of(self, variant: str) -> str:
        """Return the precision that autocast is given: the bundle's, or what the variant says."""
        if variant == INT8:
            return "fp32"
        return variant.rpartition("precision=")[2] if "precision=" in variant else self.precision

    def volumes(self, variant: str) -> Callable[[], float]:
        """Return a function that infers all volumes as the bundle does and returns the seconds."""
        network = self.network_of(variant)
        batch = int(variant.removeprefix("batch=")) if variant.startswith("batch=") else self.batch
        if self.device.type == "cpu" and batch > CPU_SLICES:
            raise NotComparedError(f"a CPU infers at most {CPU_SLICES} slices at a time")
        slicewise = HeadInferer(SlicewiseInferer(batch), enabled=variant == "crop")
        precision = self.precision_of(variant)
        require_fast_bfloat16(precision, self.device)
        inferer = AutocastInferer(self.device, slicewise, precision)

        @torch.no_grad()
        def run() -> float:
            start = time.perf_counter()
            for image in self.images:
                self.postprocessing({"image": image, "pred": inferer(image, network)})
            synchronize(self.device)
            return time.perf_counter() - start

        return run

    def bare(self) -> Callable[[], float]:
        """Return a function that runs the network alone over resident random batches of the same sizes."""
        inferer = AutocastInferer(self.device, precision=self.precision)
        parts = [part for image in self.images for part in image.split(self.batch, dim=-1)]
        sizes = [(part.shape[-1], *part.shape[2:4]) for part in parts]
        batches = {
            size: torch.randn(size[0], 3, *size[1:], device=self.device).contiguous(memory_format=torch.channels_last)
            for size in set(sizes)
        }

        @torch.no_grad()
        def run() -> float:
            start = time.perf_counter()
            for size in sizes:
                inferer(batches[size], self.network)
            synchronize(self.device)
            return time.perf_counter() - start

        return run

    def one_patient(self, variant: str = "fused") -> tuple[int, Callable[[], dict[str, float]]]:
        """Return the slices of the patient nearest to 35, and a function that times its way from files to mask.

        The network is prepared as `lgg-monai predict` does: by default, or with ``--precision int8``.
        """
        network = self.network_of(variant)
        entry = min(self.entries, key=lambda entry: abs(entry["slices"] - TYPICAL_SLICES))
        inferer = AutocastInferer(self.device, SlicewiseInferer(self.batch), self.precision_of(variant))

        @torch.no_grad()
        def run() -> dict[str, float]:
            start = time.perf_counter()
            volume = self.preprocessing({"image": entry["image"]})
            read = time.perf_counter()
            image = torch.as_tensor(volume["image"])[None].to(self.device).float()
            output = self.postprocessing({"image": image, "pred": inferer(image, network)})
            output["pred"].to(torch.uint8).cpu()
            end = time.perf_counter()
            return {"read_and_normalise_seconds": read - start, "infer_seconds": end - read, "seconds": end - start}

        return entry["slices"], run


def measure(net: str, settings: dict[str, Any], variants: Sequence[str], volumes: int, repeats: int) -> dict[str, Any]:
    """Measure one network; see the module."""
    subject = Inference(net, settings, volumes)
    runs: dict[str, Callable[[], float]] = {"bare": subject.bare()}
    not_compared = {}
    for variant in variants:
        try:
            runs[variant] = subject.volumes(variant)
            runs[variant]()
        except NotComparedError as reason:
            not_compared[variant] = str(reason)
    runs["bare"]()
    ways = {"one_patient": subject.one_patient()}
    if INT8 in runs:
        ways["one_patient_int8"] = subject.one_patient(INT8)
    for _, patient in ways.values():
        patient()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    patients: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(run())
        for way, (_, patient) in ways.items():
            patients[way].append(patient())
    count = len(subject.images)
    speeds = {name: [count / value for value in values] for name, values in seconds.items()}
    return {
        "weights": "trained" if subject.trained else "random",
        "volumes": count,
        "slices": sum(image.shape[-1] for image in subject.images),
        "volumes_per_second": {name: summary(values) for name, values in speeds.items()},
        "of_bare": {name: ratio(values, speeds["bare"]) for name, values in speeds.items()},
        "not_compared": not_compared,
    } | {
        way: {"slices": slices} | {key: summary([run[key] for run in patients[way]]) for key in patients[way][0]}
        for way, (slices, _) in ways.items()
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset_dir", help="folder of the patients; default: the bundle's")
    options.add_argument("--nets", nargs="+", default=["unet", "pspnet"])
    options.add_argument("--variants", nargs="+", default=list(DEFAULT))
    options.add_argument("--volumes", type=int, default=3)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--cache_dir", default="runs/cache", help="as the bundle's")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    for name in given.variants:
        if name not in DEFAULT and not FURTHER.fullmatch(name):
            further = "batch=N, fused/precision=fp32 or fused/precision=bf16"
            options.error(f"unknown variant {name!r}: take of {', '.join(DEFAULT)}, {further}")
    settings = {"cache_dir": given.cache_dir}
    if given.dataset_dir:
        settings["dataset_dir"] = given.dataset_dir
    content: dict[str, Any] = {"benchmark": "inference", "machine": machine(), "settings": settings}
    for net in given.nets:
        with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
            result = measure(net, settings | {"output_dir": folder}, given.variants, given.volumes, given.repeats)
        content[net] = result
        rows = [
            {"variant": name, "volumes/s": speed["median"], "low": speed["low"], "high": speed["high"]}
            | {"of bare": result["of_bare"][name]["median"]}
            for name, speed in result["volumes_per_second"].items()
        ]
        print(f"\n{net} ({result['weights']} weights, {result['volumes']} volumes, {result['slices']} slices)")
        print(table(rows))
        for way in ("one_patient", "one_patient_int8"):
            if one := result.get(way):
                parts = [f"{key} {value['median']:.3g}" for key, value in one.items() if key != "slices"]
                print(f"{way.replace('_', ' ')} of {one['slices']} slices from its files: {', '.join(parts)}")
        for name, reason in result["not_compared"].items():
            print(f"{name} not compared: {reason}")
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
