"""The phantom is deterministic, complete or absent, shaped like the real set, and not solved by a threshold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lgg_monai.data import phantom
from lgg_monai.data.patients import find_patients, read_patient
from lgg_monai.data.phantom import PHANTOM_MARKER, is_phantom, write_phantom
from lgg_monai.data.sequences import FLAIR
from lgg_monai.errors import LggError


def digest(folder: Path) -> str:
    """Hash the names and bytes of all files below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image and mask of each of the 15 default patients, in small."""
    folder = write_phantom(tmp_path_factory.mktemp("phantom") / "default", size=64)
    volumes = []
    for patient in find_patients(folder):
        image, mask = read_patient(patient)
        assert mask is not None
        volumes.append((patient.name, image, mask[0]))
    return volumes


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other, third = (
        write_phantom(tmp_path / name, patients=3, seed=seed, size=64, slices=(6, 8))
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert digest(one) == digest(other) != digest(third)


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    name = "PHANTOM_AA_0001_20000101"
    few, more = (write_phantom(tmp_path / str(n), patients=n, size=48, slices=(5, 5)) for n in (1, 2))
    assert digest(few / name) == digest(more / name)


def test_default_patients_look_like_the_real_set(default: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    depths = [image.shape[-1] for _, image, _ in default]
    assert len(default) == 15
    assert sorted(depths)[0] == 20
    assert sorted(depths)[-1] == 88
    assert sum(20 <= depth <= 30 for depth in depths) == 14
    assert {name.split("_")[1] for name, _, _ in default} == {"AA", "BB", "CC"}
    for name, image, mask in default:
        assert image.dtype == np.uint8, name
        assert image.shape[:-1] == (3, 64, 64), name
        assert mask.any(), name
        assert image[:, :4, :4].mean() > 0.2, f"{name}: air without noise"
    with_tumour = np.concatenate([mask.any((0, 1)) for _, _, mask in default])
    assert 0.25 < with_tumour.mean() < 0.45


def test_a_fifth_of_the_patients_lacks_sequences_which_are_exact_copies(
    default: list[tuple[str, np.ndarray, np.ndarray]],
) -> None:
    copies = [tuple(c for c in (0, 2) if np.array_equal(image[c], image[FLAIR])) for _, image, _ in default]
    assert sorted(copies) == [()] * 12 + [(0, 2), (2,), (2,)]


def test_tumour_is_bright_on_flair_in_every_patient(default: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    for name, image, mask in default:
        plane = int(mask.sum((0, 1)).argmax())
        flair, outline = image[FLAIR, :, :, plane].astype(float), mask[:, :, plane] > 0
        head = flair > 0.3 * np.percentile(flair, 90)
        assert flair[outline].mean() > 1.1 * np.median(flair[head & ~outline]), name


def test_no_threshold_on_flair_finds_the_tumours(default: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    def dice(threshold: int) -> float:
        scores = []
        for _, image, mask in default:
            found = image[FLAIR] > threshold
            scores.append(2 * (found & (mask > 0)).sum() / (found.sum() + (mask > 0).sum()))
        return float(np.mean(scores))

    assert max(dice(threshold) for threshold in range(0, 256, 4)) < 0.5


@pytest.mark.parametrize("slices", [(1, 1), (2, 3), (9, 9)])
def test_few_slices_hold_tumour_too(tmp_path: Path, slices: tuple[int, int]) -> None:
    folder = write_phantom(tmp_path / "p", patients=6, size=32, slices=slices, seed=3)
    for patient in find_patients(folder):
        _, mask = read_patient(patient)
        assert mask is not None
        assert mask.any()
        assert slices[0] <= mask.shape[-1] <= slices[1]


def test_same_phantom_is_returned_untouched(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "p", patients=2, size=32, slices=(2, 2))
    before = folder.stat().st_mtime_ns, (folder / PHANTOM_MARKER).stat().st_mtime_ns
    assert write_phantom(folder, patients=2, size=32, slices=(2, 2)) == folder
    assert before == (folder.stat().st_mtime_ns, (folder / PHANTOM_MARKER).stat().st_mtime_ns)


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    assert is_phantom(write_phantom(tmp_path / "p", patients=1, size=32, slices=(1, 1)))


def test_other_contents_are_refused_and_kept(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "p", patients=1, size=32, slices=(2, 2))
    with pytest.raises(LggError, match="other parameters"):
        write_phantom(folder, patients=1, size=32, slices=(2, 2), seed=1)
    (folder / "mine.txt").write_text("x")
    with pytest.raises(LggError, match=r"was changed \(mine.txt\)"):
        write_phantom(folder, patients=1, size=32, slices=(2, 2))
    (folder / PHANTOM_MARKER).unlink()
    with pytest.raises(LggError, match="not a phantom"):
        write_phantom(folder, patients=1, size=32, slices=(2, 2))
    assert (folder / "mine.txt").read_text() == "x"
    with pytest.raises(LggError, match="it is a file"):
        write_phantom(folder / "mine.txt", patients=1)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 31}, {"slices": (0, 3)}, {"slices": (5, 4)}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(LggError, match=r"cannot make a phantom of .*: give at least"):
        write_phantom(tmp_path / "p", **wrong)
    assert not list(tmp_path.iterdir())


def test_failure_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = phantom._write_slices

    def fail_on_second(folder: Path, image: np.ndarray, mask: np.ndarray) -> None:
        if "_0002_" in folder.name:
            raise OSError(28, "No space left on device")
        write(folder, image, mask)

    monkeypatch.setattr(phantom, "_write_slices", fail_on_second)
    with pytest.raises(LggError, match="No space left on device"):
        write_phantom(tmp_path / "p", patients=2, size=32, slices=(1, 1))
    assert not list(tmp_path.iterdir())


def test_a_quicker_process_wins_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, target = phantom._write_slices, tmp_path / "p"

    def overtaken(folder: Path, image: np.ndarray, mask: np.ndarray) -> None:
        write(folder, image, mask)
        monkeypatch.setattr(phantom, "_write_slices", write)
        write_phantom(target, patients=1, size=32, slices=(1, 1))

    monkeypatch.setattr(phantom, "_write_slices", overtaken)
    assert write_phantom(target, patients=1, size=32, slices=(1, 1)) == target
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_marker_says_what_it_is_from_above_and_below(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path / "data" / "kaggle_3m", patients=1, size=32, slices=(1, 1))
    assert "synthetic" in (folder / PHANTOM_MARKER).read_text()
    assert "not patients" in (folder / PHANTOM_MARKER).read_text()
    assert is_phantom(folder)
    assert is_phantom(tmp_path)
    assert is_phantom(folder / "PHANTOM_AA_0001_20000101")
    (tmp_path / "other").mkdir()
    assert not is_phantom(tmp_path / "other")
    assert not is_phantom(tmp_path / "missing")
