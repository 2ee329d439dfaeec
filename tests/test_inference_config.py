"""configs/inference.yaml: masks for a folder of patients, by a run's weights or by those that a bundle ships."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.networks.nets import UNet

from lgg_monai.data.convert import convert
from lgg_monai.data.patients import find_patients
from lgg_monai.data.spacing import PIXEL_MM, PIXEL_TOLERANCE
from lgg_monai.data.tiff_stack import image_files

REPOSITORY = Path(__file__).resolve().parents[1]
NETWORK = {"network_def#channels": [4, 8, 8], "network_def#strides": [2, 2]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights, which see tumour here and there."""
    torch.manual_seed(0)
    network = UNet(2, 3, 1, channels=(4, 8, 8), strides=(2, 2), num_res_units=2, norm="batch")
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def few(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients of the phantom; the second has no masks."""
    folder = tmp_path_factory.mktemp("few")
    for patient in find_patients(phantom)[:2]:
        shutil.copytree(patient.image, folder / patient.name)
    for path in sorted(folder.iterdir())[1].glob("*_mask.tif"):
        path.unlink()
    return folder


def predict(data: Path, output: Path, **override: Any) -> dict[str, nibabel.Nifti1Image]:
    """Run the config with the UNet bundle in this process; masks by patient."""
    settings = {**NETWORK, "device": "cpu", "precision": "fp32", "progress": False, "batch_size": 4, **override}
    with contextlib.chdir(REPOSITORY):
        workflow = ConfigWorkflow(
            config_file=["bundles/plain_unet.yaml", "configs/inference.yaml"],
            meta_file=str(REPOSITORY / "bundles/plain_unet/metadata.json"),
            logging_file=False,
            workflow_type="infer",
            dataset_dir=str(data),
            output_dir=str(output),
            **settings,
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
    paths = sorted((output / "inference").iterdir())
    return {path.name.removesuffix("_seg.nii.gz"): nibabel.load(path) for path in paths}


def test_every_patient_gets_a_mask_outlined_or_not(few: Path, weights: Path, tmp_path: Path) -> None:
    masks = predict(few, tmp_path / "out", checkpoint=str(weights))
    patients = find_patients(few)
    assert list(masks) == [patient.name for patient in patients]
    for patient in patients:
        mask = masks[patient.name]
        assert mask.shape == (64, 64, len(image_files(patient.image)))
        np.testing.assert_allclose(mask.affine, np.diag([-1, -1, 1, 1]))
        assert mask.get_data_dtype() == np.uint8
        assert 0 < np.asarray(mask.dataobj).mean() < 1


def as_nifti(phantom: Path, folder: Path) -> Path:
    """Write the first patient into a folder of its own, and return its image."""
    patient = find_patients(phantom)[0]
    one = folder.with_name(f"{folder.name}_tiff")
    shutil.copytree(patient.image, one / patient.name)
    (one / "PHANTOM.txt").write_text("synthetic\n")
    convert(one, folder)
    return folder / "imagesTr" / f"{patient.name}.nii.gz"


def test_nifti_gives_the_same_masks_on_its_own_grid(phantom: Path, weights: Path, tmp_path: Path) -> None:
    path = as_nifti(phantom, tmp_path / "nifti")
    name = path.name.removesuffix(".nii.gz")
    expected = np.asarray(predict(tmp_path / "nifti_tiff", tmp_path / "tiff", checkpoint=str(weights))[name].dataobj)
    turned = nibabel.as_closest_canonical(nibabel.load(path))  # right, anterior, superior
    affine = turned.affine @ np.diag([0.9, 0.9, 5, 1])
    affine[:3, 3] += [7, -3, 11]
    nibabel.save(nibabel.Nifti1Image(np.asarray(turned.dataobj), affine), path)
    mask = predict(tmp_path / "nifti", tmp_path / "out", checkpoint=str(weights))[name]
    np.testing.assert_allclose(mask.affine, affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj)[::-1, ::-1], expected)


def test_the_network_sees_pixels_as_it_learnt_from_and_masks_have_those_of_the_file(
    phantom: Path, weights: Path, tmp_path: Path
) -> None:
    step = ConfigParser.load_config_file(REPOSITORY / "configs/package/inference.yaml")["spacing"]
    assert step["pixdim"][:2] == [PIXEL_MM] * 2
    for ends, sign in (("min_pixdim", -1), ("max_pixdim", 1)):
        np.testing.assert_allclose(step[ends], PIXEL_MM * (1 + sign * PIXEL_TOLERANCE))
    masks, name = [], ""
    for folder in ("plain", "fine"):
        path = as_nifti(phantom, tmp_path / folder)
        name = path.name.removesuffix(".nii.gz")
        array, pixel = np.asarray(nibabel.load(path).dataobj), PIXEL_MM
        if folder == "fine":  # as large as before, of four pixels where there was one
            array, pixel = array.repeat(2, 0).repeat(2, 1), PIXEL_MM / 2
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-pixel, -pixel, 5, 1])), path)
        masks.append(predict(tmp_path / folder, tmp_path / f"{folder}_out", checkpoint=str(weights))[name])
        assert masks[-1].shape == array.shape[:3]
        np.testing.assert_allclose(masks[-1].affine[:2, :2], np.diag([-pixel, -pixel]))
    plain, fine = (np.asarray(mask.dataobj) for mask in masks)
    assert 0.05 < plain.mean() < 0.95
    assert (fine != plain.repeat(2, 0).repeat(2, 1)).mean() < 0.1


def test_a_scan_of_absurd_size_is_refused(phantom: Path, weights: Path, tmp_path: Path) -> None:
    path = as_nifti(phantom, tmp_path / "nifti")
    array = np.asarray(nibabel.load(path).dataobj)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-94, -94, 5, 1])), path)
    with pytest.raises(
        SystemExit, match=rf"{path.name} has a side of 6016 mm by its affine: correct the file's spacing"
    ):
        predict(tmp_path / "nifti", tmp_path / "out", checkpoint=str(weights))


def test_weights_are_the_run_s_and_else_the_shipped_ones(few: Path, weights: Path, tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    (root / "models").mkdir(parents=True)
    shutil.copy(weights, root / "models/model.pt")
    shipped = predict(few, tmp_path / "a", bundle_root=str(root))
    expected = predict(few, tmp_path / "b", checkpoint=str(weights))
    for name, mask in expected.items():
        np.testing.assert_array_equal(np.asarray(shipped[name].dataobj), np.asarray(mask.dataobj))
    own = torch.load(weights, weights_only=True)
    own = {name: torch.zeros_like(value) for name, value in own.items()}  # logit 0 everywhere, which counts as tumour
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    torch.save(own, tmp_path / "run/checkpoints/best.pt")
    for mask in predict(few, tmp_path / "run", bundle_root=str(root)).values():
        assert np.asarray(mask.dataobj).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"checkpoint": "nowhere.pt"}, "no checkpoint nowhere.pt"),
        ({"dataset_dir": "nowhere"}, "no such dataset folder: nowhere"),
        ({"checkpiont": "best.pt"}, "did you mean --checkpoint?"),
        ({"network_def#channels": [4, 8, 16]}, "is of another network"),
    ],
)
def test_a_mistake_is_one_line(
    few: Path, weights: Path, tmp_path: Path, override: dict[str, Any], message: str
) -> None:
    settings = {"checkpoint": str(weights), **override}
    data = Path(settings.pop("dataset_dir", few))
    with pytest.raises(SystemExit) as caught:
        predict(data, tmp_path / "out", **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/inference").exists()


def test_a_folder_that_cannot_be_written_into_is_refused(few: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(SystemExit, match=r"cannot write into .*/out: name another folder with --output_dir$"):
        predict(few, tmp_path / "out", checkpoint=str(weights))
