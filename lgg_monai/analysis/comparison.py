"""Comparing runs: the numbers, their files, the plots, the pictures and the page, in one folder that appears whole."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lgg_monai.analysis import original
from lgg_monai.analysis.compared import load_runs
from lgg_monai.analysis.cost import QUANTITIES, cost_ratios, run_cost
from lgg_monai.analysis.figures import save_plot
from lgg_monai.analysis.findings import write_findings
from lgg_monai.analysis.measure import METHOD
from lgg_monai.analysis.output import new_folder, require_new_folder
from lgg_monai.analysis.page import render_page
from lgg_monai.analysis.paired import RESAMPLES, SEED
from lgg_monai.analysis.pictures import draw_pictures
from lgg_monai.analysis.plots import learning_curves, quality_plots
from lgg_monai.analysis.quality import compare_quality
from lgg_monai.analysis.runs import Run
from lgg_monai.analysis.scoring import scoring_remarks
from lgg_monai.analysis.sources import planned_folds
from lgg_monai.analysis.speed import learning_speed
from lgg_monai.data.patients import Patient, patients_by_name
from lgg_monai.engines.summary import METRICS
from lgg_monai.files import replacing, write_json, write_text

PAGE = "report.html"
# What differs between any two runs and explains nothing.
UNREMARKABLE = {"output_dir", "bundle_root", "resume", "progress", "imports", "initialize", "run"}
PAIRED_METHOD = (
    f"Other minus first; patients resampled in pairs {RESAMPLES} times with seed {SEED}, 95 % percentile interval. "
    "Wilcoxon: two-sided signed-rank test of the patients' values, not corrected for many comparisons. "
    "Scans of one person, by their names, are resampled together, and their mean is one value to the test."
)
CSV_COLUMNS = ("section", "run", "metric", "value", "low", "high", "n")


def compare(
    folders: Sequence[Path],
    output: Path,
    allow_different_data: bool = False,
    measured: bool = True,
    dataset_dir: Path | None = None,
) -> Path:
    """Compare run folders and write the report.

    Args:
        folders: two or more, of runs or cross-validations; the first is what the others are compared with.
        output: a new or empty folder for ``report.html``, ``comparison.json``, ``comparison.csv``, ``plots/`` and
            ``pictures/``.
        allow_different_data: compare runs of different data, splits or seeds, and stamp everything.
        measured: build the networks to count FLOPs and inference memory.
        dataset_dir: folder of the patients that are drawn; by default where they lay in training.

    Returns:
        The page.

    Raises:
        LggError: a run cannot be compared, or the folder cannot be written; nothing is written then.
    """
    require_new_folder(output)
    here = patients_by_name(dataset_dir)
    runs, differences = load_runs(folders, allow_different_data)
    content = collect(runs, differences, measured)
    with new_folder(output) as folder:
        _write(folder, runs, content, here)
    return output / PAGE


def collect(runs: Sequence[Run], differences: Sequence[str] = (), measured: bool = True) -> dict[str, Any]:
    """Gather every number of the report: what ``comparison.json`` holds."""
    costs = [run_cost(run, measured) for run in runs]
    ratios = cost_ratios(runs, costs)
    content: dict[str, Any] = {
        "phantom": any(run.phantom for run in runs),
        "differences": list(differences),
        "stamp": _stamp(runs, differences),
        "scoring": scoring_remarks(runs),
        "notes": _notes(runs),
        "runs": [
            {**_identity(run), "speed": learning_speed(run.history), "cost": cost, "ratios": ratio}
            for run, cost, ratio in zip(runs, costs, ratios, strict=True)
        ],
        "settings_that_differ": settings_that_differ(runs),
        "quality": compare_quality(runs),
        "how_to_evaluate": [
            _evaluation_command(part) for run in runs for part in run.parts if part.unscored and part.datalist["test"]
        ],
        "definitions": {name: metric.definition for name, metric in METRICS.items()},
        "cost_definitions": {name: quantity.definition for name, quantity in QUANTITIES.items()},
        "methods": {
            "measured": METHOD,
            "paired": PAIRED_METHOD,
        },
        "original": {
            "figures": original.FIGURES,
            "pspnet_to_unet": original.PSPNET_TO_UNET,
            "epochs": original.EPOCHS,
            "conventions": original.CONVENTIONS,
        },
    }
    content["findings"] = write_findings(content)
    return content


def settings_that_differ(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """List the configs' top-level keys, and what the runs ran on, where not all runs agree."""
    found = []
    every = [
        run.config | {key: run.record.get(key) for key in ("device", "precision", "threads", "commit")} for run in runs
    ]
    for key in dict.fromkeys(key for settings in every for key in settings):
        values = [_text(settings.get(key)) for settings in every]
        if key not in UNREMARKABLE and len(set(values)) > 1:
            found.append({"setting": key, "values": values})
    return found


def flat_rows(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lay all numbers out as rows of `CSV_COLUMNS`, for spreadsheets."""
    labels = [run["label"] for run in content["runs"]]
    for run in content["runs"]:
        label = run["label"]
        for name in QUANTITIES:
            yield {"section": "cost", "run": label, "metric": name, "value": run["cost"][name]}
            ratio = run["ratios"][name]
            yield {"section": "cost_ratio_to_first", "run": label, "metric": name, "value": ratio["ratio"]}
            if ratio["original"] is not None:
                yield {"section": "cost_ratio_original", "run": label, "metric": name, "value": ratio["original"]}
        for name, entry in run["speed"]["reached"].items():
            for unit in ("epoch", "seconds"):
                metric = f"{unit}_to_val_iou_{name}"
                yield {"section": "speed", "run": label, "metric": metric, "value": entry[unit]}
        for name, value in run["speed"]["last"].items():
            yield {"section": "last_epoch", "run": label, "metric": name, "value": value}
        for name, value in (run["speed"]["best"] or {}).items():
            yield {"section": "best_epoch", "run": label, "metric": name, "value": value}
        for name, value in content["original"]["figures"].get(run["network"], {}).items():
            yield {"section": "original", "run": label, "metric": name, "value": value}
    quality = content["quality"]
    if not quality["available"]:
        return
    for label, summary in zip(labels, quality["summaries"], strict=True):
        for name in METRICS:
            for statistic, interval in (("mean", "ci95"), ("median", "median_ci95")):
                known = summary[name]
                if known[statistic] is not None:
                    entry = {"value": known[statistic], "ci95": known[interval], "n": known["n"]}
                    yield _interval_row(f"test_{statistic}", label, name, entry)
    for label, paired in zip(labels[1:], quality["paired"], strict=True):
        for name, entry in paired.items():
            yield _interval_row("paired_difference", label, name, entry | {"value": entry["difference"]})
            yield {"section": "wilcoxon_p", "run": label, "metric": name, "value": entry["wilcoxon_p"], "n": entry["n"]}
            for key in ("median", "higher", "lower", "equal"):
                yield {"section": f"paired_{key}", "run": label, "metric": name, "value": entry[key], "n": entry["n"]}
    for group in quality["groups"]:
        section = f"group {group['title']}"
        for number, label in enumerate(labels):
            for statistic in ("mean", "median"):
                metric = f"volume_dice_{statistic}"
                value = group[statistic][number]
                yield {"section": section, "run": label, "metric": metric, "value": value, "n": group["n"]}
            if number:
                entry = group["paired"][number - 1]
                yield _interval_row(section, label, "volume_dice_difference", entry | {"value": entry["difference"]})
    for row in quality["table"]:
        for label, dice in zip(labels, row["volume_dice"], strict=True):
            yield {"section": f"patient {row['patient']}", "run": label, "metric": "volume_dice", "value": dice}


def _write(folder: Path, runs: Sequence[Run], content: dict[str, Any], here: Mapping[str, Patient]) -> None:
    quality, stamp = content["quality"], content["stamp"]
    plots = learning_curves(runs) + (quality_plots(runs, quality) if quality["available"] else [])
    for plot in plots:
        save_plot(folder / "plots", plot, stamp)
    rows, note = draw_pictures(folder, runs, quality["table"], stamp, here) if quality["available"] else ([], "")
    if note:
        content["notes"].append(note)
    write_json(folder / "comparison.json", content)
    with replacing(folder / "comparison.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        if stamp:
            writer.writerow({"section": "stamp", "metric": stamp})
        writer.writerows(flat_rows(content))
    write_text(folder / PAGE, render_page(content, plots, rows, folder))


def _identity(run: Run) -> dict[str, Any]:
    data = run.record.get("data") or {}
    return {
        "label": run.label,
        "network": run.network,
        "epochs": run.history[-1]["epoch"],
        "slices_per_epoch": run.config.get("slices_per_epoch"),  # None: every tumour slice once, and as many of all
        "seed": run.record.get("seed"),
        "device": run.record.get("device"),
        "precision": run.record.get("precision"),
        "threads": run.record.get("threads"),
        "torch": (run.record.get("versions") or {}).get("torch"),
        "commit": run.record.get("commit"),
        "started": run.record.get("started"),
        "cross_validation": len(run.folds),  # 0: one training
        # Of a cross-validation all folds' together: each patient trains in several of them.
        "patients": {part: len(run.datalist[part]) for part in ("training", "validation", "test")},
        "fold": data.get("fold"),
        "folds": data.get("folds"),
        "fingerprint": data.get("fingerprint"),
        "resumed": len(run.record.get("resumed") or []),
    }


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    definitions: dict[str, list[str]] = {}
    for run in runs:
        definitions.setdefault(_text(run.config.get("network_def")), []).append(run.label)
    for labels in definitions.values():
        if len(labels) > 1:
            notes.append(
                f"One network: {', '.join(labels[:-1])} and {labels[-1]} have the same network_def, so they compare "
                "trainings, not networks."
            )
    for what, name in (("device", "devices"), ("precision", "precisions"), ("threads", "numbers of threads")):
        if len({part.record.get(what) for run in runs for part in run.parts}) > 1:
            notes.append(f"The runs used different {name}: their time and memory do not compare the networks alone.")
    if len({run.history[-1]["epoch"] for run in runs}) > 1:
        notes.append("The runs were trained for different numbers of epochs.")
    if any(run.folds for run in runs):
        notes.append(
            "Of a cross-validation, each patient's scores are of the fold that was tested on it. Learning and time are "
            "means over the folds, of the epochs that all have; memory is the highest, the rest that of the first fold."
        )
    for run in runs:
        planned = planned_folds(run.folder) if run.folds else None
        if planned and planned > len(run.folds):
            there = f"{len(run.folds)} of {planned} folds are there"
            notes.append(f"Of {run.label}, {there}: the patients of the others are left out.")
    resumed = [run.label for run in runs if run.record.get("resumed")]
    if resumed:
        notes.append(f"Interrupted and resumed: {', '.join(resumed)}; the time in between is not counted.")
    return notes


def _evaluation_command(run: Run) -> str:
    bundle = run.config.get("bundle_root") or "bundles/unet"
    configs = f"\"['{bundle}.yaml','configs/evaluate.yaml']\""
    data = (run.record.get("data") or {}).get("dataset_dir", "DIR")
    dataset_dir, folder = (shlex.quote(str(path)) for path in (data, run.folder))
    return f"python -m monai.bundle run --config_file {configs} --dataset_dir {dataset_dir} --output_dir {folder}"


def _stamp(runs: Sequence[Run], differences: Sequence[str]) -> str:
    words = ["PHANTOM"] if any(run.phantom for run in runs) else []
    return ", ".join([*words, *([f"DIFFERENT {' AND '.join(differences).upper()}"] if differences else [])])


def _interval_row(section: str, run: str, metric: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    low, high = entry["ci95"] or (None, None)
    n = entry["n"]
    return {"section": section, "run": run, "metric": metric, "value": entry["value"], "low": low, "high": high, "n": n}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
