"""Segmenting many scans into an output folder: resumable, and no bad scan stops the others."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import lgg_monai
from lgg_monai.data.sequences import FLAIR
from lgg_monai.engines.run_folder import commit, describe_device, versions
from lgg_monai.errors import LggError
from lgg_monai.files import writable_folder, write_json
from lgg_monai.prediction import outputs
from lgg_monai.prediction.checks import flags, require_sound
from lgg_monai.prediction.measurements import head_mask, measure
from lgg_monai.prediction.outputs import Prediction
from lgg_monai.prediction.processes import Processes
from lgg_monai.prediction.report_page import RESEARCH_USE, Outcome, write_report_page
from lgg_monai.prediction.scan import ScanSource
from lgg_monai.prediction.segmenter import THRESHOLD, Prepared, Segmenter
from lgg_monai.prediction.settings import require_same_settings, settings_digest, settings_of
from lgg_monai.transforms.components import without_specks

logger = logging.getLogger(__name__)

# No other patient fares better then.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
Progress = Callable[[int, int, str], object]


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
        workers: scans that are read ahead, each by a thread; memory holds that many and one or two more.
        keep_identity: paths of DICOM files may be shown.
        processes: this one among those that torchrun started.
        progress: called after each scan with how many are done, how many there are, and its name.

    Returns:
        What became of the scans, those of other processes included.

    Raises:
        LggError: the output folder holds other results, cannot be written or is full.
    """
    processes = processes or Processes()
    settings = settings_of(segmenter)
    digest = settings_digest(settings)
    output = _output_folder(output)
    require_same_settings(output, settings, overwrite)
    processes.gather(None)  # nobody writes before all have looked
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
        _saving(lambda: write_json(output / outputs.SETTINGS, record))

    outcome = Outcome()
    todo = []
    own = processes.share(sources)
    for source in own:
        try:
            folder = outputs.patient_folder(output, source.name)
            # A probability map that is asked for now may not have been then.
            complete = not probabilities or (folder / outputs.PROBABILITY).is_file()
            if not overwrite and outputs.is_done(folder, source, digest) and complete:
                outcome.skipped.append(source.name)
            else:
                todo.append(source)
        except (LggError, OSError) as error:
            outcome.failed[source.name] = _reason(str(error), source, keep_identity)
    finished = len(own) - len(todo)

    def read(source: ScanSource) -> tuple[Prepared, np.ndarray | None]:
        scan = source.load()
        scan.name = source.name
        require_sound(scan)
        label = outputs.read_label(source, scan)
        return segmenter.prepare(scan), label

    for source, future in _read_ahead(todo, read, workers):
        try:
            prepared, label = future.result()
            prediction = segment_prepared(segmenter, prepared, label)
            folder = outputs.patient_folder(output, source.name)
            outputs.write_prediction(folder, source, prediction, digest, probabilities=probabilities, viewed=report)
            outcome.done.append(source.name)
            if prediction.warnings:
                outcome.warned.append(source.name)
        except LggError as error:
            outcome.failed[source.name] = _reason(str(error), source, keep_identity)
        except OSError as error:
            if error.errno in _FATAL:
                raise _cannot_write(output, error) from error
            outcome.failed[source.name] = _reason(f"{type(error).__name__}: {error}", source, keep_identity)
        except Exception as error:  # one bad scan must not stop the others
            logger.debug("unexpected error on %s", source.name, exc_info=True)
            what = "not enough memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
            outcome.failed[source.name] = _reason(what, source, keep_identity)
        finished += 1
        if progress is not None:
            progress(finished, len(own), source.name)

    outcome = _merged(processes.gather(outcome))
    if processes.first:
        results = outputs.read_results(output, digest)

        def write_all() -> None:
            outputs.write_table(output, results)
            if report:
                write_report_page(output, results, outcome, segmenter, sources)
            counts = {name: len(getattr(outcome, name)) for name in ("done", "skipped", "failed", "warned")}
            write_json(output / outputs.SETTINGS, {**record, "ended": _now(), **counts, "failures": outcome.failed})

        _saving(write_all)
    processes.gather(None)
    return outcome


def segment_prepared(segmenter: Segmenter, prepared: Prepared, label: np.ndarray | None = None) -> Prediction:
    """Segment one scan, measure its mask, and note what is odd about it."""
    scan, placement = prepared.scan, prepared.placement
    probability = segmenter(prepared)
    found = probability >= THRESHOLD
    mask = without_specks(found)
    head = head_mask(placement.turned(scan.image[FLAIR]))
    measurements = measure(scan, placement, head, mask, probability, label)
    warnings = flags(scan, placement, head, mask)
    if found.any() and not mask.any():
        warnings.append(f"all that was found are {found.sum()} voxels in specks, which were removed")
    if scan.name in segmenter.seen:
        warnings.append("took part in the training of these weights: the result flatters them")
    return Prediction(scan, mask, probability, measurements, warnings, label)


def _read_ahead(
    sources: Iterable[ScanSource], read: Callable[[ScanSource], Any], workers: int
) -> Iterator[tuple[ScanSource, Future]]:
    """Yield each source with its scan, while threads read the next ``workers`` ones and no more."""
    pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="read")
    try:
        waiting: deque[tuple[ScanSource, Future]] = deque()
        for source in sources:
            waiting.append((source, pool.submit(read, source)))
            if len(waiting) > workers:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _output_folder(output: Path) -> Path:
    try:
        return writable_folder(output)
    except LggError as error:
        raise LggError(str(error).replace("--output_dir", "--output")) from error


def _saving(write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise _cannot_write(Path(error.filename or "the output folder"), error) from error


def _cannot_write(path: Path, error: OSError) -> LggError:
    reason = error.strerror or type(error).__name__
    return LggError(f"cannot write to {path} ({reason}): free space or choose another --output; what is done is kept")


def _reason(text: str, source: ScanSource, keep_identity: bool) -> str:
    """Write a reason in one line, without the path of DICOM files, which may name the patient."""
    path = str(source.path)
    if source.kind == "dicom" and not keep_identity and len(path) > 1:  # "." or "/" is no name, but in every sentence
        text = text.replace(path, "the series")
    return " ".join(text.split())


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
