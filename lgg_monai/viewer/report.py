"""Writing the page: a table of patients that opens each one in the viewer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from lgg_monai.drawing.overlays import LABEL_COLOUR, PREDICTION_COLOUR
from lgg_monai.errors import LggError
from lgg_monai.files import replacing, write_text
from lgg_monai.viewer.data import DATA, SLICES, VOLUMES, Embedded, embed, identity_of
from lgg_monai.viewer.patient import PAGE, ReportPatient
from lgg_monai.viewer.templates import SHARED, data_uri, number, page_environment

LIBRARY, LICENCE = "niivue.js", "niivue.LICENSE.txt"
FIRST_COLUMNS = 5  # with a value; the others are shown on request, and beside each patient's volumes


@dataclass(frozen=True)
class Cell:
    """A value of the table: how it is written, and what it is sorted by (empty sorts last)."""

    text: str
    key: str
    numeric: bool


def write_report(
    folder: Path,
    patients: Sequence[ReportPatient],
    *,
    title: str,
    phantom: bool,
    notes: Sequence[str],
    definitions: Mapping[str, str] | None = None,
) -> Path:
    """Write ``folder/report.html`` and the data that it loads on demand, in ``folder/viewer``.

    The page itself holds the table with its thumbnails, and works alone. Volumes that were embedded before and have not
    changed since are not written again; those of patients that are not named any more are removed. A patient whose
    volumes cannot be read is shown with the reason.

    Args:
        folder: of the results, where the volumes usually lie too; those within are offered as files.
        patients: in the order of the table; their names differ.
        title: of the page.
        phantom: the patients are synthetic, and everything is stamped so.
        notes: what a reader should bear in mind, one paragraph each.
        definitions: of measurements, name to meaning.

    Returns:
        The page's path.

    Raises:
        LggError: two patients have one name.
    """
    folder = Path(folder)
    names = [patient.name for patient in patients]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LggError(
            f"two patients are called {repeated[0]!r} in the report of {folder}: give each a name of its own"
        )
    columns = list(dict.fromkeys(name for patient in patients for name in patient.measurements))
    rows = [_row(folder, patient, columns, phantom) for patient in patients]
    for name in (LIBRARY, LICENCE):
        _copy_beside(SHARED / name, folder / DATA / name)
    _remove_others(folder / DATA, {identity_of(name) for name in names})

    environment = page_environment(SHARED)
    page = environment.get_template("page.html.j2").render(
        title=title,
        phantom=phantom,
        notes=notes,
        definitions=definitions or {},
        columns=_columns(columns, rows),
        rows=rows,
        failed=sum(row["error"] is not None for row in rows),
        warned=sum(bool(row["warnings"]) and row["error"] is None for row in rows),
        prediction_colour=f"rgb{PREDICTION_COLOUR}",
        truth_colour=f"rgb{LABEL_COLOUR}",
        script=Markup((SHARED / "page.js").read_text(encoding="utf-8")),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def format_value(value: Any) -> Cell:
    """Write a measurement with three significant digits or more."""
    if hasattr(value, "item"):  # numpy's scalars
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return Cell("–", "", True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", str(value), False)
    if isinstance(value, int):
        return Cell(number(value, 0), str(value), True)
    if isinstance(value, float):
        digits = next((digits for digits, least in enumerate((100, 10, 1)) if abs(value) >= least), 3)
        return Cell(number(value, digits), repr(value), True)
    if isinstance(value, list | tuple):
        text = ", ".join(format_value(part).text for part in value)
        return Cell(text, text, False)
    return Cell(str(value), str(value), False)


def _row(folder: Path, patient: ReportPatient, columns: Sequence[str], phantom: bool) -> dict[str, Any]:
    error, embedded = patient.error, None
    if patient.image is not None:
        try:
            embedded = embed(folder, patient, phantom)
        except LggError as reason:
            error = error or str(reason)
    return {
        "name": patient.name,
        "identity": identity_of(patient.name),
        "error": error,
        "measured": bool(patient.measurements),
        "warnings": patient.warnings,
        "spacing_known": patient.spacing_known,
        "cells": [format_value(patient.measurements.get(name)) for name in columns],
        "files": _files(folder, patient),
        **_shown(embedded),
    }


def _columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        cells = [row["cells"][place] for row in rows]
        empty = all(cell.key == "" for cell in cells)
        full = sum(not column["more"] for column in described) >= FIRST_COLUMNS
        described.append(
            {"title": name.replace("_", " "), "numeric": all(cell.numeric for cell in cells), "more": empty or full}
        )
    return described


def _shown(embedded: Embedded | None) -> dict[str, Any]:
    if embedded is None:
        return {"thumbnail": "", "slice": 0, "slices": 0, "picture": "", "volumes": ""}
    place = f"{DATA}/{embedded.identity}"
    return {
        "thumbnail": data_uri(embedded.thumbnail, "image/webp"),
        "slice": embedded.slice_number,
        "slices": embedded.slices,
        "picture": f"{place}/{SLICES}",
        "volumes": f"{place}/{VOLUMES}",
    }


def _files(folder: Path, patient: ReportPatient) -> list[dict[str, str]]:
    """List the files that lie in the folder of the page, with their addresses relative to it."""
    found = []
    volumes = {"mask": patient.mask, "probability": patient.probability, "FLAIR": patient.image}
    for role, path in {**volumes, "DICOM SEG": patient.seg}.items():
        if path is not None and Path(path).absolute().is_relative_to(folder.absolute()):
            relative = Path(path).absolute().relative_to(folder.absolute()).as_posix()
            # As bytes: a name may be no text in the language of this process.
            found.append({"role": role, "address": quote(os.fsencode(relative))})
    return found


def _copy_beside(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if not target.is_file() or target.read_bytes() != content:
        with replacing(target) as temporary:
            temporary.write_bytes(content)


def _remove_others(place: Path, kept: set[str]) -> None:
    """Remove the data of patients that the page does not name, as they would still show them."""
    for entry in place.iterdir():
        if entry.is_dir() and not entry.is_symlink() and (entry / VOLUMES).is_file() and entry.name not in kept:
            shutil.rmtree(entry)
