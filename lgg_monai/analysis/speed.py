"""How fast a run learnt: epochs and seconds until its validation IoU first reached a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

THRESHOLDS = (0.5, 0.6, 0.7, 0.8)
OWN_BEST = 0.95
SERIES = ("loss", "iou", "val_loss", "val_iou")


def series(history: Sequence[dict[str, Any]], name: str, against: str = "epoch") -> tuple[list[float], list[float]]:
    """Give a column of the history against the epoch or ``elapsed_seconds``, without epochs that lack it."""
    known = [row for row in history if row.get(name) is not None and row.get(against) is not None]
    return [float(row[against]) for row in known], [float(row[name]) for row in known]


def best_epoch(history: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Give the first row with the highest ``val_iou``; None where nothing was validated."""
    known = [row for row in history if row.get("val_iou") is not None]
    return max(known, key=lambda row: row["val_iou"], default=None)


def time_to(history: Sequence[dict[str, Any]], threshold: float) -> dict[str, float | None]:
    """Give the first ``epoch`` whose ``val_iou`` is at least ``threshold``, and its ``seconds`` since the start.

    The seconds include validation. Both are None where the threshold was never reached.
    """
    for row in history:
        if row.get("val_iou") is not None and row["val_iou"] >= threshold:
            return {"threshold": threshold, "epoch": row["epoch"], "seconds": row["elapsed_seconds"]}
    return {"threshold": threshold, "epoch": None, "seconds": None}


def learning_speed(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise a run's learning.

    Returns:
        ``reached``: one entry of `time_to` a threshold, ``0.5`` to ``0.8`` and ``own_best`` (95 % of the run's highest
        ``val_iou``); ``best``: the epoch of that highest ``val_iou`` and its value; ``last``: the last epoch's numbers.
    """
    reached = {f"{threshold:.1f}": time_to(history, threshold) for threshold in THRESHOLDS}
    best = best_epoch(history)
    never: dict[str, float | None] = {"threshold": None, "epoch": None, "seconds": None}
    reached["own_best"] = time_to(history, OWN_BEST * best["val_iou"]) if best else never
    return {
        "reached": reached,
        "best": {"epoch": best["epoch"], "val_iou": best["val_iou"]} if best else None,
        "last": {name: history[-1].get(name) for name in ("epoch", "elapsed_seconds", *SERIES)},
    }
