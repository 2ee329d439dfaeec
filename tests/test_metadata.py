"""The bundles' metadata by MONAI's own schema, and against what the configs say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = ("unet", "plain_unet", "pspnet", "ensemble")

SCHEMA = REPOSITORY / "tests" / "resources" / "meta_schema_20240725.json"


@pytest.mark.parametrize("bundle", BUNDLES)
def test_metadata_is_valid_by_schema(bundle: str, tmp_path: Path) -> None:
    # MONAI skips the download where the file exists already.
    schema = Path(shutil.copy(SCHEMA, tmp_path / "schema.json"))
    verify_metadata(meta_file=str(REPOSITORY / "bundles" / bundle / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_damaged_metadata_file_is_refused(bundle: str, tmp_path: Path) -> None:
    schema = Path(shutil.copy(SCHEMA, tmp_path / "schema.json"))
    content = ConfigParser.load_config_file(REPOSITORY / "bundles" / bundle / "metadata.json")
    del content["network_data_format"]
    ConfigParser.export_config_file(content, str(tmp_path / "metadata.json"))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_metadata_agrees_with_the_network(bundle: str, in_repository: Path) -> None:
    parser = ConfigParser()
    parser.read_config(f"bundles/{bundle}.yaml")
    parser.read_meta(f"bundles/{bundle}/metadata.json")
    formats = parser["_meta_"]["network_data_format"]
    image = formats["inputs"]["image"]
    assert len(image["channel_def"]) == image["num_channels"]
    network = parser.get_parsed_content("network_def").eval()
    sides = [eval(side, {"n": 4}) for side in image["spatial_shape"]]
    with torch.no_grad():
        output = network(torch.zeros(1, image["num_channels"], *sides))
    assert output.shape == (1, formats["outputs"]["pred"]["num_channels"], *sides)
