"""What `lgg-monai check` says about a data set that it has read."""

from __future__ import annotations

from collections import Counter

import numpy as np

from lgg_monai.data.integrity import DatasetReport
from lgg_monai.data.people import scans_of
from lgg_monai.data.phantom import is_phantom
from lgg_monai.words import counted

MOST_SIZES = 5  # sets of several hospitals may have hundreds


def describe(report: DatasetReport) -> str:
    """Summarise a data set in a few lines: patients, slices, sites, sizes, missing sequences, tumour share."""
    readable = [patient for patient in report.patients if patient.slices]
    slices = sum(patient.slices for patient in readable)
    tumour_slices = sum(patient.tumour_slices for patient in readable)
    voxels = sum(patient.slices * patient.size[0] * patient.size[1] for patient in readable)
    tumour = sum(patient.tumour_voxels for patient in readable)
    lines = [f"{'PHANTOM ' if is_phantom(report.folder) else ''}{report.folder}"]
    unreadable = len(report.patients) - len(readable)
    people = len({patient.patient.person for patient in report.patients})
    notes = [f"{unreadable} of them unreadable"] if unreadable else []
    notes += [scans_of(people)] if people < len(report.patients) else []
    lines.append(f"patients         {len(report.patients)}" + (f" ({', '.join(notes)})" if notes else ""))
    lines.append("sites            " + ", ".join(f"{site} {count}" for site, count in report.sites.items()))
    if not readable:
        return "\n".join(lines)
    counts = [patient.slices for patient in readable]
    sizes = Counter(patient.size for patient in readable)
    lines.append(f"slices           {slices}, {min(counts)} to {max(counts)} a patient")
    told = [f"{x} x {y} ({counted(n, 'patient')})" for (x, y), n in sizes.most_common(MOST_SIZES)]
    more = [f"{len(sizes) - len(told)} more"] if len(sizes) > len(told) else []
    lines.append("slice size       " + ", ".join(told + more))
    lines.append(f"tumour slices    {tumour_slices} ({tumour_slices / slices:.1%})")
    lines.append(f"tumour share     {tumour / voxels:.2%} of all voxels")
    volumes = np.percentile([patient.tumour_voxels for patient in readable], [0, 50, 100])
    lines.append("tumour volume    {:.0f} to {:.0f} voxels a patient, median {:.0f}".format(*volumes[[0, 2, 1]]))
    without = [patient.patient.name for patient in readable if not patient.tumour_voxels]
    if without:
        lines.append(f"without tumour   {len(without)} ({', '.join(without[:3])}{', …' if len(without) > 3 else ''})")
    copied = Counter(" and ".join(patient.copied) for patient in readable if patient.copied)
    described = ", ".join(f"{sequences} {count}" for sequences, count in copied.items()) or "none"
    lines.append(f"copied from FLAIR  {described} (sequences that were not acquired)")
    lines.append(f"fingerprint      {report.fingerprint[:16]}")
    return "\n".join(lines)
