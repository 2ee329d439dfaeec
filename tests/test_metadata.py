"""The bundles' metadata by MONAI's own schema, and against what the configs say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, verify_metadata

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = ("unet", "pspnet")

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
    assert formats["inputs"]["image"]["num_channels"] == parser["network_def"]["in_channels"]
    assert formats["outputs"]["pred"]["num_channels"] == parser["network_def"]["out_channels"]
    assert len(formats["inputs"]["image"]["channel_def"]) == parser["network_def"]["in_channels"]
