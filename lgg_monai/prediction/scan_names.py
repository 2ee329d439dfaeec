"""Names that tell the scans of one call apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from lgg_monai.data.file_names import safe_name
from lgg_monai.data.scan import ScanSource


def with_own_names(sources: list[ScanSource]) -> list[ScanSource]:
    """Drop what was named twice, and tell scans of one name apart by the folders that differ, then by number."""
    once: dict[tuple[str, Path], ScanSource] = {}
    for source in sources:
        once.setdefault((source.name, source.path.absolute()), source)
    # Of names that differ in case alone, some file systems make one.
    alike: dict[str, list[ScanSource]] = defaultdict(list)
    for source in once.values():
        if source.kind != "dicom":
            alike[source.name.casefold()].append(source)
    own = {id(source): _prefixed(source, group) for group in alike.values() for source in group if len(group) > 1}
    taken: set[str] = set()
    renamed = []
    for source in once.values():
        first = name = own.get(id(source), source.name)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name.casefold())
        renamed.append(source if name == source.name else replace(source, name=name))
    return renamed


def _prefixed(source: ScanSource, group: list[ScanSource]) -> str:
    """Put those folders before a scan's name in which the scans of that name differ: ``a_p`` of ``a/mri/p.nii``."""
    folders = [_folders(other) for other in group]
    own = _folders(source)
    above = _length_of_common(folders)
    below = _length_of_common([parts[above:][::-1] for parts in folders])
    parts = own[above : len(own) - below] or own[-1:]
    return safe_name("_".join((*parts, source.name)))


def _folders(source: ScanSource) -> tuple[str, ...]:
    """Return the folders that hold a scan, and for what cannot be used also that or the file which it is."""
    path = source.path.absolute()
    return path.parts[1:] if source.kind == "unknown" else path.parent.parts[1:]


def _length_of_common(many: list[tuple[str, ...]]) -> int:
    """Return how many parts at the front all have in common."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*many, strict=False)))
