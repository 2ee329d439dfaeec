"""The command line: exit codes, one line on stderr for a mistake, and no waiting for PyTorch before it is needed."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgg_monai.cli import main
from lgg_monai.data.patients import find_patients
from lgg_monai.data.phantom import is_phantom
from lgg_monai.data.tiff_stack import read_slice

NAMES = ("PHANTOM_AA_0001_20000101", "PHANTOM_BB_0002_20000101", "PHANTOM_CC_0003_20000101", "PHANTOM_AA_0004_20000101")


class Command:
    """Run `lgg-monai` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Return the exit code and what was printed to stdout and stderr."""
        self.monkeypatch.setattr(sys, "argv", ["lgg-monai", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self.capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, out, err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "200")
    return Command(monkeypatch, capsys)


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "lgg_monai", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "predict" in done.stdout


def test_help_does_not_wait_for_pytorch() -> None:
    program = (
        "import sys; sys.argv = ['lgg-monai', '--help']\n"
        "from lgg_monai.cli import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'monai', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("check", "download", "convert", "phantom"):
        assert name in done.stdout


@pytest.mark.parametrize("name", ["check", "download", "convert", "phantom"])
def test_every_command_has_help(command: Command, name: str) -> None:
    code, out, err = command(name, "--help")
    assert code == 0
    assert "DIR" in out
    assert err == ""


def test_help_is_wrapped_for_the_window_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = command("cross-validate", "--help")[1]
    start = out.index(" Repeat the command")
    paragraph = out[start : out.index("╭", start)].strip().splitlines()
    # No line ends where the first word of the next would have had room.
    for line, following in itertools.pairwise(paragraph):
        assert len(line.strip()) + 1 + len(following.split()[0]) > 78


@pytest.mark.parametrize(
    "arguments", [("chekc",), ("check",), ("check", "a", "b"), ("phantom", "a", "--patients", "0")]
)
def test_wrong_usage_exits_with_2(command: Command, arguments: tuple[str, ...]) -> None:
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert "Usage" in err


def test_check_describes_sound_data(command: Command, phantom: Path) -> None:
    code, out, err = command("check", phantom)
    assert code == 0
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"PHANTOM {phantom}"
    assert [line.split()[:2] for line in lines[1:3]] == [["patients", "10"], ["sites", "AA"]]
    assert "AA 4, BB 3, CC 3" in lines[2]
    assert "64 x 64 (10 patients)" in out
    assert "post 1" in out
    assert "pre and post 1" in out


def test_check_lists_all_problems_at_once(command: Command, own_phantom: Path) -> None:
    folders = [own_phantom / name for name in NAMES]
    (folders[0] / f"{NAMES[0]}_2_mask.tif").unlink()
    (folders[0] / f"{NAMES[0]}_5.tif").write_bytes(b"II*\0 cut")
    for kind in ("", "_mask"):
        (folders[1] / f"{NAMES[1]}_4{kind}.tif").unlink()
    mask = folders[2] / f"{NAMES[2]}_3_mask.tif"
    Image.fromarray(np.full_like(read_slice(mask), 9)).save(mask)
    twin = own_phantom / "TCGA_DU_0001_20000101"
    twin.mkdir()
    for path in folders[3].iterdir():
        shutil.copyfile(path, twin / path.name.replace(NAMES[3], twin.name))
    code, out, err = command("check", own_phantom)
    assert code == 1
    assert "patients         11 (3 of them unreadable)" in out
    lines = err.splitlines()
    assert lines[-1] == "5 problem(s) found"
    expected = [
        (NAMES[0], "has no mask beside it"),
        (NAMES[0], "cannot read"),
        (NAMES[1], "slices 4 are missing"),
        (NAMES[2], "values other than 0 and 255 (or 0 and 1), namely 9"),
        (twin.name, "identical slice(s)"),
    ]
    for line, (name, problem) in zip(lines[:-1], expected, strict=True):
        assert line.startswith("problem: ")
        assert name in line
        assert problem in line


def test_check_finds_a_set_without_tumour(command: Command, own_phantom: Path) -> None:
    for path in own_phantom.glob("*/*_mask.tif"):
        Image.fromarray(np.zeros_like(read_slice(path))).save(path)
    code, out, err = command("check", own_phantom)
    assert code == 1
    assert "without tumour   10 (PHANTOM_AA_0001_20000101, " in out
    assert err.splitlines()[0].startswith(f"problem: no tumour in any mask of {own_phantom}")


@pytest.mark.parametrize(
    ("below", "message"),
    [("nowhere", "no such dataset folder"), ("empty", "no patients in"), ("file", "no such dataset")],
)
def test_check_of_nothing_is_one_line(command: Command, tmp_path: Path, below: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    code, out, err = command("check", tmp_path / below)
    assert (code, out) == (1, "")
    assert err.startswith(f"lgg-monai: error: {message}")
    assert str(tmp_path / below) in err
    assert err.count("\n") == 1


def test_check_of_a_patient_in_two_places_is_one_line(command: Command, own_phantom: Path) -> None:
    shutil.copytree(own_phantom / NAMES[0], own_phantom / "nested" / NAMES[0])
    code, out, err = command("check", own_phantom)
    assert (code, out) == (1, "")
    assert err.startswith(f"lgg-monai: error: patient {NAMES[0]} lies twice in {own_phantom} (")
    assert err.count("\n") == 1


def test_phantom_is_written_and_says_what_it_is(command: Command, tmp_path: Path) -> None:
    code, out, err = command("phantom", tmp_path / "p", "--patients", 2, "--size", 32, "--seed", 3)
    assert (code, err) == (0, "")
    assert out.startswith("PHANTOM: 2 synthetic patients in ")
    assert is_phantom(tmp_path / "p")
    assert len(find_patients(tmp_path / "p")) == 2
    (tmp_path / "file").write_text("text")
    code, _, err = command("phantom", tmp_path / "file", "--patients", 2)
    assert code == 1
    assert err.count("\n") == 1


@pytest.mark.parametrize(("layout", "root"), [("msd", "."), ("nnunet", "Dataset501_LGG")])
def test_convert_writes_every_patient(command: Command, phantom: Path, tmp_path: Path, layout: str, root: str) -> None:
    source = tmp_path / "some" / NAMES[0]
    shutil.copytree(phantom / NAMES[0], source)
    code, out, err = command("convert", tmp_path / "some", tmp_path / "out", "--layout", layout)
    assert (code, err) == (0, "")
    assert out == f"written to {tmp_path / 'out' / root}\n"
    assert (tmp_path / "out" / root / "dataset.json").is_file()
    code, _, err = command("convert", tmp_path / "some", tmp_path / "out", "--layout", layout)
    assert code == 1
    assert err.startswith("lgg-monai: error: the output folder")
    assert command("convert", tmp_path / "some", tmp_path / "new", "--layout", "dicom")[0] == 2


def test_download_of_a_missing_zip_is_one_line(command: Command, tmp_path: Path) -> None:
    code, out, err = command("download", tmp_path / "data", "--source", tmp_path / "none.zip")
    assert (code, out) == (1, "")
    assert err.startswith("lgg-monai: error: no such zip file")
    assert err.count("\n") == 1


def test_weights_that_are_not_there_are_one_line(command: Command, tmp_path: Path) -> None:
    code, out, err = command("weights", tmp_path / "best.pt", "--bundle", "unet", "--output", tmp_path / "model.pt")
    assert (code, out) == (1, "")
    assert err == f"lgg-monai: error: no checkpoint {tmp_path / 'best.pt'}: train first, or give the path of another\n"
