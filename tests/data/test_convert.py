"""NIfTI copies hold the same voxels, in layouts that other tools read, and appear with dataset.json last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lgg_monai.data import convert as module
from lgg_monai.data.convert import convert
from lgg_monai.data.integrity import PatientReport, inspect_patient
from lgg_monai.data.patients import HALF_MADE, Patient, find_patients, read_patient
from lgg_monai.data.phantom import PHANTOM_MARKER, is_phantom, write_phantom
from lgg_monai.errors import LggError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("data") / "kaggle_3m", patients=3, size=40, slices=(4, 6))


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    picture = nibabel.load(path)
    return np.asanyarray(picture.dataobj), picture.affine


def test_decathlon_layout_round_trips(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    assert root == tmp_path / "msd"
    originals, copies = find_patients(dataset), find_patients(root)
    assert [patient.name for patient in originals] == [patient.name for patient in copies]
    for original, copy in zip(originals, copies, strict=True):
        for one, other in zip(read_patient(original), read_patient(copy), strict=True):
            assert one is not None
            assert other is not None
            assert other.dtype == np.uint8
            np.testing.assert_array_equal(one, other)
        image, affine = load(copy.image)
        assert image.shape[-1] == 3
        np.testing.assert_array_equal(affine, np.diag([-1, -1, 1, 1]))


def test_decathlon_description_names_every_file(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    about = json.loads((root / "dataset.json").read_text())
    assert about["tensorImageSize"] == "4D"
    assert about["modality"] == {"0": "pre", "1": "FLAIR", "2": "post"}
    assert about["labels"] == {"0": "background", "1": "tumour"}
    assert about["numTraining"] == len(about["training"]) == 3
    assert about["test"] == []
    assert "phantom" in about["name"]
    assert "licence" not in about  # the published set's is not that of synthetic pictures
    for entry in about["training"]:
        assert (root / entry["image"]).is_file()
        assert (root / entry["label"]).is_file()


def test_published_slices_keep_their_terms(dataset: Path, tmp_path: Path) -> None:
    source = shutil.copytree(dataset, tmp_path / "kaggle_3m")
    (source / PHANTOM_MARKER).unlink()
    for folder in (convert(source, tmp_path / "msd"), convert(source, tmp_path / "raw", layout="nnunet")):
        about = json.loads((folder / "dataset.json").read_text())
        assert "non-commercial" in about["licence"]
        assert "Buda" in about["reference"]
        assert "placeholder" in about["description"]


@pytest.mark.parametrize("own", [{"name": "Ours", "licence": "CC0", "reference": ["a", "b"]}, {}, None])
def test_nifti_keeps_its_own_terms_and_gets_no_others(own: dict | None, dataset: Path, tmp_path: Path) -> None:
    source = convert(dataset, tmp_path / "hospital")
    (source / PHANTOM_MARKER).unlink()
    if own is None:
        (source / "dataset.json").unlink()
    else:
        (source / "dataset.json").write_text(json.dumps(own))
    about = json.loads((convert(source, tmp_path / "raw", layout="nnunet") / "dataset.json").read_text())
    assert about["name"] == (own or {}).get("name", "hospital")
    assert about.get("licence") == (own or {}).get("licence")
    assert "reference" not in about
    assert "Buda" not in json.dumps(about)


def test_monai_reads_the_decathlon_list(dataset: Path, tmp_path: Path) -> None:
    from monai.data import load_decathlon_datalist

    root = convert(dataset, tmp_path / "msd")
    files = load_decathlon_datalist(root / "dataset.json", is_segmentation=True, data_list_key="training")
    assert len(files) == 3
    assert Path(files[0]["image"]).is_file()


def test_nnunet_layout_round_trips(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "raw", layout="nnunet")
    assert root == tmp_path / "raw" / "Dataset501_LGG"
    about = json.loads((root / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "pre", "1": "FLAIR", "2": "post"}
    assert about["labels"] == {"background": 0, "tumour": 1}
    assert about["numTraining"] == 3
    assert about["file_ending"] == ".nii.gz"
    for patient in find_patients(dataset):
        image, mask = read_patient(patient)
        assert mask is not None
        for channel in range(3):
            volume, _ = load(root / "imagesTr" / f"{patient.name}_{channel:04d}.nii.gz")
            np.testing.assert_array_equal(volume, image[channel])
        label, _ = load(root / "labelsTr" / f"{patient.name}.nii.gz")
        np.testing.assert_array_equal(label, mask[0])
    assert len(list((root / "imagesTr").iterdir())) == 9


def test_copy_of_a_phantom_still_says_so(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    assert is_phantom(root)
    assert "synthetic" in json.loads((root / "dataset.json").read_text())["name"]
    assert (root / PHANTOM_MARKER).read_text() == (dataset / PHANTOM_MARKER).read_text()


def test_nifti_input_keeps_its_geometry(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    affine = np.array([[0.5, 0, 0, -3], [0, 0, 4, 2], [0, 0.5, 0, 1], [0, 0, 0, 1]], dtype=float)
    for path in root.glob("*Tr/*.nii.gz"):
        array, _ = load(path)
        nibabel.save(nibabel.Nifti1Image(np.array(array), affine), path)
    again = convert(root, tmp_path / "raw", layout="nnunet")
    for path in again.glob("*Tr/*.nii.gz"):
        # Axes are turned to LPS, and every voxel stays where it was in the room.
        turned, geometry = load(path)
        assert "".join(nibabel.aff2axcodes(geometry)) == "LPS"
        name = path.name.removesuffix(".nii.gz")
        source = root / path.parent.name / f"{name[:-5] if path.parent.name == 'imagesTr' else name}.nii.gz"
        before = load(source)[0]
        before = before[..., int(name[-4:])] if before.ndim == 4 else before
        there = np.argwhere(turned == turned.max())[:50]
        voxels = np.rint(nibabel.affines.apply_affine(np.linalg.inv(affine) @ geometry, there)).astype(int)
        assert (before[tuple(voxels.T)] == turned.max()).all()


def test_same_input_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    one, other = convert(dataset, tmp_path / "a"), convert(dataset, tmp_path / "b")
    files = list(one.rglob("*.nii.gz"))
    assert len(files) == 6
    for path in files:
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()


def test_progress_counts_up_to_the_number_of_patients(dataset: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    convert(dataset, tmp_path / "msd", progress=lambda *args: calls.append(args))
    assert [(done, total) for done, total, _ in calls] == [(1, 3), (2, 3), (3, 3)]
    assert [name for _, _, name in calls] == [patient.name for patient in find_patients(dataset)]


def test_folder_in_use_is_refused_and_kept(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(LggError, match="is not empty: choose another"):
        convert(dataset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(LggError, match="is not empty"):
        convert(dataset, tmp_path / "mine.txt")


def test_unknown_layout_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(LggError, match="unknown layout 'bids': choose one of msd, nnunet"):
        convert(dataset, tmp_path / "out", layout="bids")  # type: ignore[arg-type]


def test_patient_without_mask_is_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    victim = next((root / "labelsTr").iterdir())
    victim.unlink()
    with pytest.raises(LggError, match="has no mask"):
        convert(root, tmp_path / "out", layout="nnunet")
    assert not (tmp_path / "out").exists()


def test_channels_that_are_named_in_another_order_are_not_named_anew(dataset: Path, tmp_path: Path) -> None:
    root = convert(dataset, tmp_path / "msd")
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "FLAIR", "1": "T1w", "2": "T1gd"}}))
    with pytest.raises(LggError, match=r"dataset\.json names the channels FLAIR, T1w, T1gd, expected"):
        convert(root, tmp_path / "out", layout="nnunet")
    assert not (tmp_path / "out").exists()


def test_image_without_three_sequences_is_refused(tmp_path: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "one" / part).mkdir(parents=True)
        picture = nibabel.Nifti1Image(np.ones((4, 4, 2), np.uint8), np.eye(4))
        nibabel.save(picture, tmp_path / "one" / part / "p.nii.gz")
    with pytest.raises(LggError, match=r"patient p cannot be converted: .* has 1 sequence\(s\), expected 3"):
        convert(tmp_path / "one", tmp_path / "out")


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_takes_back_what_was_written(
    error: BaseException, layout: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = nibabel.save, []

    def interrupted(picture: nibabel.Nifti1Image, path: Path) -> None:
        calls.append(path)
        save(picture, path)
        if len(calls) == 5:
            raise error

    monkeypatch.setattr(module.nibabel, "save", interrupted)
    with pytest.raises(LggError if isinstance(error, OSError) else KeyboardInterrupt, match=r"No space|^$"):
        convert(dataset, tmp_path / "out", layout=layout)  # type: ignore[arg-type]
    assert not list((tmp_path / "out").rglob("*"))
    monkeypatch.undo()
    convert(dataset, tmp_path / "out", layout=layout)  # type: ignore[arg-type]


def test_what_a_killed_conversion_left_is_no_data_set(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(convert(dataset, tmp_path / "msd"), tmp_path / "out")
    mark = tmp_path / "out" / HALF_MADE
    mark.touch()
    with pytest.raises(LggError, match=r"out is half made: wait until it is done, or"):
        find_patients(tmp_path / "out")
    mark.unlink()
    assert len(find_patients(tmp_path / "out")) == 3


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_what_came_into_the_folder_during_the_check_stays(
    layout: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "out" / (module.NNUNET_FOLDER if layout == "nnunet" else "")
    own = root / "imagesTr" / "own.nii.gz"

    def put(patient: Patient) -> PatientReport:
        own.parent.mkdir(parents=True, exist_ok=True)
        own.touch()
        return inspect_patient(patient)

    monkeypatch.setattr(module, "inspect_patient", put)
    with pytest.raises(LggError, match="is not empty: choose another"):
        convert(dataset, tmp_path / "out", layout=layout)  # type: ignore[arg-type]
    assert [path for path in root.rglob("*") if path.is_file()] == [own]


def test_slices_without_their_mask_are_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    name = find_patients(dataset)[1].name
    (dataset / name / f"{name}_2.tif").unlink()
    (dataset / name / f"{name}_5_mask.tif").unlink()
    with pytest.raises(LggError, match=f"^patient {name} cannot be converted: .*{name}_5.tif has no mask beside it"):
        convert(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()
