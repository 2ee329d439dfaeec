"""A packaged bundle's `metadata.json`, filled from what is installed and what was measured."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy
import torch

from lgg_monai.data.people import PUBLISHED
from lgg_monai.data.seen import datalist_of, is_complete, read_datalist, seen_as
from lgg_monai.engines.summary import METRICS
from lgg_monai.errors import LggError
from lgg_monai.files import read_json
from lgg_monai.words import counted


def filled_metadata(
    source: Path, network: torch.nn.Module, summary: dict[str, Any] | None, shipped: bool = False
) -> dict[str, Any]:
    """Fill a bundle's metadata.

    Args:
        source: the bundle's ``metadata.json`` in the repository.
        network: as packaged, for the number of its parameters.
        summary: of the run that the weights come from.
        shipped: the weights are the repository's, whose metrics ``source`` states; of others nothing is stated but the
            summary.

    Raises:
        LggError: ``source`` cannot be read, lacks a name, description or data source, or its changelog lacks its
            version.
    """
    metadata: dict[str, Any] = read_json(source, "metadata")
    if metadata.get("version") not in metadata.get("changelog", {}):
        raise LggError(f"{source} has no line in its changelog for version {metadata.get('version')}: add one")
    for key in ("name", "description", "data_source"):
        if not metadata.get(key):
            raise LggError(f"{source} says no {key}, which the model card tells: add it")
    metadata["monai_version"] = version("monai").split("+")[0]
    metadata["pytorch_version"] = torch.__version__.split("+")[0]
    metadata["numpy_version"] = numpy.__version__
    metadata["required_packages_version"] = {
        name: _version(name) for name in sorted(metadata.get("required_packages_version", {}))
    }
    metadata["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    if not shipped:
        metadata["eval_metrics"] = {} if summary is None else eval_metrics(summary)
    return metadata


def patients_of(weights: Path, published: str) -> str:
    """Say what is recorded of the patients that weights, which are not the repository's, learnt from.

    Args:
        weights: a file of them.
        published: what the data set is that the repository's weights learnt from.

    Raises:
        LggError: the ``datalist.json`` of the weights cannot be read.
    """
    path = datalist_of(weights)
    if path is None:
        return "not recorded"
    known = read_datalist(path)
    patients = {entry["patient"] for part in ("training", "validation") for entry in seen_as(known, part)}
    number = "" if is_complete(known) else "at least "
    if known.get("phantom"):
        return f"PHANTOM: {number}{counted(len(patients), 'synthetic patient')}, which say nothing about real ones"
    origin = f" ({published})" if all(name.startswith(PUBLISHED) for name in patients) else ""
    return number + counted(len(patients), "patient") + origin


def eval_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """Take the figures of a run's ``summary.json`` that a bundle states: means, medians and intervals over patients."""
    stated: dict[str, Any] = {}
    if summary.get("phantom"):
        stated["PHANTOM"] = "measured on synthetic pictures: says nothing about real patients"
    stated["subset"] = summary["subset"]
    stated["patients"] = summary["patients"]
    for name in METRICS:
        entry = summary.get(name) or {}
        for key, label in (("mean", name), ("median", f"{name}_median"), ("ci95", f"{name}_ci95")):
            if entry.get(key) is not None:
                stated[label] = _rounded(entry[key])
    return stated


def metrics_table(stated: dict[str, Any]) -> str:
    """Lay a bundle's figures out as a table in Markdown."""
    if not any(name in stated for name in METRICS):
        return "No figures are stated for these weights."
    lines = [f"{counted(stated['patients'], 'patient')} ({stated['subset']})." if "patients" in stated else ""]
    if "PHANTOM" in stated:
        lines.append(f"\n**PHANTOM**: {stated['PHANTOM']}.")
    lines += ["", "| metric | mean | median | 95 % interval of the mean |", "|---|---|---|---|"]
    for name in METRICS:
        if name in stated:
            median, interval = stated.get(f"{name}_median", ""), stated.get(f"{name}_ci95")
            between = "" if interval is None else f"{interval[0]} to {interval[1]}"
            lines.append(f"| `{name}` | {stated[name]} | {median} | {between} |")
    return "\n".join(lines).strip()


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(float(value), 4) if math.isfinite(float(value)) else None


def _version(name: str) -> str:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError as error:
        raise LggError(
            f"{name} is not installed, so its version cannot be stated: install the project first"
        ) from error
