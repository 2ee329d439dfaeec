"""Time to start, and memory: ``python -m benchmarks.start [--dataset_dir D] [--nets unet pspnet] [--json F]``.

Imports and ``lgg-monai --help`` as processes of their own, in turns; training from nothing and a second time on the
same data, till its first step; resident memory after each of some epochs, validation included. Run it from the
repository's root on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import finish, machine, ratio, summary, table

PROCESSES = {
    "python": [sys.executable, "-c", "pass"],
    "lgg-monai --help": [sys.executable, "-c", "from lgg_monai.cli import main; main()", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import monai": [sys.executable, "-c", "import monai"],
    "import monai and its engines": [sys.executable, "-c", "import monai.bundle, monai.engines, monai.handlers"],
    "import lgg_monai.data and engines": [sys.executable, "-c", "import lgg_monai.data, lgg_monai.engines"],
}


def starts(repeats: int) -> dict[str, Any]:
    """Time processes from start to end, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for repeat in range(repeats + 1):
        for name, command in PROCESSES.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if repeat:  # the first one reads from the disk what the others find in memory
                seconds[name].append(time.perf_counter() - start)
    ours = seconds["import lgg_monai.data and engines"]
    compared = {f"ours : {name}": ratio(ours, seconds[name]) for name in list(PROCESSES)[3:5]}
    return {"seconds": {name: summary(values) for name, values in seconds.items()}, "ratios": compared}


def training(net: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Start a training in a process of its own."""
    overrides = {"progress": False, **settings}
    command = [sys.executable, "-m", "benchmarks.first_step", net, repr(time.time()), json.dumps(overrides)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(result.stdout.strip().splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset_dir", help="folder of the patients; default: the bundle's")
    options.add_argument("--nets", nargs="*", default=["unet", "pspnet"])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--epochs", type=int, default=4, help="of the second start, for the memory")
    options.add_argument("--slices", type=int, default=320, help="of an epoch")
    options.add_argument("--set", default="{}", metavar="JSON", help="more overrides of the bundle")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    content: dict[str, Any] = {"benchmark": "start", "machine": machine(), "starts": starts(given.repeats)}
    rows = [
        {"process": name, "seconds": value["median"], "low": value["low"], "high": value["high"]}
        for name, value in content["starts"]["seconds"].items()
    ]
    print(table(rows))
    for name, value in content["starts"]["ratios"].items():
        print(f"{name}: {value['median']:.2f}")
    for net in given.nets:
        with tempfile.TemporaryDirectory(prefix="lgg-benchmark-") as folder:
            settings: dict[str, Any] = {"slices_per_epoch": given.slices, "cache_dir": f"{folder}/cache"}
            settings |= {"dataset_dir": given.dataset_dir} if given.dataset_dir else {}
            settings |= json.loads(given.set)
            short = {"max_epochs": 1, "val_interval": 10**6, "output_dir": f"{folder}/first"}
            first = training(net, settings | short | {"slices_per_epoch": 16})
            second = training(net, settings | {"max_epochs": given.epochs, "output_dir": f"{folder}/second"})
            disk = training(net, settings | {"max_epochs": 2, "output_dir": f"{folder}/disk", "cache": "disk"})
        content[net] = {"first start": first, "second start": second, "cache on disk": disk}
        print(f"\n{net}")
        print(table([{"start": name} | run["seconds_since_start"] for name, run in content[net].items()]))
        print(table([{"start": name} | epoch for name, run in content[net].items() for epoch in run["memory"]]))
    finish(content, given.json)
    return content


if __name__ == "__main__":
    main()
