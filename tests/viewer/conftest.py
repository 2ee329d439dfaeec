"""Small patients with volumes on disk, for the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_patients import OBLIQUE, MakePatient, save

from lgg_monai.viewer import ReportPatient


@pytest.fixture
def make_patient(tmp_path: Path) -> MakePatient:
    """Write a bright ellipsoid with a tumour in slices 2 to 4 of 7, the largest in slice 3 (all from 0)."""

    def make(name: str = "patient", affine: np.ndarray = OBLIQUE, **changes: object) -> ReportPatient:
        x, y, z = np.mgrid[:40, :36, :7]
        head = ((x - 20) / 17) ** 2 + ((y - 18) / 15) ** 2 < 1
        flair = np.where(head, 300.0 + 5 * z + x, 0).astype(np.float32)
        radius = np.array([0, 0, 3, 6, 2, 0, 0])[z]
        mask = ((x - 12) ** 2 + (y - 22) ** 2 <= radius**2) & (radius > 0)
        place = tmp_path / "out" / f"p{abs(hash(name))}"
        patient = ReportPatient(
            name=name,
            image=save(place / "flair.nii.gz", flair, affine),
            mask=save(place / "mask.nii.gz", mask.astype(np.uint8), affine),
            measurements={"volume_ml": 12.345, "components": 1, "hemisphere": "left"},
        )
        return replace(patient, **changes)  # type: ignore[arg-type]

    return make
