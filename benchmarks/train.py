"""Speed of training: ``python -m benchmarks.train [--dataset_dir D] [--nets unet pspnet] [--variants ...] [--json F]``.

Variants take turns within every repeat, so that whatever slows the machine down slows all of them; ratios are medians
of the ratios within repeats. Run it from the repository's root on an idle machine.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.bundle import BareStep, BundleTrainer
from benchmarks.nnunet import NnUNet
from benchmarks.plain import PlainMonai
from benchmarks.report import finish, machine, ratio, summary, table
from benchmarks.smp import SegmentationModels
from benchmarks.variants import KINDS, OPTIONS, Measured, NotComparedError, Variant

DEFAULT = (
    "bare",
    "bundle",
    "monai/workers=0",
    "monai/workers=1",
    "monai/workers=2",
    "bare/precision=fp32",
    "bare/precision=bf16",
    "bare/contiguous",
    "bare/compile",
    "bare/unfused",
    "bare/threads=1",
    "bare/batch=32",
    "bundle/contiguous",
    "bundle/compile",
    "bundle/threads=1",
    "bundle/batch=32",
    "bundle/cache=disk",
    "smp",
    "nnunet",
)


def set_up(net: str, variant: Variant, settings: dict[str, Any], steps: int) -> Measured:
    """Build what a variant's name says.

    Raises:
        NotComparedError: this machine or installation cannot run it.
    """
    if variant.kind == "bare":
        return BareStep(net, variant, settings)
    if variant.kind == "bundle":
        return BundleTrainer(net, variant, settings, steps)
    others = {"monai": PlainMonai, "smp": SegmentationModels, "nnunet": NnUNet}
    return others[variant.kind](net, variant, settings)


def measure(
    net: str, variants: Sequence[Variant], settings: dict[str, Any], steps: int, repeats: int
) -> dict[str, dict[str, Any]]:
    """Measure all variants of one network.

    Returns:
        By variant: ``slices_per_second`` and ``step_seconds`` (median, extremes, repeats), ``warm_up_seconds`` of the
        first step (compilation included), and what else the variant measured; or ``not_compared``, the reason.
    """
    results: dict[str, dict[str, Any]] = {}
    ready: dict[str, Measured] = {}
    for variant in variants:
        try:
            with variant.threads():
                ready[variant.name] = set_up(net, variant, settings, steps)
                warm_up = ready[variant.name].run(steps)
        except NotComparedError as reason:
            results[variant.name] = {"not_compared": str(reason)}
            print(f"{net} {variant.name}: not compared: {reason}", flush=True)
            continue
        results[variant.name] = {"warm_up_seconds": warm_up["first_step_seconds"], "measured": []}
        print(f"{net} {variant.name}: ready, first step {warm_up['first_step_seconds']:.1f} s", flush=True)
    for repeat in range(repeats):
        for variant in variants:
            if variant.name in ready:
                with variant.threads():
                    results[variant.name]["measured"].append(ready[variant.name].run(steps))
        print(f"{net}: repeat {repeat + 1} of {repeats}", flush=True)
    for name, measured in ready.items():
        runs = results[name].pop("measured")
        for key in runs[0]:
            results[name][key] = summary([run[key] for run in runs])
        speeds = [measured.batch / run["step_seconds"] for run in runs]
        results[name]["slices_per_second"] = summary(speeds)
    return results


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare every variant with the bare step, and the bundle with the best plain MONAI pipeline."""
    measured = {name: result["slices_per_second"] for name, result in results.items() if "not_compared" not in result}
    speeds = {name: speed["repeats"] for name, speed in measured.items()}
    found = {f"{name} : bare": ratio(values, speeds["bare"]) for name, values in speeds.items() if "bare" in speeds}
    plain = [name for name in speeds if name.startswith("monai")]
    if plain and "bundle" in speeds:
        best = max(plain, key=lambda name: measured[name]["median"])
        found[f"bundle : {best} (best plain pipeline)"] = ratio(speeds["bundle"], speeds[best])
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    description = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    options = argparse.ArgumentParser(description=__doc__, epilog=f"{description}. Options: {', '.join(OPTIONS)}.")
    options.add_argument("--dataset_dir", help="folder of the patients; default: the bundle's")
    options.add_argument("--nets", nargs="+", default=["unet", "pspnet"])
    options.add_argument("--variants", nargs="+", default=list(DEFAULT))
    options.add_argument("--steps", type=int, default=20, help="of one repeat")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--cache_dir", default="runs/cache", help="as the bundle's")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the bundle, for all")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    if strange := [pair for pair in given.set if "=" not in pair]:
        options.error(f"--set takes KEY=VALUE, not {strange[0]!r}")
    settings = {key: yaml.safe_load(text) for key, text in (pair.split("=", 1) for pair in given.set)}
    settings["cache_dir"] = given.cache_dir
    if given.dataset_dir:
        settings["dataset_dir"] = given.dataset_dir
    try:
        variants = [Variant.parse(name) for name in given.variants]
    except ValueError as error:
        options.error(str(error))
    content: dict[str, Any] = {"benchmark": "train", "machine": machine(), "steps": given.steps, "settings": settings}
    for net in given.nets:
        with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
            results = measure(net, variants, settings | {"output_dir": folder}, given.steps, given.repeats)
        content[net] = {"variants": results, "ratios": ratios(results)}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    print("\n".join(lines(content, given.nets)))
    finish(content, given.json)
    return content


def lines(content: dict[str, Any], nets: Sequence[str]) -> list[str]:
    """Lay the results out."""
    found = []
    for net in nets:
        rows = []
        for name, result in content[net]["variants"].items():
            if "not_compared" in result:
                rows.append({"variant": name, "slices/s": "not compared: " + result["not_compared"]})
                continue
            speed, share = result["slices_per_second"], content[net]["ratios"].get(f"{name} : bare", {})
            rows.append(
                {
                    "variant": name,
                    "slices/s": speed["median"],
                    "low": speed["low"],
                    "high": speed["high"],
                    "of bare": share.get("median"),
                    "first step s": result["warm_up_seconds"],
                }
            )
        keys = ("variant", "slices/s", "low", "high", "of bare", "first step s")
        found += [f"\n{net}", table([{key: row.get(key) for key in keys} for row in rows])]
        best = [(name, value) for name, value in content[net]["ratios"].items() if "best plain" in name]
        found += [f"{name}: {value['median']:.2f} ({value['low']:.2f} to {value['high']:.2f})" for name, value in best]
    return found


if __name__ == "__main__":
    main()
