"""A package as a receiver finds it, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow, ReferenceResolver, verify_metadata
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, LoadImaged
from packages import REPOSITORY, lay_out, random_weights

from lgg_monai.crossval.plan import effective_settings
from lgg_monai.engines.compact_weights import compact
from lgg_monai.engines.parts_check import root_cause
from lgg_monai.errors import LggError
from lgg_monai.sharing import package as module
from lgg_monai.sharing.manifest import changed_files
from lgg_monai.sharing.package import package
from lgg_monai.sharing.sources import (
    USAGE,
    joins_shipped_weights,
    model_card,
    network_with_weights,
    package_configs,
)

SCHEMA = REPOSITORY / "tests/resources/meta_schema_20240725.json"
CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train")


def predict(bundle: Path, data: Path, masks: Path, **override: Any) -> dict[str, np.ndarray]:
    """Run a packaged inference config in this process; masks by the name of their file."""
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs/inference.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        dataset_dir=str(data),
        output_dir=str(masks),
        device="cpu",  # by name, as MONAI Label sets it
        **override,
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    return {path.name: np.asarray(nibabel.load(path).dataobj) for path in sorted(masks.glob("*.nii.gz"))}


def steps_of(packaged: Path) -> tuple[Any, ...]:
    """The packaged preprocessing after reading."""
    config = ConfigParser()
    config.read_config(packaged / "configs/inference.json")
    config["bundle_root"] = str(packaged)
    steps: tuple[Any, ...] = config.get_parsed_content("preprocessing").transforms[1:]
    return steps


def test_whole_numbers_are_prepared_as_floats_are(packaged: Path, scans: Path) -> None:
    """Deploy hands over volumes that it read from DICOM, past LoadImaged."""
    steps = steps_of(packaged)
    path = sorted((scans / "msd/imagesTr").iterdir())[0]
    array = np.moveaxis(np.asarray(nibabel.load(path).dataobj), -1, 0).astype(np.uint16)
    prepared = []
    for dtype in (torch.uint16, torch.float32):
        volume = MetaTensor(torch.from_numpy(array).to(dtype), meta={"original_channel_dim": 0})
        prepared.append(Compose(steps)({"image": volume})["image"].as_tensor())
    assert torch.equal(*prepared)


# What is in it


def test_the_layout_is_that_of_the_model_zoo(packaged: Path) -> None:
    files = {path.relative_to(packaged).as_posix() for path in packaged.rglob("*") if path.is_file()}
    expected = {"LICENSE", "manifest.json", "configs/metadata.json", "configs/logging.conf"}
    expected |= {f"configs/{name}.{suffix}" for name in CONFIGS for suffix in ("yaml", "json")}
    expected |= {"models/model.pt", "models/model.ts", "models/model.onnx", "docs/README.md", "docs/data_license.txt"}
    assert {name for name in files if not name.startswith("scripts/")} == expected
    assert packaged.name == "lgg_mri_segmentation_plain_unet"
    assert changed_files(packaged) == []


def test_the_zip_holds_the_folder(packaged: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packaged.with_suffix(".zip")) as archive:
        archive.extractall(tmp_path)
    assert changed_files(tmp_path / packaged.name) == []


def test_nothing_leads_back_to_this_repository(packaged: Path) -> None:
    for path in packaged.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(REPOSITORY).encode() not in content, path
            assert b"site-packages" not in content, path
            if path.suffix in (".json", ".yaml", ".py", ".conf"):
                assert b"configs/package" not in content, path
                assert b"lgg_monai." not in content, path
            if path.suffix in (".json", ".yaml") and path.name != "metadata.json":
                assert b"%" not in content, path


def test_json_copies_say_what_the_yaml_says(packaged: Path) -> None:
    for name in CONFIGS:
        text = (packaged / "configs" / f"{name}.yaml").read_text()
        assert json.loads((packaged / "configs" / f"{name}.json").read_text()) == yaml.safe_load(text)
        assert text.startswith("# ")


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("bundle", ["unet", "pspnet", "plain_unet", "ensemble"])
@pytest.mark.parametrize("files", [["train"], ["train", "evaluate"], ["train", "multi_gpu_train"], ["inference"]])
def test_every_reference_of_a_packaged_config_is_defined(
    bundle: str, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    configs = package_configs(bundle)
    parser = ConfigParser()
    for file in files:
        parser.update(yaml.safe_load(configs[file]))
    for text in texts_in(parser.config):
        for reference in ReferenceResolver.match_refs_pattern(ReferenceResolver.normalize_id(text)):
            assert reference in parser, f"@{reference} in {text!r} of {files}"


def test_metadata_is_valid_and_the_card_is_filled(packaged: Path, tmp_path: Path) -> None:
    schema = Path(shutil.copy(SCHEMA, tmp_path / "schema.json"))  # MONAI skips the download where the file exists
    verify_metadata(meta_file=str(packaged / "configs/metadata.json"), filepath=str(schema))
    metadata = json.loads((packaged / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    weights = torch.load(packaged / "models/model.pt", weights_only=True)
    parser = ConfigParser.load_config_file(packaged / "configs/train.json")
    network = ConfigParser({"n": parser["network_def"]}).get_parsed_content("n")
    network.load_state_dict(weights)
    assert metadata["parameters"] == sum(p.numel() for p in network.parameters())
    card = (packaged / "docs/README.md").read_text()
    assert "$" not in card
    assert metadata["name"] in card


def test_shipped_weights_have_the_bundles_own_card_and_others_do_not(packaged: Path) -> None:
    metadata = json.loads((packaged / "configs/metadata.json").read_text())
    own = Path("bundles/plain_unet/docs/README.md").read_text()
    before, after = own.split(USAGE)
    card = model_card("plain_unet", "name", metadata, shipped=True)
    assert card.startswith(before)
    assert card.endswith(after)
    assert "configs/inference.yaml" in card.removeprefix(before).removesuffix(after)
    assert "The shipped weights" in own  # which no other weights may claim to be
    assert "The shipped weights" not in model_card("plain_unet", "name", metadata)


def test_torchscript_carries_its_metadata(packaged: Path) -> None:
    from monai.data import load_net_with_metadata

    network, metadata, extra = load_net_with_metadata(
        str(packaged / "models/model.ts"), more_extra_files=("inference.json",)
    )
    assert metadata["name"] == json.loads((packaged / "configs/metadata.json").read_text())["name"]
    assert json.loads(extra["inference.json"])["evaluator"]["_target_"] == "SupervisedEvaluator"
    with torch.no_grad(), torch.jit.optimized_execution(False):
        assert network(torch.rand(2, 3, 64, 48)).shape == (2, 1, 64, 48)


# What it does


def test_the_three_ways_to_give_sequences_agree_and_keep_the_geometry(
    packaged: Path, scans: Path, tmp_path: Path
) -> None:
    four = predict(packaged, scans / "msd/imagesTr", tmp_path / "four")
    three = predict(packaged, scans / "nnunet/Dataset501_LGG/imagesTr", tmp_path / "three")
    assert len(four) == len(three) == 4
    assert any(mask.any() for mask in four.values())
    for name, mask in four.items():
        np.testing.assert_array_equal(mask, three[name.replace("_seg", "_0000_seg")])
        image = nibabel.load(scans / "msd/imagesTr" / name.replace("_seg", ""))
        saved = nibabel.load(tmp_path / "four" / name)
        assert saved.shape == image.shape[:3]
        np.testing.assert_allclose(saved.affine, image.affine)
        assert saved.get_data_dtype() == np.uint8

    # FLAIR alone is taken as all three.
    first = sorted((scans / "msd/imagesTr").iterdir())[0]
    image = nibabel.load(first)
    flair = np.asarray(image.dataobj)[..., 1]
    for folder, array in (("alone", flair), ("copied", np.stack([flair] * 3, axis=-1))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, image.affine), tmp_path / folder / "a.nii.gz")
    alone, copied = (predict(packaged, tmp_path / n, tmp_path / f"{n}_masks") for n in ("alone", "copied"))
    np.testing.assert_array_equal(alone["a_seg.nii.gz"], copied["a_seg.nii.gz"])


def test_sequences_of_one_value_are_missing_ones(packaged: Path, scans: Path, tmp_path: Path) -> None:
    image = nibabel.load(sorted((scans / "msd/imagesTr").iterdir())[0])
    pre, flair, post = np.moveaxis(np.asarray(image.dataobj, np.float32), -1, 0)
    zero, constant = np.zeros_like(flair), np.full_like(flair, 7)
    for name, given, meant in (
        ("pre", (zero, flair, post), (flair, flair, post)),
        ("post", (pre, flair, constant), (pre, flair, flair)),
        ("both", (constant, flair, zero), (flair, flair, flair)),
    ):
        for kind, sequences in (("given", given), ("meant", meant)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(np.stack(sequences, -1), image.affine), tmp_path / kind / f"{name}.nii")
    given, meant = (predict(packaged, tmp_path / kind, tmp_path / f"{kind}_masks") for kind in ("given", "meant"))
    assert any(mask.any() for mask in given.values())
    for name, mask in given.items():
        np.testing.assert_array_equal(mask, meant[name])


def test_every_file_of_a_folder_is_a_patient_or_part_of_one(packaged: Path, tmp_path: Path) -> None:
    names = ["p1_0000", "p1_0001", "p1_0002", "p2", "q_0000", "q_0002", "r_0001", "r_0002", "s_0002", "t_0001"]
    names += ["flair_0001", "flair_0002", "flair_0003"]
    for name in ("case_0001", "case_0002", "case_0003", "two_0001", "two_0002"):  # numbered patients
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2, 3), np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    for name in names:
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2, 1), np.float32), np.eye(4)), tmp_path / "u_0002.nii")
    parser = ConfigParser()
    parser.read_config(str(packaged / "configs/inference.json"))
    parser["dataset_dir"] = str(tmp_path)
    found = [one if isinstance(one, str) else " ".join(one) for one in parser.get_parsed_content("datalist")]
    short = [text.replace(f"{tmp_path}/", "").replace(".nii.gz", "").replace(".nii", "") for text in found]
    # Of q to u but t files are missing: these are not to be segmented from pre- or post-contrast volumes.
    triples = [" ".join(f"{name}_000{number}" for number in range(3)) for name in ("p1", "q", "r", "s", "u")]
    alone = ["case_0001", "case_0002", "case_0003", "flair_0001", "flair_0002", "flair_0003", "p2", "t_0001"]
    assert short == [*triples, *alone, "two_0001", "two_0002"]


def test_a_folder_without_scans_is_refused_and_one_with_brackets_in_its_name_is_not(
    packaged: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(SystemExit, match=r"^error: no NIfTI files .* in the folder .*(empty|absent), so no mask"):
            predict(packaged, folder, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    image = sorted((scans / "msd/imagesTr").iterdir())[0]
    (tmp_path / "scans [2024]").mkdir()
    shutil.copy(image, tmp_path / "scans [2024]/a.nii.gz")
    assert list(predict(packaged, tmp_path / "scans [2024]", tmp_path / "masks")) == ["a_seg.nii.gz"]


def test_masks_and_unfinished_files_in_the_folder_are_no_scans(packaged: Path, scans: Path, tmp_path: Path) -> None:
    paths = sorted((scans / "msd/imagesTr").iterdir())
    for name, path in zip(("a.nii.gz", "b_seg.nii.gz"), paths, strict=False):  # the second is a scan, whatever its name
        shutil.copy(path, tmp_path / name)
    nibabel.save(nibabel.load(paths[2]), tmp_path / "c.nii")
    (tmp_path / "d.nii.gz.part").write_bytes(b"half")
    expected = ["a_seg.nii.gz", "b_seg_seg.nii.gz", "c_seg.nii.gz"]
    first = predict(packaged, tmp_path, tmp_path)
    assert [name for name in first if name.removesuffix(".gz") != "b_seg.nii" and "_seg" in name] == expected
    again = predict(packaged, tmp_path, tmp_path)
    assert again.keys() == first.keys()
    for name, mask in first.items():
        np.testing.assert_array_equal(mask, again[name])


def test_files_may_be_named_in_every_form_that_reads_well(packaged: Path, scans: Path, tmp_path: Path) -> None:
    image = str(sorted((scans / "msd/imagesTr").iterdir())[0])
    three = [str(path) for path in sorted((scans / "nnunet/Dataset501_LGG/imagesTr").iterdir())[:3]]
    for number, datalist in enumerate((image, [image], [{"image": image}], [{"image": three}], [three])):
        masks = predict(packaged, tmp_path, tmp_path / f"masks{number}", datalist=datalist)
        assert len(masks) == 1


@pytest.mark.parametrize(
    "given", ["p1.nii.gz", ["p1.nii.gz", "p2.nii.gz"], {"image": "p1.nii.gz", "label": "m.nii.gz"}]
)
def test_what_is_no_list_of_patients_is_refused(packaged: Path, tmp_path: Path, given: Any) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*p1\.nii\.gz.* is no list of patients"):
        run_config(packaged, "evaluate", "infer", val_datalist=given, output_dir=str(tmp_path / "scores"))
    for key in ("train_datalist", "val_datalist"):
        others = {"train_datalist": [{"image": str(packaged), "label": str(packaged)}], "val_datalist": []}
        with pytest.raises(SystemExit, match=rf"error: {key} is .*p1\.nii\.gz.*, no list of patients: give it as"):
            run_config(packaged, "train", "train", ckpt_dir=str(tmp_path / "w"), **others | {key: given})
    assert not list(tmp_path.iterdir())


def test_scans_whose_masks_would_replace_each_other_are_refused(packaged: Path, scans: Path, tmp_path: Path) -> None:
    image = sorted((scans / "msd/imagesTr").iterdir())[0]
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
        shutil.copy(image, tmp_path / name / "flair.nii.gz")
    files = [str(tmp_path / name / "flair.nii.gz") for name in ("p1", "p2")]
    for datalist in (files, [[files[0]] * 3, files[1]]):
        with pytest.raises(SystemExit, match=r"^error: several scans are called flair, so their masks would replace"):
            predict(packaged, tmp_path, tmp_path / "masks", datalist=datalist)
    nibabel.save(nibabel.load(image), tmp_path / "p1/flair.nii")
    with pytest.raises(SystemExit, match=r"^error: several scans are called flair, "):
        predict(packaged, tmp_path / "p1", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def workflow_of(bundle: Path, name: str, workflow_type: str, **override: Any) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=str(bundle / f"configs/{name}.json"),
        logging_file=False,
        workflow_type=workflow_type,
        bundle_root=str(bundle),
        **{"device": "cpu"} | override,
    )


def run_config(bundle: Path, name: str, workflow_type: str, **override: Any) -> None:
    workflow = workflow_of(bundle, name, workflow_type, **override)
    workflow.initialize()
    workflow.run()


def small_training(bundle: Path, weights: Path, **override: Any) -> ConfigWorkflow:
    sizes = {"slices_per_volume": 2, "slice_size": 64, "patch_size": 32}
    return workflow_of(bundle, "train", "train", ckpt_dir=str(weights), **sizes, **override)


def test_scoring_nobody_is_refused(packaged: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: no patients to score"):
        run_config(packaged, "evaluate", "infer", val_datalist=[], output_dir=str(tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def turned(image: nibabel.Nifti1Image, codes: str) -> nibabel.Nifti1Image:
    """The same voxels at the same places, stored along other axes."""
    wanted = nibabel.orientations.axcodes2ornt(tuple(codes))
    return image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted))


def scored(bundle: Path, image: Path, label: Path, output: Path) -> float:
    """The Dice coefficient that a packaged evaluation gives a patient."""
    patients = [{"image": str(image), "label": str(label)}]
    run_config(bundle, "evaluate", "infer", val_datalist=patients, output_dir=str(output))
    return float((output / "val_volume_dice_raw.csv").read_text().splitlines()[1].split(",")[-1])


def test_a_mask_is_scored_however_its_file_stores_it(packaged: Path, scans: Path, tmp_path: Path) -> None:
    """A mask stored as RAS beside an image stored as LPS was compared with another place of the head."""
    path = sorted((scans / "msd/imagesTr").iterdir())[0]
    image, label = nibabel.load(path), nibabel.load(scans / "msd/labelsTr" / path.name)
    image = image.slicer[:61, :57]  # so that the network's input is padded
    label = label.slicer[:61, :57]
    nibabel.save(image, tmp_path / "image.nii.gz")
    nibabel.save(turned(image, "SRA"), tmp_path / "image_SRA.nii.gz")
    nibabel.save(label, tmp_path / "label.nii.gz")
    (mask,) = predict(packaged, tmp_path, tmp_path / "masks", datalist=[str(tmp_path / "image.nii.gz")]).values()
    truth = np.asarray(label.dataobj) > 0
    expected = 2 * (truth & (mask > 0)).sum() / (truth.sum() + mask.sum())
    assert 0 < expected < 1
    for codes in ("LPS", "RAS", "AIR"):
        nibabel.save(turned(label, codes), tmp_path / f"{codes}.nii.gz")
        for name in ("image", "image_SRA"):
            dice = scored(packaged, tmp_path / f"{name}.nii.gz", tmp_path / f"{codes}.nii.gz", tmp_path / codes / name)
            assert dice == pytest.approx(expected, abs=1e-6), (codes, name)


def test_a_mask_on_another_grid_is_refused(packaged: Path, scans: Path, tmp_path: Path) -> None:
    path = sorted((scans / "msd/imagesTr").iterdir())[0]
    label = nibabel.load(scans / "msd/labelsTr" / path.name)
    voxels = np.asarray(label.dataobj)
    moved, near = label.affine.copy(), label.affine.copy()
    moved[0, 3] += 3
    near[0, 3] += 1e-3  # as rounded in a file
    mirrored = label.affine @ np.diag([-1, 1, 1, 1])
    for number, (array, affine) in enumerate(((voxels[..., :-1], label.affine), (voxels, moved), (voxels, mirrored))):
        other = tmp_path / f"other{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, affine), other)
        reason = f"'{other}: mask on another voxel grid than its image, {path}. Copy the geometry"
        with pytest.raises(SystemExit, match=rf"^error: {re.escape(reason)}"):
            scored(packaged, path, other, tmp_path / "scores")
        patients = [{"image": str(path), "label": str(other)}]
        training = small_training(packaged, tmp_path / "w", train_datalist=patients, val_datalist=[])
        training.initialize()
        with pytest.raises(SystemExit, match=rf"a patient of train_datalist \({re.escape(reason)}"):
            training.run()
    nibabel.save(nibabel.Nifti1Image(voxels, near), tmp_path / "near.nii.gz")
    assert scored(packaged, path, tmp_path / "near.nii.gz", tmp_path / "scores") >= 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            {"finetune": "false"},
            "finetune is 'false': give --finetune True or --finetune False",
        ),  # as it was documented
        ({"max_epochs": 0}, "max_epochs is 0: give a whole number from 1 up"),
        ({"patch_size": "large"}, "patch_size is 'large': give a whole number"),
        ({"learning_rate": -1}, "learning_rate is -1: give a number above 0"),
        ({"learning_rate": "x"}, "learning_rate is 'x': give a number above 0"),
        ({"weight_decay": "q"}, "weight_decay is 'q': give a number from 0 to 1"),
        ({"warmup": 2}, "warmup is 2: give a number from 0 to 1"),
        ({"seed": "a"}, "seed is 'a': give a whole number from 0 up"),
        ({"device": "cuda:99"}, "cannot use device cuda:99: --device takes cpu"),
    ],
)
def test_settings_of_training_that_say_nothing_are_refused(
    packaged: Path, tmp_path: Path, override: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        run_config(packaged, "train", "train", dataset_dir="absent", ckpt_dir=str(tmp_path / "weights"), **override)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0. Give a whole number from 1 up"),
        ({"batch_size": "many"}, "batch_size is 'many'. Give a whole number"),
        ({"smallest_component": 1.5}, "smallest_component is 1.5. Give a whole number from 0 up"),
        ({"smallest_share": 50}, "smallest_share is 50. Give a number from 0 up and below 1"),
        ({"smallest_share": -1}, "smallest_share is -1. Give a number"),
        ({"device": "cuda:0"}, "device is cuda:0, and PyTorch has cpu here. Give one of these with --device"),
        ({"device": "gpu"}, "device is gpu, and PyTorch has cpu here"),
        ({"device": 0}, "device is 0, and PyTorch has cpu here"),
    ],
)
def test_settings_that_no_mask_can_be_drawn_with_are_refused(
    packaged: Path, scans: Path, tmp_path: Path, override: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    for name, data in (("inference", scans / "msd/imagesTr"), ("evaluate", scans / "msd")):
        options = {"dataset_dir": str(data), "output_dir": str(tmp_path / "out")} | override
        with pytest.raises(SystemExit, match=f"^error: {re.escape(message)}"):
            run_config(packaged, name, "infer", **options)
    assert not list(tmp_path.iterdir())


def test_a_machines_accelerators_are_devices(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    config = ConfigParser(ConfigParser.load_config_file(packaged / "configs/inference.json"))
    assert config.get_parsed_content("devices") == ["cpu", "cuda", "cuda:0", "cuda:1"]


@pytest.mark.parametrize("kind", ["compact", "other", "rubbish"])
def test_weights_that_are_not_the_networks_are_refused(
    packaged: Path, scans: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "given.pt"
    if kind == "rubbish":
        weights.write_text("no weights")
    else:
        state = torch.load(packaged / "models/model.pt", weights_only=True)
        torch.save(compact(state) if kind == "compact" else {"strange": torch.zeros(1)}, weights)
    advice = "unpack them with lgg-monai package --checkpoint" if kind == "compact" else "name others with --checkpoint"
    message = rf"cannot load weights of this network from {re.escape(str(weights))}[.:] .*(?i:{advice})"
    options = {"checkpoint": str(weights), "output_dir": str(tmp_path / "out")}
    for name, data in (("inference", scans / "msd/imagesTr"), ("evaluate", scans / "msd")):
        with pytest.raises(SystemExit, match=f"^error: {message}"):
            run_config(packaged, name, "infer", dataset_dir=str(data), **options)
    monkeypatch.setattr(LoadImaged, "__call__", None)  # no volume is read before
    with pytest.raises(SystemExit, match=message):
        small_training(packaged, tmp_path / "w", dataset_dir=str(scans / "msd"), **options).run()
    assert not (tmp_path / "w").exists()


def test_patches_that_the_network_cannot_take_are_refused(packaged: Path, scans: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(scans / "msd"), "ckpt_dir": str(tmp_path / "w"), "output_dir": str(tmp_path / "out")}
    with pytest.raises(
        SystemExit, match=r"the network takes no patches of 50 pixels \(.*\): give another --patch_size"
    ):
        run_config(packaged, "train", "train", patch_size=50, **options)
    assert not list(tmp_path.iterdir())


def test_post_contrast_is_not_taken_for_flair_where_pre_contrast_is_missing(packaged: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in (1, 2):
        voxels = np.random.default_rng(number).random((32, 32, 3), np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"data/A_000{number}.nii.gz")
    with pytest.raises(SystemExit, match=r"^error: there is no file .*A_0000\.nii\.gz\. .* one by one with --dat"):
        predict(packaged, tmp_path / "data", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    named = [str(tmp_path / f"data/A_000{number}.nii.gz") for number in (1, 2)]
    masks = predict(packaged, tmp_path / "data", tmp_path / "masks", datalist=named)
    assert list(masks) == ["A_0001_seg.nii.gz", "A_0002_seg.nii.gz"]


def test_missing_weights_and_scans_are_refused(packaged: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: there is no file own\.pt\. Name scans .* and weights with"):
        predict(packaged, scans / "msd/imagesTr", tmp_path / "masks", checkpoint="own.pt")
    scan = str(sorted((scans / "msd/imagesTr").iterdir())[0])
    with pytest.raises(SystemExit, match=r"^error: there is no file b_pre\.nii\. Name scans"):
        predict(packaged, tmp_path, tmp_path / "masks", datalist=[["b_pre.nii", "b_flair.nii", scan], scan])
    options = {"dataset_dir": str(scans / "msd"), "output_dir": str(tmp_path / "scores"), "checkpoint": "own.pt"}
    with pytest.raises(SystemExit, match=r"^error: there is no file own\.pt\. Name patients .* and weights with"):
        run_config(packaged, "evaluate", "infer", **options)
    assert not list(tmp_path.iterdir())


def test_a_patient_that_cannot_be_read_is_named(packaged: Path, scans: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(scans / "msd", tmp_path / "data"))
    damaged = sorted((data / "imagesTr").iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:2000])
    message = rf"^error: cannot read the patient {re.escape(str(damaged))} \(.+\)\. Correct its files, or leave it out$"
    with pytest.raises(SystemExit, match=message):
        predict(packaged, data / "imagesTr", tmp_path / "masks")
    assert len(list((tmp_path / "masks").iterdir())) == 1  # of the one before
    with pytest.raises(SystemExit, match=message):
        run_config(packaged, "evaluate", "infer", dataset_dir=str(data), output_dir=str(tmp_path / "scores"))


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody may write into. The system's answer is replaced: its administrator may write anywhere."""
    folder.mkdir()
    allowed = os.access

    def access(path: str | Path, mode: int) -> bool:
        return allowed(path, mode) and not (mode & os.W_OK and os.path.realpath(path) == os.path.realpath(folder))

    monkeypatch.setattr(os, "access", access)
    return folder


def test_a_folder_that_cannot_be_written_into_is_refused_before_anything_is_computed(
    packaged: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    locked = read_only(tmp_path / "locked", monkeypatch)
    data = str(scans / "msd")
    for place, output in ((locked, locked), (locked, locked / "new/folder"), (file, file / "folder"), (file, file)):
        message = rf"^error: cannot write into {re.escape(str(place))}, so no"
        with pytest.raises(SystemExit, match=message):
            predict(packaged, scans / "msd/imagesTr", output)
        with pytest.raises(SystemExit, match=message):
            run_config(packaged, "evaluate", "infer", dataset_dir=data, output_dir=str(output))
        for key in ("ckpt_dir", "output_dir"):
            folders = {"ckpt_dir": str(tmp_path / "w"), "output_dir": str(tmp_path / "curves")} | {key: str(output)}
            with pytest.raises(SystemExit, match=rf"cannot write into {re.escape(str(place))}: name .* with --{key}$"):
                run_config(packaged, "train", "train", dataset_dir=data, **folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "locked"]
    assert not list(locked.iterdir())


@pytest.mark.parametrize(
    ("listed", "trained", "scored"),
    [
        (
            None,
            "no list of patients (Data list file {json} does not exist.): give --dataset_dir",
            "there is no file {json}. ",
        ),
        ([], "train_datalist is empty: give patients by --dataset_dir", "no patients to score"),
        ([{"image": "a.nii.gz"}], "train_datalist lists a patient without mask", "no mask (label) is listed for {a}"),
        ([{"image": "a.nii.gz", "label": "b.nii.gz"}], "train_datalist lists {a}, which", "there is no file {a}"),
    ],
)
def test_patients_that_cannot_be_read_are_refused(
    packaged: Path, tmp_path: Path, listed: list[dict[str, str]] | None, trained: str, scored: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if listed is not None:
        (data / "dataset.json").write_text(json.dumps({"training": listed}))
    places = {"a": data / "a.nii.gz", "json": data / "dataset.json"}
    options = {"dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
    with pytest.raises(SystemExit, match=re.escape(trained.format(**places))):
        run_config(packaged, "train", "train", ckpt_dir=str(tmp_path / "weights"), **options)
    with pytest.raises(SystemExit, match=re.escape("error: " + scored.format(**places))):
        run_config(packaged, "evaluate", "infer", **options)
    if listed is None:  # a client that does not come by `run` is told as well
        evaluation = workflow_of(packaged, "evaluate", "infer", **options)
        evaluation.initialize()
        with pytest.raises(RuntimeError) as caught:
            next(iter(evaluation.dataset))
        assert str(data / "dataset.json") in str(root_cause(caught.value))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_training_that_nobody_with_a_tumour_could_judge_is_refused(
    packaged: Path, scans: Path, tmp_path: Path
) -> None:
    """It would end with the weights that it began with."""
    path = sorted((scans / "msd/imagesTr").iterdir())[0]
    label = nibabel.load(scans / "msd/labelsTr" / path.name)
    nibabel.save(nibabel.Nifti1Image(0 * np.asarray(label.dataobj), label.affine), tmp_path / "empty.nii.gz")
    without = [{"image": str(path), "label": str(tmp_path / "empty.nii.gz")}]
    workflow = small_training(packaged, tmp_path / "w", dataset_dir=str(scans / "msd"), val_datalist=without)
    workflow.initialize()
    with pytest.raises(SystemExit, match=r"no tumour in any mask of val_datalist, so no epoch could be told the best"):
        workflow.run()
    assert not (tmp_path / "w").exists()


def test_a_training_from_weights_that_are_not_there_is_refused(packaged: Path, scans: Path, tmp_path: Path) -> None:
    workflow = small_training(packaged, tmp_path / "w", dataset_dir=str(scans / "msd"), checkpoint="own.pt")
    workflow.initialize()
    with pytest.raises(SystemExit, match=r"there is no file own\.pt: name another with --checkpoint"):
        workflow.run()
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("given", ["a folder, nothing validated", "lists of a client", "a list, nothing validated"])
def test_fine_tuning_keeps_its_weights_however_patients_are_given(
    own_bundle: Path, scans: Path, tmp_path: Path, given: str
) -> None:
    images = sorted((scans / "msd/imagesTr").iterdir())
    patients = [{"image": str(path), "label": str(scans / "msd/labelsTr" / path.name)} for path in images]
    options: dict[str, Any] = {"dataset_dir": str(scans / "msd"), "validation_fraction": 0}
    if given != "a folder, nothing validated":  # as MONAI Label does it: there is no folder with a dataset.json
        validated = patients[:1] if given == "lists of a client" else []
        options = {"train#dataset#data": patients, "validate#dataset#data": validated}
    workflow = small_training(
        own_bundle,
        tmp_path / "weights",
        max_epochs=1,
        **options,
    )
    workflow.initialize()
    workflow.run()
    state = torch.load(tmp_path / "weights/model.pt", weights_only=True)
    before = torch.load(own_bundle / "models/model.pt", weights_only=True)
    assert state.keys() == before.keys()
    assert any(not torch.equal(state[name], before[name]) for name in state)


def test_training_reads_its_volumes_once(packaged: Path, scans: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(scans / "msd", tmp_path / "msd"))
    workflow = small_training(packaged, tmp_path / "w", dataset_dir=str(copy))
    workflow.initialize()
    dataset = workflow.parser.get_parsed_content("train::dataset")
    shutil.rmtree(copy)
    assert all(len(dataset[number]) == 2 for number in range(len(dataset)))  # slices of each volume


def test_fine_tuning_that_makes_weights_worse_keeps_those_it_began_with(
    own_bundle: Path, scans: Path, tmp_path: Path
) -> None:
    trained = tmp_path / "trained"
    begin = {"dataset_dir": str(scans / "msd"), "finetune": False, "learning_rate": 1e-2, "max_epochs": 25}
    for weights, settings in (
        (trained, begin),
        (tmp_path / "further", {"dataset_dir": str(scans / "msd"), "learning_rate": 1e4, "max_epochs": 1}),
    ):
        workflow = small_training(own_bundle, weights, checkpoint=str(trained / "model.pt"), **settings)
        workflow.initialize()
        workflow.run()
        dice = workflow.parser.get_parsed_content("validate#evaluator").state.metrics["val_volume_dice"]
        assert (dice > 0.2) == (weights == trained)
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (trained, tmp_path / "further"))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_a_client_looks_at_before_it_trains_does_not_change_the_weights(
    own_bundle: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The average began with random weights where the trainer was built before the checkpoint was loaded."""
    workflow = small_training(
        own_bundle,
        tmp_path / "weights",
        dataset_dir=str(scans / "msd"),
        max_epochs=1,
        learning_rate=1e-12,  # so that the network, and with it the average, stays what the bundle brought
    )
    monkeypatch.syspath_prepend(own_bundle)  # see the model card
    workflow.initialize()
    assert workflow.check_properties() == []
    assert isinstance(workflow.trainer, SupervisedTrainer)
    workflow.run()
    saved = torch.load(tmp_path / "weights/model.pt", weights_only=True)
    brought = torch.load(own_bundle / "models/model.pt", weights_only=True)
    for name, _ in workflow.network_def.named_parameters():
        torch.testing.assert_close(saved[name], brought[name])


def test_the_learning_rate_ends_with_the_epochs_that_a_client_sets_in_the_trainer(
    own_bundle: Path, scans: Path, tmp_path: Path
) -> None:
    """MONAI Label sets them there alone: the schedule was that of the 50 epochs of the config."""
    workflow = small_training(
        own_bundle,
        tmp_path / "weights",
        dataset_dir=str(scans / "msd"),
        val_interval=5,
        **{"train#trainer#max_epochs": 2},
    )
    workflow.initialize()
    workflow.run()
    schedule = workflow.parser.get_parsed_content("lr_scheduler")
    assert workflow.trainer.state.epoch == 2
    assert schedule.get_last_lr() == [0.0]
    assert workflow.evaluator.state.metrics["val_volume_dice"] >= 0  # the last epoch was validated


def test_losses_are_where_experiment_tracking_looks_for_them(
    own_bundle: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = small_training(own_bundle, tmp_path / "weights", dataset_dir=str(scans / "msd"), max_epochs=1)
    monkeypatch.syspath_prepend(own_bundle)  # see the model card
    workflow.initialize()
    tracking = ConfigParser(DEFAULT_MLFLOW_SETTINGS["configs"]["trainer"])
    loss_of = tracking.get_parsed_content("output_transform")
    losses: list[float] = []
    workflow.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(loss_of(engine.state.output)))
    )
    workflow.run()
    assert len(losses) == workflow.trainer.state.iteration
    assert min(losses) > 0


def test_orientation_and_size_of_the_files_do_not_matter(packaged: Path, scans: Path, tmp_path: Path) -> None:
    path = sorted((scans / "msd/imagesTr").iterdir())[0]
    image = nibabel.load(path)
    cut = nibabel.Nifti1Image(np.asarray(image.dataobj)[:61, :57], image.affine)
    turned = nibabel.as_closest_canonical(cut)
    turned = nibabel.Nifti1Image(
        np.moveaxis(np.asarray(turned.dataobj), 2, 0), turned.affine[:, [2, 0, 1, 3]]
    )  # sagittal storage
    masks = {}
    for name, picture in (("plain", cut), ("turned", turned)):
        (tmp_path / name).mkdir()
        nibabel.save(picture, tmp_path / name / "a.nii.gz")
        predict(packaged, tmp_path / name, tmp_path / f"{name}_masks")
        masks[name] = nibabel.load(tmp_path / f"{name}_masks/a_seg.nii.gz")
        assert masks[name].shape == picture.shape[:3]
        np.testing.assert_allclose(masks[name].affine, picture.affine)
    plain, turned_mask = (np.asarray(nibabel.as_closest_canonical(masks[name]).dataobj) for name in ("plain", "turned"))
    assert plain.any()
    np.testing.assert_array_equal(plain, turned_mask)


def spoiled(kind: str, channels: int = 3) -> np.ndarray:
    """A volume that no mask can be drawn of."""
    volume = np.random.default_rng(0).random((32, 32, 3, channels)).astype(np.float32)
    if kind in ("nan", "inf"):
        volume[0, 0, 0, 1] = float(kind)
    if kind == "flat":
        volume[..., 1] = 7
    return volume


@pytest.mark.parametrize(("bundle", "sides"), [("plain_unet", (48, 48)), ("pspnet", (64, 64)), ("ensemble", (64, 64))])
@pytest.mark.parametrize(("name", "steps"), [("inference", "preprocessing"), ("evaluate", "validate#preprocessing")])
def test_small_slices_are_padded_to_what_the_network_takes_and_cut_back(
    in_repository: Path, tmp_path: Path, bundle: str, sides: tuple[int, int], name: str, steps: str
) -> None:
    volume = np.random.default_rng(0).random((40, 33, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 2.0, 1.0])), tmp_path / "a.nii.gz")
    parser = ConfigParser(yaml.safe_load(package_configs(bundle)[name]))
    postprocessing = steps.replace("preprocessing", "postprocessing#transforms#3")
    parser["smallest_component"] = 0
    item = {key: str(tmp_path / "a.nii.gz") for key in ("image", "label")}
    item = parser.get_parsed_content(steps)(item)
    assert tuple(item["image"].shape) == (3, *sides, 3)
    if name == "evaluate":
        assert tuple(item["label"].shape) == (1, 40, 33, 3)
    inverted = parser.get_parsed_content(postprocessing)({**item, "pred": item["image"]})["pred"]
    assert torch.equal(inverted, item["image"][:, :40, :33])


@pytest.mark.parametrize(
    ("pixel", "size"), [(0.46875, (50, 40)), (0.75, (100, 80)), (1.125, (100, 80)), (1.875, (199, 159))]
)
@pytest.mark.parametrize(
    ("name", "steps"),
    [("inference", "preprocessing"), ("evaluate", "validate#preprocessing"), ("train", "preprocessing")],
)
def test_the_network_sees_pixels_as_it_learnt_from_and_masks_have_those_of_the_file(
    in_repository: Path, tmp_path: Path, pixel: float, size: tuple[int, int], name: str, steps: str
) -> None:
    scan = np.random.default_rng(0).random((100, 80, 3)).astype(np.float32)
    affine = np.diag([-pixel, -pixel, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(scan, affine), tmp_path / "a.nii.gz")
    tumour = np.zeros(scan.shape, np.uint8)
    tumour[40:80, 20:60] = 1
    nibabel.save(nibabel.Nifti1Image(tumour, affine), tmp_path / "b.nii.gz")
    parser = ConfigParser(yaml.safe_load(package_configs("plain_unet")[name]))
    parser["smallest_component"] = 0
    item = {"image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "b.nii.gz")}
    item = parser.get_parsed_content(steps)(item)
    seen = (size[0], size[1], 3)
    if name == "train":
        assert item["image"].shape[1:] == item["label"].shape[1:] == seen
        share = float(item["label"].float().mean())
        assert abs(share - 0.2) < 0.01  # of 100 x 80 pixels
        return
    assert all(0 <= side - known < 16 for side, known in zip(item["image"].shape[1:3], size, strict=True))  # padded
    drawn = torch.zeros_like(item["image"][:1])
    drawn[:, size[0] * 2 // 5 : size[0] * 4 // 5, size[1] // 4 : size[1] * 3 // 4] = 1
    drawn.applied_operations = item["image"].applied_operations
    undo = parser.get_parsed_content(steps.replace("preprocessing", "postprocessing#transforms#3"))
    written = undo({**item, "pred": drawn})["pred"]
    assert written.shape[1:] == scan.shape
    assert (written[0].numpy() != tumour).mean() < 0.02


@pytest.mark.parametrize(
    ("volume", "pixel", "reason"),
    [
        (spoiled("two", 2), 1.0, "2 channels. Give pre-contrast, FLAIR, post-contrast, or FLAIR alone"),
        (spoiled("four", 4), 1.0, "4 channels. Give pre-contrast, FLAIR, post-contrast, or FLAIR alone"),
        (spoiled("nan"), 1.0, "voxels that are not numbers (NaN or infinite). Export the scan again"),
        (spoiled("inf"), 1.0, "voxels that are not numbers (NaN or infinite). Export the scan again"),
        (spoiled("flat"), 1.0, "FLAIR is of one value throughout. Export the scan again"),
        (spoiled("large"), 100.0, "a field of view of 3200 mm by its affine. Correct its spacing"),
        (spoiled("small"), 0.001, "a field of view of 0.032 mm by its affine. Correct its spacing"),
    ],
    ids=["two", "four", "nan", "inf", "flat", "large", "small"],
)
def test_scans_of_which_nothing_can_be_said_are_refused(
    packaged: Path, tmp_path: Path, volume: np.ndarray, pixel: float, reason: str
) -> None:
    (tmp_path / "data").mkdir()
    scan, mask = tmp_path / "data/a.nii.gz", tmp_path / "mask.nii.gz"
    affine = np.diag([pixel, pixel, min(pixel, 1.0), 1.0])
    nibabel.save(nibabel.Nifti1Image(volume, affine), scan)
    nibabel.save(nibabel.Nifti1Image(np.ones((32, 32, 3), np.uint8), affine), mask)
    patients = [{"image": str(scan), "label": str(mask)}]
    message = f"{scan}: {reason}"
    with pytest.raises(SystemExit, match=rf"^error: '{re.escape(message)}'$"):
        predict(packaged, tmp_path / "data", tmp_path / "masks")
    with pytest.raises(SystemExit, match=rf"^error: '{re.escape(message)}'$"):
        run_config(packaged, "evaluate", "infer", val_datalist=patients, output_dir=str(tmp_path / "scores"))
    training = small_training(packaged, tmp_path / "w", train_datalist=patients, val_datalist=[])
    training.initialize()
    with pytest.raises(SystemExit, match=rf"a patient of train_datalist \('{re.escape(message)}'\): correct it"):
        training.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mask.nii.gz"]


def test_clients_are_told_why_a_scan_is_refused(packaged: Path) -> None:
    """They take the steps from the config, and may bring a volume without a file."""
    steps = steps_of(packaged)
    for volume, reason in ((spoiled("four", 4), "4 channels"), (spoiled("nan"), "voxels that are not numbers")):
        image = MetaTensor(torch.from_numpy(np.moveaxis(volume, -1, 0)), meta={"original_channel_dim": 0})
        with pytest.raises(RuntimeError) as caught:
            Compose(steps)({"image": image})
        cause = root_cause(caught.value)
        assert isinstance(cause, KeyError)
        assert f"a scan: {reason}" in str(cause)


def test_preprocessing_gives_the_numbers_of_the_repository(
    packaged: Path, scans: Path, in_repository: Path, tmp_path: Path
) -> None:
    entry = {"image": str(sorted((scans / "msd/imagesTr").iterdir())[0])}
    entry["label"] = entry["image"].replace("imagesTr", "labelsTr")
    ours = ConfigParser()
    ours.read_config("configs/data.yaml")
    expected = ours.get_parsed_content("preprocessing")(entry)
    for name, key in (
        ("inference", "preprocessing"),
        ("evaluate", "validate#preprocessing"),
        ("train", "preprocessing"),
    ):
        parser = ConfigParser()
        parser.read_config(str(packaged / "configs" / f"{name}.json"))
        found = parser.get_parsed_content(key)(dict(entry))
        assert torch.equal(torch.as_tensor(found["image"]).float(), expected["image"].float()), name
        if name != "inference":
            assert torch.equal(torch.as_tensor(found["label"]).byte(), expected["label"]), name


def test_it_runs_without_this_package(
    packaged: Path, scans: Path, tmp_path: Path, without_us: Callable[..., Any]
) -> None:
    images = scans / "msd/imagesTr"
    result = without_us(
        *("-m", "monai.bundle", "run", "--config_file", packaged / "configs/inference.yaml"),
        *("--bundle_root", packaged, "--dataset_dir", images, "--output_dir", tmp_path / "masks"),
    )
    assert result.returncode == 0, result.stderr
    here = predict(packaged, images, tmp_path / "here")
    assert here
    for name, mask in here.items():
        np.testing.assert_array_equal(mask, np.asarray(nibabel.load(tmp_path / "masks" / name).dataobj))


# What is refused


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the exports, which take most of the time."""
    monkeypatch.setattr(module, "export", lambda folder: 0.0)


@pytest.fixture
def in_small(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(small_root)
    return small_root


@pytest.mark.usefixtures("in_small", "no_export")
def test_the_same_inputs_give_the_same_zip(tmp_path: Path) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    nested = tmp_path / "last.pt"
    content = torch.load(weights, weights_only=True)
    torch.save({"averaged_model": dict(content), "model": content, "progress": {}}, nested)
    zips = [package("plain_unet", tmp_path / name, checkpoint=path) for name, path in (("a", weights), ("b", nested))]
    assert zips[0].read_bytes() == zips[1].read_bytes()


@pytest.mark.usefixtures("in_small", "no_export")
def test_a_run_gives_its_weights_and_figures(tmp_path: Path) -> None:
    run = tmp_path / "unet"
    (run / "checkpoints").mkdir(parents=True)
    random_weights("plain_unet", run / "checkpoints/best.pt")
    (run / "evaluation").mkdir()
    summary = json.loads((REPOSITORY / "docs/results/plain_unet_fold0_first_recipe/summary.json").read_text())
    (run / "evaluation/summary.json").write_text(json.dumps(summary))
    folder = package("plain_unet", tmp_path / "dist", run=run).with_suffix("")
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert metadata["eval_metrics"]["volume_dice"] == 0.868
    assert "| `volume_dice` | 0.868 |" in (folder / "docs/README.md").read_text()
    (run / "evaluation/summary.json").write_text(json.dumps(summary | {"checkpoint": "elsewhere/last.pt"}))
    with pytest.raises(LggError, match=r"scores elsewhere/last\.pt, not the run's own best\.pt to package"):
        package("plain_unet", tmp_path / "other", run=run)
    others = {"checkpoint": "runs/pspnet/checkpoints/best.pt"}
    (run / "evaluation/summary.json").write_text(json.dumps(summary | others))
    with pytest.raises(LggError, match=r"scores runs/pspnet/checkpoints/best.pt, not the run's own"):
        package("plain_unet", tmp_path / "other", run=run)
    (run / "evaluation/summary.json").write_text(json.dumps(summary | {"checkpoint": "checkpoints/best.pt"}))
    (tmp_path / "latest").symlink_to(run)
    package("plain_unet", tmp_path / "from_within", run=run)
    (run / "evaluation/summary.json").write_text(json.dumps(summary | {"checkpoint": "latest/checkpoints/best.pt"}))
    package("plain_unet", tmp_path / "by_a_link", run=tmp_path / "latest")
    (run / "evaluation/summary.json").write_text(json.dumps(summary))
    (run / "run.json").write_text(json.dumps({"ended": "2099-01-01T00:00:00+00:00"}))
    with pytest.raises(LggError, match=r"is older than the end of the training \(2099-.*\): evaluate best.pt again"):
        package("plain_unet", tmp_path / "other", run=run)


@pytest.mark.usefixtures("in_small", "no_export")
def test_a_run_with_another_network_or_preprocessing_is_refused(tmp_path: Path) -> None:
    """Its weights fit, and the package's configs would draw other masks with them."""
    run = tmp_path / "unet"
    (run / "checkpoints").mkdir(parents=True)
    random_weights("plain_unet", run / "checkpoints/best.pt")
    config = effective_settings("bundles/plain_unet.yaml", {})
    (run / "run.json").write_text(json.dumps({"config": config}))
    package("plain_unet", tmp_path / "alike", run=run)
    config["network_def"]["act"] = "relu"
    config["preprocessing"]["transforms"].pop()
    (run / "run.json").write_text(json.dumps({"config": config}))
    for given in ({"run": run}, {"checkpoint": run / "checkpoints/best.pt"}):
        with pytest.raises(LggError, match=r"another network_def and preprocessing than bundles/plain_unet\.yaml has"):
            package("plain_unet", tmp_path / "dist", **given)
    assert not (tmp_path / "dist").exists()


@pytest.mark.usefixtures("in_small", "no_export")
def test_figures_of_patients_that_training_saw_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "unet"
    (run / "checkpoints").mkdir(parents=True)
    random_weights("plain_unet", run / "checkpoints/best.pt")
    (run / "evaluation").mkdir()
    summary = json.loads((REPOSITORY / "docs/results/plain_unet_fold0_first_recipe/summary.json").read_text())
    content = json.dumps(summary | {"patients_seen_in_training_or_validation": 3})
    (run / "evaluation/summary.json").write_text(content)
    folder = package("plain_unet", tmp_path / "dist", run=run).with_suffix("")
    assert "0.868" not in (folder / "docs/README.md").read_text()
    assert "3 patients that" in caplog.text


@pytest.mark.usefixtures("in_small", "no_export")
def test_an_earlier_package_is_replaced_on_request_only(tmp_path: Path) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    folder = package("plain_unet", tmp_path / "dist", checkpoint=weights).with_suffix("")
    (folder / "stale.txt").write_text("")
    with pytest.raises(LggError, match=r"lgg_mri_segmentation_plain_unet exists already: add --overwrite"):
        package("plain_unet", tmp_path / "dist", checkpoint=weights)
    assert (folder / "stale.txt").exists()
    package("plain_unet", tmp_path / "dist", checkpoint=weights, overwrite=True)
    assert not (folder / "stale.txt").exists()
    assert changed_files(folder) == []
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.zip"]


@pytest.mark.usefixtures("in_small", "no_export")
def test_a_folder_that_cannot_be_replaced_keeps_its_zip(tmp_path: Path) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    folder = tmp_path / "dist/lgg_mri_segmentation_plain_unet"
    folder.parent.mkdir()
    folder.write_text("a file, which no folder can replace")
    folder.with_suffix(".zip").write_text("earlier")
    with pytest.raises(LggError, match=r"^cannot write the package to .*dist \("):
        package("plain_unet", folder.parent, checkpoint=weights, overwrite=True)
    assert folder.with_suffix(".zip").read_text() == "earlier"
    assert len(list(folder.parent.iterdir())) == 2


@pytest.mark.usefixtures("in_small", "no_export")
@pytest.mark.parametrize("broken", ["export", "write_zip", "write_manifest"])
def test_no_space_left_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, broken, full)
    with pytest.raises(LggError, match=r"cannot write the package to .* \(No space left on device\): free space"):
        package("plain_unet", tmp_path / "dist", checkpoint=weights)
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("in_small")
def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")

    def fail(folder: Path) -> float:
        raise LggError("cannot export the network (reason)")

    monkeypatch.setattr(module, "export", fail)
    with pytest.raises(LggError, match="cannot export"):
        package("plain_unet", tmp_path / "dist", checkpoint=weights)
    assert list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("in_small", "no_export")
def test_mistakes_are_one_line(tmp_path: Path) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ({"bundle": "vnet"}, r"no bundles/vnet.yaml: .* --bundle one of ensemble, plain_unet, pspnet, unet"),
        ({"bundle": "plain_unet"}, r"no weights in bundles/plain_unet/models/model.pt: name a run with --run"),
        (
            {"bundle": "ensemble"},
            r"no weights in bundles/ensemble/models/model.pt: join those of .* with lgg-monai weights",
        ),
        ({"bundle": "plain_unet", "run": tmp_path, "checkpoint": weights}, "both --run and --checkpoint"),
        (
            {"bundle": "plain_unet", "checkpoint": weights, "output": tmp_path / "file"},
            r"cannot write the package to .*file \(",
        ),
    ):
        with pytest.raises(LggError, match=message) as caught:
            package(**{"output": tmp_path / "dist", **arguments})  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    for path, message in ((tmp_path / "absent.pt", "no checkpoint"), (tmp_path / "file", "cannot read the checkpoint")):
        with pytest.raises(SystemExit, match=message):
            package("plain_unet", tmp_path / "dist", checkpoint=path)
    with pytest.raises(SystemExit, match="is of another network"):
        package("pspnet", tmp_path / "dist", checkpoint=weights)
    assert not (tmp_path / "dist").exists() or list((tmp_path / "dist").iterdir()) == []


@pytest.mark.usefixtures("no_export")
def test_mistakes_in_a_bundle_of_ones_own_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lay_out(tmp_path / "repository"))
    monkeypatch.syspath_prepend(Path.cwd())
    Path("mynet.py").write_text("from monai.networks.nets import UNet as Own\n")
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    config, metadata = Path("bundles/plain_unet.yaml"), Path("bundles/plain_unet/metadata.json")
    before = {path: path.read_text() for path in (config, metadata)}
    for path, old, new, message in (
        (config, "spatial_dims: 2", "dims: 2", r"cannot build the network of .*plain_unet\.yaml \(TypeError: .*'dims'"),
        (config, "_target_: UNet", "kind: UNet", r"network_def of .*plain_unet\.yaml names no network: give it"),
        (config, "strides: [2, 2, 2, 2]", "strides: [2, 2", r"plain_unet\.yaml is not valid YAML \(.*\): correct it"),
        (metadata, '"description":', '"about":', r"metadata\.json says no description, which .*: add it"),
        (
            config,
            "_target_: UNet",
            "_target_: mynet.Own",
            r"mynet\.Own would not be in the package: move its file into",
        ),
    ):
        assert old in before[path]
        path.write_text(before[path].replace(old, new))
        with pytest.raises(LggError, match=message) as caught:
            package("plain_unet", tmp_path / "dist", checkpoint=weights)
        assert "\n" not in str(caught.value)
        path.write_text(before[path])
    assert list((tmp_path / "dist").glob("*")) == []


def test_outside_the_repository_it_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LggError, match="run this in the repository's root, with --bundle one of none here"):
        package("plain_unet", tmp_path / "dist")


@pytest.mark.usefixtures("in_small", "no_export")
def test_weights_of_ones_own_state_no_figures_of_the_shipped_ones(tmp_path: Path) -> None:
    weights = random_weights("plain_unet", tmp_path / "model.pt")
    folder = package("plain_unet", tmp_path / "dist", checkpoint=weights).with_suffix("")
    assert json.loads((folder / "configs/metadata.json").read_text())["eval_metrics"] == {}
    assert "The shipped weights" not in (folder / "docs/README.md").read_text()
    assert "the weights learnt from: not recorded." in (folder / "docs/README.md").read_text()
    assert json.loads((folder / "configs/metadata.json").read_text())["data_source"] == "not recorded"


@pytest.mark.usefixtures("no_export")
def test_an_ensemble_of_shipped_weights_has_its_own_card_and_one_of_others_has_not(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(small_root, tmp_path / "repository"))
    joined = torch.load(random_weights("ensemble", tmp_path / "model.pt"), weights_only=True)
    for number, bundle in enumerate(("unet", "pspnet")):
        begin = f"networks.{number}."
        own = {name.removeprefix(begin): value for name, value in joined.items() if name.startswith(begin)}
        (Path("bundles") / bundle / "models").mkdir()
        torch.save(own, Path("bundles") / bundle / "models/model.pt")
    folder = package("ensemble", tmp_path / "dist", checkpoint=tmp_path / "model.pt").with_suffix("")
    card = (folder / "docs/README.md").read_text()
    assert "**Mean volume Dice" in card
    assert "configs/inference.yaml" in card
    network = network_with_weights("ensemble", tmp_path / "model.pt")
    assert joins_shipped_weights(network)
    with torch.no_grad():
        next(network.networks[1].parameters()).add_(1e-3)
    assert not joins_shipped_weights(network)
