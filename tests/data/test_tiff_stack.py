"""A folder of TIFF slices is read as one volume, by our reader and through MONAI, and NIfTI copies read alike."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from lgg_monai.data.convert import convert
from lgg_monai.data.patients import Patient, find_patients, read_patient
from lgg_monai.data.tiff_stack import TiffStackReader, image_files, is_binary, mask_files, missing_numbers, read_slice
from lgg_monai.errors import LggError

ROWS, COLUMNS, SLICES = 5, 7, 11


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """One patient whose grey values say where they stand: row, column and slice number in the three channels."""
    folder = tmp_path / "TCGA_AB_0001_20000101"
    folder.mkdir()
    row, column = np.mgrid[:ROWS, :COLUMNS].astype(np.uint8)
    for n in range(1, SLICES + 1):
        picture = np.stack([row, column, np.full_like(row, n)], axis=-1)
        mask = np.where((row == 1) & (column == 2) & (n == 10), 255, 0).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{folder.name}_{n}.tif")
        Image.fromarray(mask).save(folder / f"{folder.name}_{n}_mask.tif")
    return folder


def config_loaders() -> Compose:
    """The calls of `configs/data.yaml`: the reader by its dotted name, NIfTI left to MONAI."""
    return Compose(
        [
            LoadImaged(keys="image", reader="lgg_monai.data.TiffStackReader"),
            LoadImaged(keys="label", reader="lgg_monai.data.TiffStackReader", mask=True),
            EnsureChannelFirstd(keys=["image", "label"]),
        ]
    )


def load(patient: Patient) -> dict[str, Any]:
    return config_loaders()({"image": str(patient.image), "label": str(patient.label)})


def test_x_runs_along_columns_y_along_rows_and_z_in_numeric_order(stack: Path) -> None:
    reader = TiffStackReader()
    volume, meta = reader.get_data(reader.read(stack))
    assert volume.shape == (3, COLUMNS, ROWS, SLICES)
    assert volume.dtype == np.uint8
    x, y, z = np.mgrid[:COLUMNS, :ROWS, :SLICES]
    np.testing.assert_array_equal(volume[0], y)
    np.testing.assert_array_equal(volume[1], x)
    np.testing.assert_array_equal(volume[2], z + 1)
    np.testing.assert_array_equal(meta["affine"], np.diag([-1, -1, 1, 1]))
    np.testing.assert_array_equal(meta["spatial_shape"], (COLUMNS, ROWS, SLICES))


def test_gaps_in_the_numbers_are_told_of(stack: Path) -> None:
    assert missing_numbers(stack) == []
    (stack / f"{stack.name}_5.tif").unlink()
    assert missing_numbers(stack) == ["slices are missing between 4 and 6: volumes and extents are too small"]
    (stack / f"{stack.name}_8.tif").unlink()
    assert "between 4 and 6 (and in 1 more places): " in missing_numbers(stack)[0]
    for n in (1, 2, 4, 10):
        (stack / f"{stack.name}_{n}.tif").unlink()
    assert list(image_files(stack)) == [3, 6, 7, 9, 11]
    for n in (6, 7):
        (stack / f"{stack.name}_{n}.tif").unlink()
    (stack / f"{stack.name}_9.tif").rename(stack / f"{stack.name}_7.tif")
    assert missing_numbers(stack) == []  # 3, 7, 11: all steps are alike


def test_transposed_slice_is_the_picture(stack: Path) -> None:
    reader = TiffStackReader()
    volume, _ = reader.get_data(reader.read(stack))
    picture = read_slice(stack / f"{stack.name}_4.tif")
    np.testing.assert_array_equal(volume[1, :, :, 3].T, picture[..., 1])


def test_slice_9_comes_before_slice_10(stack: Path) -> None:
    assert list(image_files(stack)) == list(mask_files(stack)) == list(range(1, SLICES + 1))
    assert image_files(stack)[10].name.endswith("_10.tif")
    assert mask_files(stack)[9].name.endswith("_9_mask.tif")


def test_mask_is_one_channel_of_0_and_1(stack: Path) -> None:
    reader = TiffStackReader(mask=True)
    mask, _ = reader.get_data(reader.read(stack))
    assert mask.shape == (1, COLUMNS, ROWS, SLICES)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask).tolist() == [[0, 2, 1, 9]]
    assert mask.max() == 1


def test_mask_may_hold_0_and_1(stack: Path) -> None:
    before = TiffStackReader(mask=True).read(stack)[0][1]
    for path in mask_files(stack).values():
        Image.fromarray(read_slice(path) // 255).save(path)
    np.testing.assert_array_equal(TiffStackReader(mask=True).read(stack)[0][1], before)


def test_hidden_files_are_left_out(stack: Path) -> None:
    (stack / f"._{stack.name}_1.tif").write_bytes(b"of macOS")
    assert len(image_files(stack)) == SLICES
    assert len(TiffStackReader().read(stack)) == 1


def test_load_image_takes_the_reader_by_its_dotted_name(stack: Path) -> None:
    loaded = load(Patient(stack.name, stack, stack, "tiff"))
    image, label = read_patient(Patient(stack.name, stack, stack, "tiff"))
    assert label is not None
    np.testing.assert_array_equal(loaded["image"], image)
    np.testing.assert_array_equal(loaded["label"], label)
    np.testing.assert_array_equal(loaded["image"].affine, np.diag([-1, -1, 1, 1]))
    assert loaded["image"].meta["filename_or_obj"] == str(stack)


def test_nifti_copy_is_read_as_the_folder_by_the_same_calls(phantom: Path, tmp_path: Path) -> None:
    originals = find_patients(phantom)[:2]
    for original in originals:
        (tmp_path / "some" / original.name).parent.mkdir(exist_ok=True)
        (tmp_path / "some" / original.name).symlink_to(original.image)
    copies = find_patients(convert(tmp_path / "some", tmp_path / "nifti"))
    for original, copy in zip(originals, copies, strict=True):
        assert copy.format == "nifti"
        one, other = load(original), load(copy)
        image, label = read_patient(copy)
        assert label is not None
        for key, array in (("image", image), ("label", label)):
            np.testing.assert_array_equal(one[key], other[key])
            np.testing.assert_array_equal(one[key], array)
            np.testing.assert_array_equal(one[key].affine, other[key].affine)


def test_several_folders_are_joined_along_channels(stack: Path) -> None:
    reader = TiffStackReader()
    volume, meta = reader.get_data(reader.read([stack, stack]))
    assert volume.shape == (6, COLUMNS, ROWS, SLICES)
    assert meta["filename_or_obj"] == str(stack)


def test_reader_is_for_folders(stack: Path) -> None:
    reader = TiffStackReader()
    assert reader.verify_suffix(stack)
    assert reader.verify_suffix([str(stack)])
    assert not reader.verify_suffix(stack / f"{stack.name}_1.tif")


@pytest.mark.parametrize(("mask", "what"), [(False, "slices"), (True, "masks")])
def test_folder_without_slices_is_refused(tmp_path: Path, mask: bool, what: str) -> None:
    with pytest.raises(LggError, match=rf"no {what} \(.*\) in .*: give the folder"):
        TiffStackReader(mask=mask).read(tmp_path)


def test_huge_size_in_a_damaged_header_is_refused(stack: Path) -> None:
    path = stack / f"{stack.name}_1.tif"
    data = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and height, little-endian, 4 bytes at offset 8 of their entry
        entry = next(i for i in range(8, 200) if data[i : i + 2] == tag.to_bytes(2, "little"))
        data[entry + 2 : entry + 12] = (
            (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + (10**6).to_bytes(4, "little")
        )
    path.write_bytes(data)
    with pytest.raises(LggError, match=r"cannot read .*_1\.tif .*: replace the file"):
        read_slice(path)


@pytest.mark.parametrize(
    ("values", "binary"),
    [
        ([0, 0], True),
        ([0, 1], True),
        ([0, 255], True),
        ([255, 255], True),
        ([False, True], True),
        ([0, 1, 255], False),
        ([0, 2], False),
        ([-1, 0], False),
        ([0.0, 0.5, 1.0], False),
        ([0.0, float("nan")], False),
    ],
)
def test_binary_is_0_and_1_or_0_and_255(values: list, binary: bool) -> None:
    assert is_binary(np.array(values)) is binary


def test_pages_and_deep_channels_are_refused_rather_than_cut(stack: Path) -> None:
    path = stack / f"{stack.name}_3.tif"
    page = Image.fromarray(np.zeros((ROWS, COLUMNS, 3), np.uint8))
    page.save(path, save_all=True, append_images=[page, page])
    with pytest.raises(LggError, match=r"_3\.tif holds 3 pages, expected one slice a file: export each by itself"):
        read_slice(path)
    path.write_bytes(deep_tiff(np.arange(ROWS * COLUMNS * 3, dtype=np.uint16).reshape(ROWS, COLUMNS, 3) * 9))
    with pytest.raises(LggError, match=r"_3\.tif has 16 bits a channel, expected 8 in RGB"):
        read_slice(path)
    grey = np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS) * 300
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_slice(path), grey)  # of one channel nothing is lost


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_lightness_and_colours_are_not_taken_for_sequences(stack: Path, mode: str) -> None:
    path = stack / f"{stack.name}_3.tif"
    Image.fromarray(np.zeros((ROWS, COLUMNS, 3), np.uint8), mode).save(path)
    with pytest.raises(LggError, match=rf"_3\.tif holds colours as {mode}, expected RGB: export it so"):
        read_slice(path)


def deep_tiff(picture: np.ndarray) -> bytes:
    """An uncompressed RGB TIFF of 16 bits a channel, which Pillow reads but does not write."""
    rows, columns, channels = picture.shape
    data = picture.astype("<u2").tobytes()
    bits = 8 + len(data)
    tags = [
        *((256, 3, 1, columns), (257, 3, 1, rows), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, rows), (279, 4, 1, len(data)), (284, 3, 1, 1)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", bits + 6) + data + struct.pack("<3H", 16, 16, 16) + directory
