"""Does speed cost quality: ``python -m benchmarks.quality [--dataset_dir D] [--net unet] [--seeds 0 1] [--json F]``.

Trains the same network from the same weights for the same steps in two ways: ``fast``, the bundle's own trainer, and
``plain``, MONAI's per-sample transforms in a float32 loop, the rest of the recipe being the bundle's. The averaged
weights after the last epoch, which no validation chose, are scored by the same code on the fold's validation patients,
never on its test patients. Finished trainings are kept in ``--results``: a second start with the same settings goes on
from there. Run it from the repository's root.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
import yaml
from ignite.engine import Engine
from monai.bundle import ConfigParser

from benchmarks.bundle import parser
from benchmarks.plain import PlainMonai
from benchmarks.report import finish, machine, table
from benchmarks.variants import Variant, synchronize
from lgg_monai.analysis.paired import paired_difference
from lgg_monai.data.identity import short_hash
from lgg_monai.engines.precision import AutocastInferer, autocast_dtype
from lgg_monai.engines.scores import score_volume
from lgg_monai.engines.slicewise import SlicewiseInferer
from lgg_monai.errors import LggError
from lgg_monai.files import read_json, write_json

PATHS = ("fast", "plain")
METRIC = "volume_dice"


def fast_path(net: str, settings: dict[str, Any]) -> tuple[ConfigParser, Engine, Callable]:
    """Prepare the bundle's own trainer; return config, engine and what runs it."""
    config = parser(net, settings)
    monai.utils.set_determinism(seed=config.get_parsed_content("seed"))
    config.get_parsed_content("network")  # the first to draw random numbers, as in the plain path
    trainer = config.get_parsed_content("train#trainer")
    return config, trainer, trainer.run


def plain_path(net: str, settings: dict[str, Any], workers: int) -> tuple[ConfigParser, Engine, Callable]:
    """Prepare the plain pipeline with the rest of the bundle's recipe; return config, engine and what runs it."""
    plain = PlainMonai(net, Variant("monai", "monai", {"workers": workers}), settings, slices=None)
    schedule, max_norm = (plain.config.get_parsed_content(key) for key in ("lr_scheduler", "max_grad_norm"))

    def step(engine: Engine, batch: dict[str, torch.Tensor]) -> None:
        plain.step(batch, max_norm)
        schedule.step()

    engine = Engine(step)
    for handler in ("epoch_seeder", "averaging"):
        plain.config.get_parsed_content(handler).attach(engine)
    epochs = plain.config.get_parsed_content("max_epochs")
    return plain.config, engine, functools.partial(engine.run, plain.loader, max_epochs=epochs)


def train_and_score(net: str, path: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Train one network in one way and score it in float32, that of the fast path in its own precision as well.

    Returns:
        ``seconds`` of the training (set-up and scoring apart), ``steps``, a hash of the ``initial_weights``,
        ``precision`` of the training, what is known of the data, and ``scores``: by precision one row a patient.
    """
    with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
        settings = settings | {"output_dir": folder, "val_interval": 10**6, "progress": False}
        config, engine, run = fast_path(net, settings) if path == "fast" else plain_path(net, settings, workers)
        if not (datalist := config.get_parsed_content("datalist"))["validation"]:
            raise LggError("no validation patients in this split: choose a fold")
        device = torch.device(config.get_parsed_content("device"))
        weights = config.get_parsed_content("network").state_dict().values()
        initial = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in weights)).hexdigest()
        start = time.perf_counter()
        run()
        synchronize(device)
        seconds = time.perf_counter() - start
        own = "fp32" if autocast_dtype(device, config.get_parsed_content("precision")) is None else "bf16"
        scores = {precision: score(config, precision) for precision in dict.fromkeys(("fp32", own))}
    result = {key: datalist[key] for key in ("phantom", "fingerprint")} | {"steps": engine.state.iteration}
    return result | {"seconds": seconds, "initial_weights": initial, "precision": own, "scores": scores}


@torch.no_grad()
def score(config: ConfigParser, precision: str) -> list[dict[str, Any]]:
    """Score the averaged weights on whole volumes of the validation patients; one row of `score_volume` a patient."""
    network = config.get_parsed_content("averaging").ema_model.eval()
    device = torch.device(config.get_parsed_content("device"))
    inferer = AutocastInferer(device, SlicewiseInferer(config.get_parsed_content("batch_size")), precision)
    rows = []
    for volume in config.get_parsed_content("validate#dataset"):
        logits = inferer(volume["image"][None].to(device).float(), network)
        masks = (logits[0, 0] > 0).cpu().numpy(), volume["label"][0].cpu().numpy()
        rows.append({"patient": volume["patient"]} | score_volume(*masks))
    return rows


def finished(folder: Path, net: str, path: str, settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Return the result of a training that was finished before with the same settings, or train and keep it."""
    file = folder / f"{net}_seed{settings['seed']}_{path}.json"
    # All that the bundle's files and the command line say, but not the code: after a change of it, empty the folder.
    used = {key: value for key, value in parser(net, settings).get().items() if key not in ("output_dir", "cache_dir")}
    key = short_hash(json.dumps([used, workers if path == "plain" else 0], sort_keys=True, default=str))
    if file.is_file() and (result := read_json(file, "result"))["settings"] == key:
        print(f"{file.stem}: finished before", flush=True)
        return result
    result = {"settings": key, "machine": machine()} | train_and_score(net, path, settings, workers)
    write_json(file, result)
    print(f"{file.stem}: {result['steps']} steps in {result['seconds']:.0f} s", flush=True)
    gc.collect()
    return result


def compare(results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Compare both paths' results, given by seed.

    Returns:
        For each precision of the fast path's inference, by seed and for ``all`` (each patient's mean over seeds): the
        mean Dice of both paths, the paired ``difference`` fast - plain with its interval, and that ``by_patient``.

    Raises:
        LggError: the results of a seed are not of the same weights or number of steps.
    """
    for seed, result in results.items():
        for key in ("initial_weights", "steps", "fingerprint"):
            if result["fast"][key] != result["plain"][key]:
                raise LggError(f"{key} of seed {seed} differ between both paths: remove its results and train again")
    compared: dict[str, Any] = {}
    for precision in result["fast"]["scores"]:
        rows = {seed: (r["fast"]["scores"][precision], r["plain"]["scores"]["fp32"]) for seed, r in results.items()}
        means = [_mean_rows(runs) for runs in zip(*rows.values(), strict=True)]
        compared[precision] = {seed: _pair(*both) for seed, both in rows.items()} | {"all": _pair(*means)}
    return compared


def _pair(fast: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    means = {path: sum(row[METRIC] for row in rows) / len(rows) for path, rows in (("fast", fast), ("plain", plain))}
    each = {row["patient"]: row[METRIC] - other[METRIC] for row, other in zip(fast, plain, strict=True)}
    return means | {"difference": paired_difference(METRIC, plain, fast), "by_patient": each}


def _mean_rows(runs: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    together = zip(*runs, strict=True)
    return [{"patient": rows[0]["patient"], METRIC: sum(row[METRIC] for row in rows) / len(rows)} for rows in together]


def lines(content: dict[str, Any]) -> list[str]:
    """Lay the results out."""
    rows = []
    for precision, compared in content["compared"].items():
        for seed, entry in compared.items():
            low, high = entry["difference"]["ci95"] or (None, None)
            row = {"fast scored in": precision, "seed": seed, "fast": entry["fast"], "plain": entry["plain"]}
            row |= {"fast - plain": entry["difference"]["difference"], "low": low, "high": high}
            row = {head: f"{value:.4f}" if isinstance(value, float) else value for head, value in row.items()}
            rows.append(row | {f"{path} s": r["seconds"] for path, r in content["trainings"].get(seed, {}).items()})
    what = f"{content['net']}, {len(compared['all']['by_patient'])} {'PHANTOM ' if content['phantom'] else ''}patients"
    return [table(rows), f"{what} of the validation part: mean volume Dice, 95 % interval of the paired difference"]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset_dir", help="folder of the patients; default: the bundle's")
    options.add_argument("--net", default="unet")
    options.add_argument("--epochs", type=int, dest="max_epochs", help="default: the bundle's")
    options.add_argument("--slices_per_epoch", type=int, help="default: the bundle's")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options.add_argument("--workers", type=int, default=0, help="of the plain pipeline's loader")
    options.add_argument("--cache_dir", default="runs/cache", help="as the bundle's")
    options.add_argument("--results", type=Path, default=Path("runs/quality"), help="folder of finished trainings")
    options.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the bundle")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    settings = {key: yaml.safe_load(text) for key, text in (pair.split("=", 1) for pair in given.set)}
    named = {key: vars(given)[key] for key in ("dataset_dir", "max_epochs", "slices_per_epoch", "cache_dir")}
    settings |= {key: value for key, value in named.items() if value is not None}
    results: dict[int, dict[str, Any]] = {seed: {} for seed in given.seeds}
    for seed, result in results.items():
        for path in PATHS:
            result[path] = finished(given.results, given.net, path, settings | {"seed": seed}, given.workers)
    content: dict[str, Any] = {"benchmark": "quality", "net": given.net, "machine": machine(), "settings": settings}
    content |= {"compared": compare(results), "trainings": results, "phantom": result["fast"]["phantom"]}
    print("\n".join(lines(content)))
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
