"""Every way in which a data set can be wrong is found before training, and said in one line beside the others."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from PIL import Image
from typer.testing import CliRunner

from lgg_monai.cli import app
from lgg_monai.data.convert import convert
from lgg_monai.data.datalist import prepare_datalist
from lgg_monai.data.integrity import inspect_dataset, inspect_patient, require_sound
from lgg_monai.data.patients import find_patients
from lgg_monai.data.phantom import write_phantom
from lgg_monai.data.report import describe
from lgg_monai.data.report_cache import sound_report
from lgg_monai.data.tiff_stack import mask_files, read_slice
from lgg_monai.errors import LggError

ONE = "PHANTOM_AA_0001_20000101"
TWIN = "PHANTOM_AA_0099_20000101"
TWO = "PHANTOM_BB_0002_20000101"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer and smaller patients than elsewhere, as they are read very often here."""
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", patients=6, seed=1, size=40, slices=(7, 8))


@pytest.fixture(scope="module")
def nifti(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as NIfTI; do not write into it (see `own_nifti`)."""
    return convert(phantom, tmp_path_factory.mktemp("data") / "nifti")


@pytest.fixture
def own_nifti(nifti: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nifti, tmp_path / "own_nifti"))


def tif(root: Path, n: int, mask: bool = False, patient: str = ONE) -> Path:
    return root / patient / f"{patient}_{n}{'_mask' if mask else ''}.tif"


def redraw(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(read_slice(path))).save(path)


def redraw_all(root: Path, change: Callable[[np.ndarray], np.ndarray], masks: bool) -> None:
    for path in (root / ONE).glob("*.tif"):
        if path.stem.endswith("_mask") == masks:
            redraw(path, change)


def cut(path: Path, share: float = 0.5, bytes_off: int = 0) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - bytes_off if bytes_off else int(len(data) * share)])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def remove_slice(root: Path, *numbers: int) -> None:
    for n in numbers:
        tif(root, n).unlink()
        tif(root, n, mask=True).unlink()


def unfetch(path: Path) -> None:
    path.unlink()
    path.symlink_to("annex/not-here")


def rename_patient(root: Path) -> None:
    """Put one patient's pixels in a second time, under another name."""
    (root / TWIN).mkdir()
    for path in (root / ONE).iterdir():
        shutil.copyfile(path, root / TWIN / path.name.replace(ONE, TWIN))


def grey(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0]


def rgba(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture, picture[..., :1]], axis=-1)


def smaller(picture: np.ndarray) -> np.ndarray:
    return picture[:-8]


def soft(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[0, :3] = 0, 7, 128
    return mask


FOLDER_DAMAGES: dict[str, tuple[Damage, str]] = {
    "a slice that was not fetched": (
        lambda root: unfetch(tif(root, 3)),
        rf"{ONE}_3\.tif is a broken link: fetch what it leads to, or replace it",
    ),
    "image without mask": (
        lambda root: tif(root, 3, mask=True).unlink(),
        rf"{ONE}_3\.tif has no mask beside it: add {ONE}_3_mask\.tif",
    ),
    "mask without image": (
        lambda root: tif(root, 3).unlink(),
        rf"{ONE}_3_mask\.tif has no image beside it: add it, or remove the mask",
    ),
    "patient without masks": (
        lambda root: [path.rename(path.with_suffix(".bak")) for path in mask_files(root / ONE).values()],
        rf"{ONE} has no masks: add a",
    ),
    "truncated image": (lambda root: cut(tif(root, 3)), rf"cannot read .*{ONE}_3\.tif .*: replace the file"),
    "truncated mask": (
        lambda root: cut(tif(root, 3, mask=True), 0.9),
        rf"cannot read .*{ONE}_3_mask\.tif .*: replace the file",
    ),
    "truncated header": (lambda root: cut(tif(root, 3), 0.005), rf"cannot read .*{ONE}_3\.tif .*: replace the file"),
    "empty file": (lambda root: tif(root, 3).write_bytes(b""), rf"cannot read .*{ONE}_3\.tif .*: replace the file"),
    "no image at all": (
        lambda root: tif(root, 3).write_text("<html>not found</html>"),
        rf"cannot read .*{ONE}_3\.tif .*: replace the file",
    ),
    "images of different sizes": (
        lambda root: redraw(tif(root, 3), smaller),
        rf"slices of .*{ONE} differ in size .*32 x 40 x 3 in {ONE}_3\.tif, 40 x 40 x 3 in \d+ files\): export",
    ),
    "masks of different sizes": (
        lambda root: redraw(tif(root, 3, mask=True), smaller),
        rf"masks of .*{ONE} differ in size .*32 x 40 in {ONE}_3_mask\.tif, 40 x 40 in \d+ files\): export them alike",
    ),
    "masks smaller than images": (
        lambda root: redraw_all(root, smaller, masks=True),
        rf"image and mask of .*{ONE} differ in size \(40 x 40 x \d+ and 40 x 32 x \d+\): export them alike",
    ),
    "one grey slice": (
        lambda root: redraw(tif(root, 3), grey),
        rf"slices of .*{ONE} differ in size or channels .*{ONE}_3\.tif.*: export them alike",
    ),
    "grey slices": (
        lambda root: redraw_all(root, grey, masks=False),
        rf"slices of .*{ONE} have 1 channel\(s\), expected 3: export pre, FLAIR and post",
    ),
    "slices of four channels": (
        lambda root: redraw_all(root, rgba, masks=False),
        rf"slices of .*{ONE} have 4 channel\(s\), expected 3: export pre, FLAIR and post",
    ),
    "coloured masks": (
        lambda root: redraw_all(root, lambda mask: np.stack([mask] * 3, axis=-1), masks=True),
        rf"masks of .*{ONE} have 3 channels, expected one: export them as grey-scale",
    ),
    "gaps in the numbers": (
        lambda root: remove_slice(root, 3, 5, 6),
        rf"slices 3, 5-6 are missing in .*{ONE}: add them, or number all from 1",
    ),
    "first slices missing": (
        lambda root: remove_slice(root, 1, 2),
        rf"slices 1-2 are missing in .*{ONE}: add them, or number all from 1",
    ),
    "file without a number": (
        lambda root: shutil.copyfile(tif(root, 3), root / ONE / "overview.tif"),
        r"no slice number at the end of .*overview\.tif: rename it",
    ),
    "number as large as a date": (
        lambda root: [
            shutil.copyfile(tif(root, 3), root / ONE / f"{ONE}.tif"),
            shutil.copyfile(tif(root, 3, mask=True), root / ONE / f"{ONE}_mask.tif"),
        ],
        rf"{ONE}\.tif is not named {ONE}_<n>\.tif as the others there are",
    ),
    "slice of another patient": (
        lambda root: [
            tif(root, 3, mask).rename(tif(root, 3, mask).with_name(tif(root, 3, mask, TWIN).name))
            for mask in (False, True)
        ],
        rf"{ONE}.{TWIN}_3\.tif is not named {ONE}_<n>\.tif as the others there are, so may be another",
    ),
    "slices of another patient after the last": (
        lambda root: [shutil.copyfile(tif(root, n), root / ONE / f"{TWIN}_{n + 20}.tif") for n in (1, 2)],
        rf"{ONE}.{TWIN}_21\.tif \(and 1 more\) is not named {ONE}_<n>\.tif as the others there are",
    ),
    "mask of another patient": (
        lambda root: tif(root, 3, mask=True).rename(root / ONE / f"{TWIN}_3_mask.tif"),
        rf"{ONE}.{TWIN}_3_mask\.tif is not named {ONE}_<n>_mask\.tif as the others there are",
    ),
    "all masks of another patient": (
        lambda root: [path.rename(root / ONE / f"{TWIN}_{n}_mask.tif") for n, path in mask_files(root / ONE).items()],
        rf"the masks of .*{ONE} are named after {TWIN}, its slices after {ONE}, so may be another",
    ),
    "all slices of another patient": (
        lambda root: [path.rename(root / ONE / path.name.replace(ONE, TWO)) for path in (root / ONE).iterdir()],
        rf"the slices in .*{ONE} are named after {TWO}, another patient of the set: copy this patient's own",
    ),
    "number twice": (
        lambda root: shutil.copyfile(tif(root, 3), root / ONE / f"{ONE}_03.tif"),
        rf"slice 3 lies twice in .*{ONE} \({ONE}_03\.tif and {ONE}_3\.tif\): remove one",
    ),
    "mask of other values": (
        lambda root: redraw(tif(root, 3, mask=True), soft),
        rf"{ONE}_3_mask\.tif holds values other than 0 and 255 \(or 0 and 1\), namely 0, 7, 128.*: export a binary",
    ),
    "image of one value": (
        lambda root: redraw_all(root, np.zeros_like, masks=False),
        rf"{ONE} is of one single value \(0\), so no scan: replace or remove it",
    ),
    "same pixels under two names": (
        rename_patient,
        rf"patients {ONE} and {TWIN} share \d+ identical slice\(s\) of FLAIR, so may be one patient: keep one",
    ),
}


def rewrite(root: Path, change: Callable[[np.ndarray], np.ndarray], labels: bool = False) -> None:
    path = root / ("labelsTr" if labels else "imagesTr") / f"{ONE}.nii.gz"
    picture = nibabel.Nifti1Image.from_filename(path)
    nibabel.save(nibabel.Nifti1Image(change(np.asanyarray(picture.dataobj)), picture.affine), path)


def gunzip(path: Path) -> None:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[5, 5, 2] = value
        return array

    return change


def shift_mask(root: Path) -> None:
    path = root / "labelsTr" / f"{ONE}.nii.gz"
    picture = nibabel.Nifti1Image.from_filename(path)
    affine = np.array(picture.affine)
    affine[0, 3] += 2
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(picture.dataobj), affine), path)


def name_channels(root: Path, names: dict[str, str] | list[str], key: str = "modality") -> None:
    (root / "dataset.json").write_text(json.dumps({key: names}), encoding="utf-8")


NIFTI_DAMAGES: dict[str, tuple[Damage, str]] = {
    "NaN": (
        lambda root: rewrite(root, with_value(float("nan"))),
        rf"{ONE}\.nii\.gz holds NaN or infinite values: replace them",
    ),
    "infinity": (
        lambda root: rewrite(root, with_value(float("inf"))),
        rf"{ONE}\.nii\.gz holds NaN or infinite values: replace them",
    ),
    "NaN in a mask": (
        lambda root: rewrite(root, with_value(float("nan")), labels=True),
        rf"labelsTr.{ONE}\.nii\.gz holds values other than 0 and 1 \(or 255\), namely .*nan.*: make it binary",
    ),
    "several labels": (
        lambda root: rewrite(root, with_value(4), labels=True),
        rf"labelsTr.{ONE}\.nii\.gz holds values other than 0 and 1 \(or 255\), namely 0.0, 1.0, 4.0: make it binary, "
        r"or let `lgg-monai collect .*own_nifti --output OUT` write such a set, where all that is not 0 is tumour",
    ),
    "image without mask": (
        lambda root: (root / "labelsTr" / f"{ONE}.nii.gz").unlink(),
        rf"imagesTr.{ONE}\.nii\.gz has no mask of the same name in labelsTr: add it",
    ),
    "mask without image, in capitals": (
        lambda root: (root / "labelsTr" / "OTHER.NII.GZ").write_bytes(b"a mask"),
        r"labelsTr.OTHER\.NII\.GZ has no image of the same name in imagesTr: add it",
    ),
    "mask without image": (
        lambda root: (root / "imagesTr" / f"{ONE}.nii.gz").unlink(),
        rf"labelsTr.{ONE}\.nii\.gz has no image of the same name in imagesTr: add it",
    ),
    "a mask that was not fetched": (
        lambda root: unfetch(root / "labelsTr" / f"{ONE}.nii.gz"),
        rf"labelsTr.{ONE}\.nii\.gz is a broken link: fetch what it leads to, or replace it",
    ),
    "an image that was not fetched": (
        lambda root: unfetch(root / "imagesTr" / f"{ONE}.nii.gz"),
        rf"imagesTr.{ONE}\.nii\.gz is a broken link: fetch what it leads to, or replace it",
    ),
    "two masks of one image": (
        lambda root: gunzip(root / "labelsTr" / f"{ONE}.nii.gz"),
        rf"labelsTr.{ONE}\.nii lies beside {ONE}\.nii\.gz, two masks of one image: remove one",
    ),
    "truncated": (
        lambda root: cut(root / "imagesTr" / f"{ONE}.nii.gz"),
        rf"cannot read .*{ONE}\.nii\.gz as NIfTI .*: replace the file",
    ),
    "a wrong checksum": (
        lambda root: flip(root / "imagesTr" / f"{ONE}.nii.gz", -8),
        rf"cannot read .*imagesTr.{ONE}\.nii\.gz as NIfTI .*CRC.*: replace the file",
    ),
    "a wrong checksum of a mask": (
        lambda root: flip(root / "labelsTr" / f"{ONE}.nii.gz", -8),
        rf"cannot read .*labelsTr.{ONE}\.nii\.gz as NIfTI .*CRC.*: replace the file",
    ),
    "no checksum": (
        lambda root: cut(root / "imagesTr" / f"{ONE}.nii.gz", bytes_off=8),
        rf"cannot read .*imagesTr.{ONE}\.nii\.gz as NIfTI .*EOF.*: replace the file",
    ),
    "colours": (
        lambda root: rewrite(root, lambda array: np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        rf"imagesTr.{ONE}\.nii\.gz holds colours or complex numbers .*, expected grey values: export it so",
    ),
    "a mask in colours": (
        lambda root: rewrite(root, lambda a: np.zeros(a.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), labels=True),
        rf"labelsTr.{ONE}\.nii\.gz holds colours or complex numbers .*, expected grey values: export it so",
    ),
    "complex numbers": (
        lambda root: rewrite(root, lambda array: array.astype(np.complex64)),
        rf"imagesTr.{ONE}\.nii\.gz holds colours or complex numbers .*, expected grey values: export it so",
    ),
    "two sequences": (
        lambda root: rewrite(root, lambda array: array[..., :2]),
        rf"{ONE}\.nii\.gz has 2 sequence\(s\), expected 3 sequences: join pre, FLAIR and post",
    ),
    "one sequence": (
        lambda root: rewrite(root, lambda array: array[..., 0]),
        rf"{ONE}\.nii\.gz has 1 sequence\(s\), expected 3 sequences: join pre, FLAIR and post",
    ),
    "a vector a voxel": (
        lambda root: rewrite(root, lambda array: array[:, :, :, None]),
        rf"{ONE}\.nii\.gz has 40 x 40 x \d x 1 x 3 voxels, expected 3 sequences: join .*, or let `lgg-monai collect",
    ),
    "FLAIR of one value": (
        lambda root: rewrite(root, lambda array: array * np.array([1, 0, 1], array.dtype)),
        rf"flair of .*{ONE}\.nii\.gz is of one single value \(0\), so no scan: give it, or leave the patient out",
    ),
    "another sequence of one value": (
        lambda root: rewrite(root, lambda array: array * np.array([1, 1, 0], array.dtype)),
        rf"post of .*{ONE}\.nii\.gz is of one single value \(0\), .* or a copy of FLAIR where it was not acquired",
    ),
    "channels named in another order": (
        lambda root: name_channels(root, {"0": "FLAIR", "1": "T1w", "2": "T1gd"}),
        r"own_nifti.dataset\.json names the channels FLAIR, T1w, T1gd, expected pre, FLAIR, post .*`lgg-monai collect",
    ),
    "mask on another grid": (
        shift_mask,
        rf"labelsTr.{ONE}\.nii\.gz lies on another grid than its image \(affines differ\): copy the image",
    ),
    "mask of another size": (
        lambda root: rewrite(root, lambda array: array[:, :-4], labels=True),
        rf"image and mask of .*{ONE}\.nii\.gz differ in size \(40 x 40 x \d+ and 40 x 36 x \d+\): export them alike",
    ),
}


def require_found(root: Path, message: str, output_dir: Path) -> None:
    """`check` lists the problem on a line of its own, and training refuses to begin."""
    (problem,) = inspect_dataset(root).all_problems
    assert "\n" not in problem
    assert re.search(message, problem), problem
    result = CliRunner().invoke(app, ["check", str(root)])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [f"problem: {problem}", "1 problem(s) found"]
    assert result.stdout.splitlines()[0] == f"PHANTOM {root}"
    with pytest.raises(SystemExit, match=message) as caught:
        prepare_datalist(str(root), str(output_dir), folds=3)
    assert str(caught.value.code).startswith("lgg-monai: error: ")
    before_reading = "names the channels" in problem  # so nobody knows what else there is
    assert before_reading or str(caught.value.code).endswith(f"; `lgg-monai check {root}` lists all")
    assert "\n" not in str(caught.value.code)
    assert not list(output_dir.iterdir())


@pytest.mark.parametrize(("damage", "message"), FOLDER_DAMAGES.values(), ids=FOLDER_DAMAGES.keys())
def test_damaged_folder_is_found(own_phantom: Path, tmp_path: Path, damage: Damage, message: str) -> None:
    damage(own_phantom)
    require_found(own_phantom, message, tmp_path / "run")


@pytest.mark.parametrize(("damage", "message"), NIFTI_DAMAGES.values(), ids=NIFTI_DAMAGES.keys())
def test_damaged_nifti_is_found(own_nifti: Path, tmp_path: Path, damage: Damage, message: str) -> None:
    damage(own_nifti)
    require_found(own_nifti, message, tmp_path / "run")


@pytest.mark.parametrize(
    "names",
    [
        ("pre", "FLAIR", "post"),
        ("T1w", "T2-FLAIR", "t1gd"),
        ("FLAIR", "FLAIR", "T1gd"),  # a copy of FLAIR, under its own name
        ("MRI",),
        ("noNorm", "zscore", "noNorm"),
        (),
    ],
)
def test_names_of_channels_that_fit_or_say_nothing_are_no_problem(own_nifti: Path, names: tuple[str, ...]) -> None:
    for key in ("modality", "channel_names"):
        name_channels(own_nifti, {str(index): name for index, name in enumerate(names)}, key)
        assert inspect_dataset(own_nifti).all_problems == []


@pytest.mark.parametrize("content", ["", "[1]", '{"modality": "FLAIR"}', '{"modality": {"first": "FLAIR"}}', "\0"])
def test_descriptions_that_cannot_be_read_are_no_problem(own_nifti: Path, content: str) -> None:
    (own_nifti / "dataset.json").write_text(content)
    assert inspect_dataset(own_nifti).all_problems == []


@pytest.mark.parametrize(
    "names",
    [("post", "FLAIR", "pre"), ("FLAIR",), ("T1gd", "FLAIR", "T2w"), ("MRI", "MRI", "FLAIR")],
)
def test_one_sequence_named_out_of_place_is_a_problem(own_nifti: Path, names: tuple[str, ...]) -> None:
    for written in (list(names), {str(index): name for index, name in enumerate(names)}):
        name_channels(own_nifti, written, "channel_names")
        (problem,) = inspect_dataset(own_nifti).all_problems
        assert f"names the channels {', '.join(names)}, expected pre, FLAIR, post" in problem


def test_all_problems_of_a_patient_are_listed_at_once(own_phantom: Path) -> None:
    tif(own_phantom, 2, mask=True).unlink()
    cut(tif(own_phantom, 3))
    redraw(tif(own_phantom, 4), smaller)
    redraw(tif(own_phantom, 5, mask=True), soft)
    tif(own_phantom, 6, mask=True).write_bytes(b"")
    problems = inspect_dataset(own_phantom).all_problems
    starts = ["has no mask", "cannot read", "slices of", "holds values", "cannot read"]
    assert len(problems) == len(starts)
    for problem, start in zip(problems, starts, strict=True):
        assert start in problem
        assert ONE in problem


def test_training_names_the_first_problem_and_counts_the_others(own_phantom: Path) -> None:
    cut(tif(own_phantom, 3))
    cut(tif(own_phantom, 4))
    report = inspect_dataset(own_phantom)
    with pytest.raises(LggError, match=rf"{ONE}_3\.tif .* \(and 1 more\); `lgg-monai check .*own_phantom` lists all"):
        require_sound(report)


def test_sound_data_is_described(phantom: Path) -> None:
    report = inspect_dataset(phantom)
    require_sound(report)
    assert report.all_problems == []
    assert report.without_tumour == []
    assert report.sites == {"AA": 2, "BB": 2, "CC": 2}
    for one in report.patients:
        mask = np.stack([read_slice(path) for path in mask_files(one.patient.image).values()])
        assert one.size == (40, 40)
        assert one.slices == len(mask)
        assert one.tumour_voxels == np.count_nonzero(mask)
        assert one.tumour_slices == np.count_nonzero(mask.any(axis=(1, 2)))
    assert sorted(one.copied for one in report.patients) == [(), (), (), (), (), ("post",)]


def test_a_copy_that_lacks_sequences_is_found(own_nifti: Path) -> None:
    path = own_nifti / "imagesTr" / f"{ONE}.nii.gz"
    picture = nibabel.load(path)
    flair = np.asanyarray(picture.dataobj)[..., [1, 1, 1]].astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(flair, picture.affine), path.with_name("other.nii.gz"))
    shutil.copy(own_nifti / "labelsTr" / path.name, own_nifti / "labelsTr" / "other.nii.gz")
    (problem,) = inspect_dataset(own_nifti).all_problems
    assert problem.startswith(f"patients {ONE} and other share ")


def test_scans_of_one_person_are_told(own_nifti: Path) -> None:
    assert "patients         6\n" in describe(inspect_dataset(own_nifti))
    for folder in ("imagesTr", "labelsTr"):
        for name, session in ((ONE, "sub-01_ses-1"), (TWO, "sub-01_ses-2")):
            (own_nifti / folder / f"{name}.nii.gz").rename(own_nifti / folder / f"{session}.nii.gz")
    report = inspect_dataset(own_nifti)
    assert "patients         6 (scans of 5 people by their names)\n" in describe(report)
    report.patients = [one for one in report.patients if one.patient.name.startswith("sub-01")]
    assert "patients         2 (scans of 1 person by their names)\n" in describe(report)


def test_few_of_many_sizes_are_told(phantom: Path) -> None:
    report = inspect_dataset(phantom)
    assert "slice size       40 x 40 (6 patients)\n" in describe(report)
    for number, one in enumerate(report.patients[1:], start=1):
        one.size = (40, 40 + number)
    assert "slice size       40 x 40 (1 patient), 40 x 41 (1 patient), " in describe(report)
    assert ", 40 x 44 (1 patient), 1 more\n" in describe(report)


def test_columns_come_before_rows_in_the_size(own_phantom: Path) -> None:
    redraw_all(own_phantom, smaller, masks=False)
    redraw_all(own_phantom, smaller, masks=True)
    assert inspect_patient(find_patients(own_phantom)[0]).size == (40, 32)


def test_fingerprint_tells_pixels_masks_and_names_but_not_places(phantom: Path, own_phantom: Path) -> None:
    before = inspect_dataset(phantom).fingerprint
    assert inspect_dataset(own_phantom).fingerprint == before
    seen = {before}
    redraw(tif(own_phantom, 4), lambda picture: picture ^ 1)
    seen.add(inspect_dataset(own_phantom).fingerprint)
    redraw(tif(own_phantom, 4, mask=True), lambda mask: 255 - mask)
    seen.add(inspect_dataset(own_phantom).fingerprint)
    rename_patient(own_phantom)
    shutil.rmtree(own_phantom / ONE)
    seen.add(inspect_dataset(own_phantom).fingerprint)
    assert len(seen) == 4


@pytest.mark.parametrize("dtype", ["int16", ">i2", "float32", "float64"])
@pytest.mark.parametrize("offset", [0, -7])
def test_the_same_pixels_are_known_in_any_type(own_nifti: Path, dtype: str, offset: int) -> None:
    """Programs export one scan in types of their own, and two exports must not be taken for two patients."""
    one, twin = (own_nifti / "imagesTr" / f"{name}.nii.gz" for name in (ONE, TWIN))
    picture = nibabel.Nifti1Image.from_filename(one)
    values = np.asarray(picture.dataobj).astype(np.int16) + np.int16(offset)
    nibabel.save(nibabel.Nifti1Image(values, picture.affine), one)
    nibabel.save(nibabel.Nifti1Image(values.astype(dtype), picture.affine), twin)
    shutil.copyfile(own_nifti / "labelsTr" / one.name, own_nifti / "labelsTr" / twin.name)
    found = inspect_dataset(own_nifti)
    first, second = (report for report in found.patients if report.patient.name in (ONE, TWIN))
    assert first.image_fingerprint == second.image_fingerprint
    assert any(f"patients {ONE} and {TWIN} share" in problem for problem in found.problems)


def test_nifti_copy_has_the_same_fingerprint(phantom: Path, nifti: Path) -> None:
    assert inspect_dataset(nifti).fingerprint == inspect_dataset(phantom).fingerprint


def test_set_without_tumour_is_a_problem_of_training_only(own_phantom: Path) -> None:
    for path in own_phantom.glob("*/*_mask.tif"):
        redraw(path, np.zeros_like)
    report = inspect_dataset(own_phantom)
    assert report.all_problems == []
    (problem,) = report.without_tumour
    assert re.search(r"no tumour in any mask of .*own_phantom.*: give the masks", problem)


def test_patients_are_read_once_each(phantom: Path) -> None:
    seen = []

    def progress(patients):  # type: ignore[no-untyped-def]
        for patient in patients:
            seen.append(patient.name)
            yield patient

    report = inspect_dataset(phantom, progress=progress)
    assert seen == [one.patient.name for one in report.patients]
    assert len(seen) == 6


def test_an_empty_patient_folder_is_a_problem_and_another_empty_one_is_none(own_phantom: Path) -> None:
    lost = own_phantom / "TCGA_CS_4941_19960909"
    lost.mkdir()
    (lost / ".DS_Store").write_bytes(b"")
    (own_phantom / "notes").mkdir()
    assert inspect_dataset(own_phantom).problems == [
        f"{lost} is named like a patient and is empty: copy its slices, or remove it"
    ]


def test_a_patient_of_other_pictures_than_tiff_is_told_of(own_phantom: Path) -> None:
    for path in (own_phantom / ONE).iterdir():
        with Image.open(path) as picture:
            picture.save(path.with_suffix(".png"))
        path.unlink()
    (own_phantom / TWO / "figure_mask.png").touch()
    report = inspect_dataset(own_phantom)
    assert report.all_problems == []
    left_out = f"{own_phantom / ONE} is left out, as its masks are no TIFF: export its slices and masks so"
    assert report.warnings == [left_out]


@pytest.mark.parametrize(("air", "told"), [(0.0, True), (-2.0, False)])
def test_scans_that_were_normalised_before_are_told_of(own_nifti: Path, tmp_path: Path, air: float, told: bool) -> None:
    def normalise(image: np.ndarray) -> np.ndarray:
        head = image[..., 1:2] > 20
        assert 0.2 < 1 - head.mean() < 0.8
        return np.where(head, (image - 60.0) / 20, air).astype(np.float32)

    rewrite(own_nifti, normalise)
    for _ in range(2):  # the second time from the cache
        found = sound_report(own_nifti, tmp_path / "cache").warnings
        assert found == [] if not told else found[0].startswith(f"FLAIR of 1 of 6 patients, such as {ONE}, is 0 in the")


def test_folders_beside_a_nifti_set_are_none_of_its(own_nifti: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a disk's own ``lost+found``, which nobody may look into."""
    listed = Path.iterdir

    def closed(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    (own_nifti / "lost+found").mkdir()
    monkeypatch.setattr(Path, "iterdir", closed)
    assert inspect_dataset(own_nifti).all_problems == []


@pytest.mark.parametrize(
    ("voxel", "warning"),
    [
        ((0.9, 1.0, 6.0), None),
        ((1.0, 1.0, 1.0), None),
        ((0.45, 0.45, 5.0), rf"^1 of 6 patients have pixels unlike .* \({ONE}: 0\.45 x 0\.45 mm, not 0\.94\).*collect"),
        ((5.0, 1.0, 1.0), rf"^1 of 6 patients have thick sagittal slices \({ONE}: voxels of 5\.00 x 1\.00 x 1\.00 mm"),
        ((1.0, 5.0, 1.0), "^1 of 6 patients have thick coronal slices"),
    ],
)
@pytest.mark.parametrize("axes", ["LPS", "SAR"])
def test_voxels_unlike_those_that_predict_shows_are_warned_of(
    own_nifti: Path, tmp_path: Path, voxel: tuple[float, float, float], warning: str | None, axes: str
) -> None:
    for path in own_nifti.glob(f"*Tr/{ONE}.nii.gz"):
        picture = nibabel.Nifti1Image.from_filename(path)
        placed = nibabel.Nifti1Image(np.asanyarray(picture.dataobj), np.diag([-voxel[0], -voxel[1], voxel[2], 1.0]))
        turn = orientations.ornt_transform(
            orientations.io_orientation(placed.affine), orientations.axcodes2ornt(tuple(axes))
        )
        nibabel.save(placed.as_reoriented(turn), path)
    for _ in range(2):  # the second time from the cache
        report = sound_report(own_nifti, tmp_path / "cache")
        if warning is None:
            assert report.warnings == []
        else:
            (found,) = report.warnings
            assert re.search(warning, found)
