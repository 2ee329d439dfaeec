"""The results of analyses: folders are new, whole or not there, tables are CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lgg_monai.errors import LggError
from lgg_monai.files import replacing_folder, writable_folder


def require_new_folder(output: Path) -> None:
    """Refuse an output folder that holds something or could not be made, before the work begins.

    Raises:
        LggError: it is a file, not empty, or the working directory, or nothing can be written to the folder around it.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise LggError(f"the output folder {output} is not empty: choose another --output")
    place = output.resolve()
    if place == Path.cwd():  # the results take the place of the folder, which a shell would be left in
        raise LggError(f"the output folder {output} is the working directory: name a folder in it with --output")
    writable_folder(next(folder for folder in place.parents if folder.exists()), choose="another --output")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder that takes the name ``output`` when everything in it is written.

    Raises:
        LggError: ``output`` is not empty, or cannot be written.
    """
    require_new_folder(output)
    try:
        with replacing_folder(output) as folder:
            yield folder
    except OSError as error:
        message = f"cannot write the results to {output} ({error.strerror or error}): choose another --output"
        raise LggError(message) from error


def write_table(path: Path, columns: Sequence[str], table: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, numbers with six decimals, what is undefined as an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in table:
            writer.writerow([_cell(row[column]) for column in columns])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)
