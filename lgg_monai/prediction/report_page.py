"""The page over all results of an output folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lgg_monai.data.scan import ScanSource
from lgg_monai.errors import LggError
from lgg_monai.prediction import outputs
from lgg_monai.prediction.measurements import DEFINITIONS
from lgg_monai.prediction.segmenter import THRESHOLD, Segmenter
from lgg_monai.transforms.components import SMALLEST_COMPONENT, SMALLEST_SHARE
from lgg_monai.viewer import ReportPatient

RESEARCH_USE = "For research use only. Not a medical device: not for diagnosis or treatment."


@dataclass
class Outcome:
    """What became of the scans, by name.

    Args:
        done: segmented now.
        skipped: their results were there.
        failed: with the reason in one line.
        warned: segmented, with something a reader should know.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)


def embed_result(output: Path, result: dict[str, Any], phantom: bool) -> None:
    """Write what the page shows of one scan, ahead of the page; where that cannot be, the page will say why."""
    from lgg_monai.viewer.data import embed

    with suppress(LggError, OSError):
        embed(output, _report_patient(result), phantom)


def write_report_page(
    output: Path, results: list[dict[str, Any]], outcome: Outcome, segmenter: Segmenter, sources: list[ScanSource]
) -> None:
    """Write ``report.html`` over all results, and the scans that failed now."""
    from lgg_monai.viewer.report import write_report

    # What fails now may have an older result, which stays.
    patients = [replace(_report_patient(r), error=outcome.failed.get(r["patient"])) for r in results]
    known = {patient.name for patient in patients}
    patients += [ReportPatient(name=name, error=why) for name, why in outcome.failed.items() if name not in known]
    phantom = any(result["phantom"] for result in results) or any(source.phantom for source in sources)
    notes = [
        RESEARCH_USE,
        f"Masks by {_mean_of(len(segmenter.networks))}{segmenter.name}, probability {THRESHOLD} and above; "
        f"connected parts of up to {SMALLEST_COMPONENT} voxels, or {SMALLEST_SHARE:.0%} of the largest, are removed.",
    ]
    known_spacing = {result["spacing_known"] for result in results}
    if known_spacing == {True}:
        notes.append("Diameters are in mm.")
    elif known_spacing:
        others = ", of the others in mm" if True in known_spacing else ""
        notes.append(f"Diameters are in pixels where the files record no spacing{others}.")
    write_report(output, patients, title="Predicted masks", phantom=phantom, notes=notes, definitions=DEFINITIONS)


def _report_patient(result: dict[str, Any]) -> ReportPatient:
    folder = result["folder"]
    there: Mapping[str, Path | None] = {
        name: path if (path := folder / name).is_file() else None for name in outputs.WRITTEN
    }
    measured = {name: value for name, value in result["measurements"].items() if name != "dice" or value is not None}
    return ReportPatient(
        name=result["patient"],
        image=there[outputs.FLAIR_VOLUME],
        mask=folder / outputs.MASK,
        truth=there[outputs.REFERENCE],
        probability=there[outputs.PROBABILITY],
        seg=there[outputs.SEG],
        measurements=measured,
        warnings=result["warnings"],
        spacing_known=result["spacing_known"],
    )


def _mean_of(networks: int) -> str:
    return "" if networks == 1 else f"the mean of {networks} networks of "
