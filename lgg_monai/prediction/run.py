"""Segmenting many scans into an output folder: resumable, and no bad scan stops the others."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import lgg_monai
from lgg_monai.data.scan import ScanSource
from lgg_monai.errors import LggError
from lgg_monai.files import writable_folder, write_json
from lgg_monai.prediction import earlier, outputs
from lgg_monai.prediction.failures import in_one_line, reason_of, writing
from lgg_monai.prediction.inputs import RESULT, SETTINGS
from lgg_monai.prediction.pipeline import overlapped, quiet_libraries
from lgg_monai.prediction.processes import Processes, alone_in
from lgg_monai.prediction.report_page import RESEARCH_USE, Outcome, embed_result, write_report_page
from lgg_monai.prediction.segmenter import Prepared, Segmenter
from lgg_monai.prediction.settings import require_same_settings, settings_digests, settings_of
from lgg_monai.prediction.steps import Drawn, assess, draw, read
from lgg_monai.progress import Progress
from lgg_monai.provenance import commit, describe_device, versions


def predict(
    sources: list[ScanSource],
    segmenter: Segmenter,
    output: Path,
    *,
    probabilities: bool = False,
    overwrite: bool = False,
    report: bool = True,
    workers: int = 1,
    keep_identity: bool = False,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Segment scans into ``output/<name>/``, and write the table and the report over all of them.

    Args:
        sources: from `lgg_monai.prediction.inputs.find_scans`.
        segmenter: from `lgg_monai.prediction.models.load_segmenter`.
        output: folder to write to.
        probabilities: write probability maps too.
        overwrite: segment anew what is there.
        report: write ``report.html``.
        workers: scans that are read ahead, each by a thread; memory holds that many and two or three more, as one is
            measured and written while the network works on the next.
        keep_identity: paths of DICOM files may be shown.
        processes: this one among those that torchrun started.
        progress: called after each scan with how many are done, how many there are, and its name.

    Returns:
        What became of the scans, those of other processes included.

    Raises:
        LggError: the output folder holds other results, cannot be written, is full, or another prediction writes to it.
    """
    processes = processes or Processes()
    settings = settings_of(segmenter)
    digests = settings_digests(settings)
    output = writable_folder(output, choose="another with --output")
    require_same_settings(output, settings, {source.name for source in sources}, overwrite)
    with alone_in(output, processes):  # for which all wait, so nobody writes before all have looked
        record = {
            "lgg_monai": lgg_monai.__version__,
            "notice": RESEARCH_USE,
            "settings": settings,
            "options": {"probabilities": probabilities, "report": report, "processes": processes.count},
            "device": describe_device(segmenter.device),
            "versions": versions(),
            "commit": commit(),
            "started": _now(),
            "ended": None,
        }
        if processes.first:
            with writing(output):
                write_json(output / SETTINGS, record)

        outcome = Outcome()
        own = processes.share(sources)
        wanted = {outputs.PROBABILITY} if probabilities else set()
        wanted |= {outputs.FLAIR_VOLUME} if report else set()
        done = None if overwrite else digests
        todo = _to_do(own, output, wanted, done, keep_identity, outcome)
        finished = len(own) - len(todo)
        phantom = any(source.phantom for source in sources)

        def read_all(source: ScanSource) -> tuple[str, Prepared, np.ndarray | None]:
            inputs = earlier.inputs_digest(source)  # before it is read: what replaces it meanwhile was not segmented
            return inputs, *read(source, segmenter)

        def work(scan: tuple[str, Prepared, np.ndarray | None]) -> tuple[str, Drawn, np.ndarray | None]:
            inputs, prepared, label = scan
            return inputs, draw(segmenter, prepared), label

        def write(source: ScanSource, scan: tuple[str, Drawn, np.ndarray | None]) -> bool:
            inputs, drawn, label = scan
            prediction = assess(drawn, label, segmenter.seen)
            folder = outputs.patient_folder(output, source.name)
            earlier.require_free(folder, source)  # somebody may have corrected its mask meanwhile
            if (folder / RESULT).is_file():  # nothing is to tell of its mask after an interruption
                for name in (outputs.REPORT, outputs.MEASUREMENTS):
                    (output / name).unlink(missing_ok=True)
            made_from = {"source": earlier.source_digest(source), "inputs": inputs, "settings": digests[0]}
            result = outputs.write_prediction(
                folder, source, prediction, made_from, probabilities=probabilities, viewed=report
            )  # fmt: skip
            if report:
                embed_result(output, result, phantom)
            return bool(prediction.warnings)

        with quiet_libraries():
            for source, written in overlapped(todo, read_all, work, write, readers=max(workers, 1), writers=1):
                try:
                    if written.result():
                        outcome.warned.append(source.name)
                    outcome.done.append(source.name)
                except Exception as error:  # one bad scan must not stop the others
                    outcome.failed[source.name] = reason_of(error, source, output, keep_identity)
                finished += 1
                if progress is not None:
                    progress(finished, len(own), source.name)

        outcome = _merged(processes.gather(outcome))
        if processes.first:
            results = outputs.read_results(output, digests)
            with writing(output):
                outputs.write_table(output, [_with_failure(result, outcome) for result in results])
                if report:
                    write_report_page(output, results, outcome, segmenter, sources)
                elif outcome.done:
                    (output / outputs.REPORT).unlink(missing_ok=True)  # it would show the masks of before
                counts = {name: len(getattr(outcome, name)) for name in ("done", "skipped", "failed", "warned")}
                write_json(output / SETTINGS, {**record, "ended": _now(), **counts, "failures": outcome.failed})
        processes.gather(None)
        return outcome


def _to_do(
    sources: list[ScanSource],
    output: Path,
    wanted: set[str],
    settings: Container[str] | None,
    keep_identity: bool,
    outcome: Outcome,
) -> list[ScanSource]:
    """List the scans to segment, and note in ``outcome`` those that are done already or cannot be.

    Args:
        sources: of this process.
        output: the folder.
        wanted: files that a patient's results hold beside the mask; what is asked for now may not have been then.
        settings: with which results count as done; None where all are to be made anew.
        keep_identity: paths of DICOM files may be shown.
        outcome: of the scans.
    """
    todo = []
    for source in sources:
        try:
            folder = outputs.patient_folder(output, source.name)
            files = wanted | {outputs.MASK} | ({outputs.SEG} if source.seg else set())
            complete = settings is not None and earlier.is_done(folder, source, settings)
            if complete and all((folder / name).is_file() for name in files):
                outcome.skipped.append(source.name)
            else:
                earlier.require_free(folder, source)
                todo.append(source)
        except (LggError, OSError) as error:
            outcome.failed[source.name] = in_one_line(str(error), source, keep_identity)
    return todo


def _with_failure(result: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Say in a table's row that the scan failed now, where its result is an older one."""
    why = outcome.failed.get(result["patient"])
    return result if why is None else result | {"warnings": [*result["warnings"], f"older result, now failed: {why}"]}


def _merged(parts: list[Outcome]) -> Outcome:
    whole = Outcome()
    for part in parts:
        whole.done += part.done
        whole.skipped += part.skipped
        whole.failed |= part.failed
        whole.warned += part.warned
    return whole


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
