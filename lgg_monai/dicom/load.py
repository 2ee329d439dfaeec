"""Reading the chosen series' pixels as one scan on FLAIR's grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lgg_monai.data.grids import covered, onto_grid
from lgg_monai.data.scan import Scan
from lgg_monai.data.sequences import SEQUENCES
from lgg_monai.dicom.choose import NAMES, Selection, same_frame
from lgg_monai.dicom.geometry import Grid, series_grid
from lgg_monai.dicom.headers import Frame, Series
from lgg_monai.dicom.identity import are_several, quietly
from lgg_monai.errors import LggError

COVERED = 0.95
"""Part of FLAIR's volume that another sequence should cover."""


@dataclass(frozen=True)
class DicomSource:
    """What a DICOM SEG of a scan is written from.

    Args:
        frames: FLAIR's slices along Z; their files' headers are read again when the SEG is written.
        step: millimetres between slices.
        name: stands for the patient where the identity is not kept.
        keep_identity: copy name, number and birth date of the patient into the SEG.
    """

    frames: tuple[Frame, ...] = field(repr=False)
    step: float
    name: str
    keep_identity: bool


def load_scan(selection: Selection, name: str, keep_identity: bool) -> Scan:
    """Read a study's series.

    Returns:
        The scan [3, X, Y, Z] with X along FLAIR's columns, Y along its rows, and Z along its normal.

    Raises:
        LggError: FLAIR makes no regular volume, pixels cannot be read, or the series are of several patients.
    """
    flair = selection.series["flair"]
    grid = series_grid(flair)
    if are_several(person for series in selection.series.values() for person in series.people):
        titles = ", ".join(series.title for series in selection.series.values())
        raise LggError(f"series of more than one patient in one study ({titles}): separate the patients' files")
    flair_volume = read_volume(flair, grid)
    warnings = [*selection.warnings, *grid.warnings]
    image = np.empty((len(SEQUENCES), *grid.shape), np.float32)
    for channel, sequence in enumerate(SEQUENCES):
        series = selection.series.get(sequence)
        if series is None or series is flair:
            image[channel] = flair_volume
            continue
        own = series_grid(series)
        image[channel] = onto_grid(read_volume(series, own), own.affine, grid.shape, grid.affine)
        warnings += own.warnings
        if not same_frame(series, flair):
            warnings.append(f"{series.title} ({NAMES[sequence]}) and FLAIR name different frames of reference")
        part = covered(own.shape, own.affine, grid.shape, grid.affine)
        if part < COVERED:
            warnings.append(f"{series.title} ({NAMES[sequence]}) covers {part:.0%} of FLAIR's volume")
    return Scan(
        name=name,
        image=image,
        affine=grid.affine,
        missing=tuple(sequence for sequence in SEQUENCES if sequence not in selection.series),
        warnings=warnings,
        source=DicomSource(grid.frames, float(np.linalg.norm(grid.affine[:3, 2])), name, keep_identity),
    )


def read_volume(series: Series, grid: Grid) -> np.ndarray:
    """Read a series' pixels in the grid's order, as real values [X, Y, Z], float32."""
    volume = np.empty(grid.shape, np.float32)
    path, pixels = None, np.empty(0)
    for z, frame in enumerate(grid.frames):
        if frame.path != path:
            path, pixels = frame.path, _pixels(frame, series)
        volume[:, :, z] = pixels[frame.index].T * frame.slope + frame.intercept
    return volume


def _pixels(frame: Frame, series: Series) -> np.ndarray:
    """Decode one file's stored values [frames, rows, columns]."""
    what = f"image {frame.number} of {series.title}"
    try:
        with quietly():
            dataset = dcmread(frame.path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a header: as it was read
                implicit, little = dataset.original_encoding
                explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
            _check_decoder(dataset, series)
            return dataset.pixel_array.reshape(-1, *frame.shape)
    except OSError as error:
        raise LggError(f"cannot read {what} ({error.strerror}): check the file and its permissions") from None
    except LggError:
        raise
    except Exception:  # pydicom and its decoders raise many kinds; the cause, not kept, may quote the header
        raise LggError(f"cannot decode the pixels of {what} (damaged or cut short): copy the file again") from None


def _check_decoder(dataset: Dataset, series: Series) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise LggError(
            f"no decoder for the compression ({syntax.name}) of {series.title}: export the series uncompressed, "
            "or pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        )
