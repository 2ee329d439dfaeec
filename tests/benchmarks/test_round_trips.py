"""The forms of a scan agree voxel for voxel, and a mask out of place would be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import round_trips
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.prediction.models import array_preprocessing
from lgg_monai.prediction.segmenter import Segmenter


class UnlikePre(nn.Module):
    """Calls tumour what is bright on FLAIR and brighter than before contrast, more so towards one corner."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(0, 0.3, image.shape[2])[:, None] + torch.linspace(0, 0.2, image.shape[3])
        return image[:, 1:2] - 0.2 * image[:, :1] - 0.6 + ramp


def unlike_flair(patient: Patient) -> bool:
    image, _ = read_patient(patient)
    return not np.array_equal(image[0], image[1])


def test_every_form_gives_the_mask_of_the_slices(phantom: Path, tmp_path: Path) -> None:
    segmenter = Segmenter([UnlikePre()], array_preprocessing(), torch.device("cpu"), "fp32", name="unlike")
    patient = next(patient for patient in find_patients(phantom) if unlike_flair(patient))
    rows = round_trips.measure([patient], segmenter, tmp_path)
    assert [row["form"] for row in rows] == [form.__name__ for form in round_trips.FORMS]
    for row in rows[:-1]:
        assert row["voxels"] > 200
        assert row["differ"] == 0
        assert row["off_mm"] < 1e-3
        assert row["dice_to_truth"] == rows[0]["dice_to_truth"] > 0
    assert rows[-1]["differ"] > 0  # FLAIR alone is another image to the network
    seg = next(row for row in rows if row["form"] == "dicom")
    assert seg["seg_differ"] == 0
    assert seg["seg_off_mm"] < 1e-3


def test_a_mask_out_of_place_is_seen() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 3] = True
    grid = round_trips.OBLIQUE
    moved, off = round_trips.mapped(mask, grid, grid, mask.shape)
    np.testing.assert_array_equal(moved, mask)
    assert off < 1e-9
    step = np.eye(4)
    step[0, 3] = 1
    moved, off = round_trips.mapped(mask, grid @ step, grid, mask.shape)
    np.testing.assert_array_equal(moved, np.roll(mask, 1, axis=0))
    assert off < 1e-9
    step[0, 3] = 0.4
    assert round_trips.mapped(mask, grid @ step, grid, mask.shape)[1] == pytest.approx(0.4 * 0.9375)
    step[0, 3] = 3
    assert round_trips.mapped(mask, grid @ step, grid, mask.shape)[1] == float("inf")
