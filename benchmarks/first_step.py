"""One training from its very start, for `benchmarks.start`: when its first step ended, and its memory by epoch.

``python -m benchmarks.first_step BUNDLE CREATED JSON``: ``CREATED`` is the wall-clock time at which the process was
started, ``JSON`` the overrides of the bundle. One JSON line is printed at the end.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from lgg_monai.memory import peak_bytes


def resident_mb() -> float | None:
    """Return the memory that this process holds now, in MB; None where the system does not tell."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * resource.getpagesize() / 1e6 if path.is_file() else None


def main(net: str, created: float, overrides: dict[str, Any]) -> dict[str, Any]:
    """Train, and say when and with how much."""
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    times = {"imports": time.time() - created}
    bundle = ConfigWorkflow(
        config_file=f"bundles/{net}.yaml",
        meta_file="bundles/metadata.json",
        logging_file=False,
        workflow_type="train",
        **overrides,
    )
    bundle.initialize()
    trainer = bundle.parser.get_parsed_content("train#trainer")
    times["set up"] = time.time() - created
    memory: list[dict[str, Any]] = []

    def note(engine: Any) -> None:
        peak = peak_bytes()
        memory.append(
            {"epoch": engine.state.epoch, "resident_mb": resident_mb(), "peak_mb": None if peak is None else peak / 1e6}
        )

    def first(engine: Any) -> None:
        times.setdefault("first step", time.time() - created)

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), first)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    bundle.run()
    return {"seconds_since_start": times, "memory": memory}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))))
