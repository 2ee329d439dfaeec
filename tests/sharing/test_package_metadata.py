"""What a bundle says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch

from lgg_monai.errors import LggError
from lgg_monai.sharing.metadata import eval_metrics, filled_metadata, metrics_table, patients_of

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "bundles/unet/metadata.json"
SUMMARY = json.loads((REPOSITORY / "docs/results/plain_unet_fold0_first_recipe/summary.json").read_text())


def test_versions_size_and_figures_are_the_true_ones() -> None:
    metadata = filled_metadata(SOURCE, torch.nn.Linear(3, 4), SUMMARY)
    assert metadata["pytorch_version"] == torch.__version__.split("+")[0]
    assert metadata["numpy_version"] == numpy.__version__
    assert metadata["parameters"] == 16
    assert metadata["eval_metrics"]["patients"] == SUMMARY["patients"]
    assert metadata["eval_metrics"]["volume_dice"] == round(SUMMARY["volume_dice"]["mean"], 4)
    assert metadata["eval_metrics"]["volume_dice_ci95"] == [round(x, 4) for x in SUMMARY["volume_dice"]["ci95"]]
    assert "pooled_iou_median" not in metadata["eval_metrics"]  # it has none


def test_other_weights_do_not_claim_the_figures_of_the_shipped_ones(tmp_path: Path) -> None:
    stated = eval_metrics(SUMMARY)
    source = tmp_path / "metadata.json"
    source.write_text(json.dumps(json.loads(SOURCE.read_text()) | {"eval_metrics": stated}))
    assert filled_metadata(source, torch.nn.Linear(1, 1), None, shipped=True)["eval_metrics"] == stated
    assert filled_metadata(source, torch.nn.Linear(1, 1), None)["eval_metrics"] == {}


def test_figures_of_a_phantom_say_so() -> None:
    stated = eval_metrics(SUMMARY | {"phantom": True})
    assert "synthetic" in stated["PHANTOM"]
    assert "**PHANTOM**" in metrics_table(stated)
    assert "PHANTOM" not in metrics_table(eval_metrics(SUMMARY))


def test_patients_of_other_weights_are_told_as_far_as_they_are_recorded(tmp_path: Path) -> None:
    weights, path = tmp_path / "checkpoints/best.pt", tmp_path / "datalist.json"
    assert patients_of(weights, "LGG") == "not recorded"
    known: dict = {"training": [{"patient": "TCGA_CS_1"}, {"patient": "TCGA_CS_2"}], "test": [{"patient": "p"}]}
    path.write_text(json.dumps(known))
    assert patients_of(weights, "LGG") == "2 patients (LGG)"
    path.write_text(json.dumps(known | {"validation": [{"patient": "p"}]}))
    assert patients_of(weights, "LGG") == "3 patients"
    path.write_text(json.dumps(known | {"seen_before": {"training": [{"patient": "q"}], "complete": False}}))
    assert patients_of(weights, "LGG") == "at least 3 patients"
    path.write_text(json.dumps(known | {"phantom": True}))
    assert patients_of(weights, "LGG").startswith("PHANTOM: 2 synthetic patients")


def test_the_table_has_each_metric_by_its_name() -> None:
    table = metrics_table(eval_metrics(SUMMARY))
    assert "| `volume_dice` | 0.868 | 0.8879 | 0.825 to 0.9007 |" in table
    assert "| `pooled_iou` | 0.7988 |  | 0.7556 to 0.8316 |" in table
    assert metrics_table({}) == "No figures are stated for these weights."


def test_a_version_without_a_line_in_the_changelog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps({"version": "9.9.9", "changelog": {"0.1.0": "first"}}))
    with pytest.raises(LggError, match=r"no line in its changelog for version 9.9.9"):
        filled_metadata(path, torch.nn.Linear(1, 1), None)
