"""The command `lgg-monai predict`: one line a mistake, exit codes, and what it writes for every kind of input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from scans import LPS, blob, save

from lgg_monai.cli import main
from lgg_monai.data.patients import find_patients
from lgg_monai.prediction.network_def import build_network
from lgg_monai.prediction.run import RESEARCH_USE

SMALL: dict[str, Any] = {
    "_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "channels": [4, 8], "strides": [2],
}  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run's folder with a network that was not trained at all."""
    folder = tmp_path / "trained"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": {"network_def": SMALL}}))
    torch.manual_seed(0)
    torch.save(build_network(SMALL, "small").state_dict(), folder / "checkpoints" / "best.pt")
    return folder


@pytest.fixture
def predict(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        options = ["--output", tmp_path / "out", "--bundle", trained, "--device", "cpu"]
        command = ["lgg-monai", "predict", *arguments, *options]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return run


def test_a_mixed_folder_with_a_bad_file(predict, phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / 'Jörg "J" o\'N_flair.nii.gz', blob()[1])
    (folder / "cut_flair.nii.gz").write_bytes(b"\x1f\x8b")
    patient = find_patients(phantom)[0]
    code, out, err = predict(folder, patient.image, "--probabilities")
    assert code == 1
    assert out.splitlines()[0] == RESEARCH_USE
    assert out.splitlines()[1].startswith("2 segmented, ")
    assert "1 failed" in out
    assert err.splitlines()[0].startswith("failed: cut: cannot read")
    name = next(p.name for p in (tmp_path / "out").iterdir() if p.name.startswith("Jörg"))
    files = {path.name for path in (tmp_path / "out" / name).iterdir()}
    assert {"mask.nii.gz", "probability.nii.gz", "flair.nii.gz", "result.json"} == files
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Not a medical device" in page
    assert "PHANTOM" in page
    assert "cut" in page
    # The flair that the page shows is the one that was read.
    shown = np.asarray(nibabel.load(tmp_path / "out" / patient.name / "flair.nii.gz").dataobj)
    assert shown.dtype == np.uint8
    assert (tmp_path / "out" / patient.name / "reference.nii.gz").is_file()
    (folder / "cut_flair.nii.gz").unlink()
    code, out, err = predict(folder, patient.image, "--probabilities", "--no-report")
    assert code == 0
    assert "0 segmented, 2 done already" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no scan given"),
        (("absent",), "no such file or folder: absent"),
        (("--pre", "absent.nii"), "no --flair beside"),
        ((".", "--series", "flair"), "--series flair names no series"),
        ((".", "--checkpoint", "absent.pt"), "no checkpoint absent.pt"),
    ],
)
def test_a_mistake_is_one_line(predict, tmp_path: Path, monkeypatch, arguments: tuple[str, ...], message: str) -> None:
    save(tmp_path / "work" / "p_flair.nii.gz", blob()[1])
    monkeypatch.chdir(tmp_path / "work")
    code, out, err = predict(*arguments)
    assert code == 1
    assert out == ""
    assert err.startswith(f"lgg-monai: error: {message}")
    assert err.count("\n") == 1


def test_sequences_by_option(predict, tmp_path: Path) -> None:
    image = blob()
    files = [save(tmp_path / f"{i}.nii.gz", image[i]) for i in range(3)]
    code, _, _ = predict("--pre", files[0], "--flair", files[1], "--post", files[2], "--no-report")
    assert code == 0
    (result,) = (tmp_path / "out").glob("*/result.json")
    assert json.loads(result.read_text())["missing_sequences"] == []


def test_dicom_gives_nifti_and_seg_and_tells_no_names(predict, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    from benchmarks.dicom_series import synthesise_series

    folder = tmp_path / "MUSTERMANN_ERIKA"
    volume = np.rint(blob()[1] * 10).astype(np.uint16)
    synthesise_series(
        folder, volume, LPS, "T2 FLAIR", shuffle=1, PatientName="MUSTERMANN^ERIKA", PatientBirthDate="19500101"
    )
    code, out, err = predict(folder)
    assert code == 0, err
    (result,) = (tmp_path / "out").glob("*/result.json")
    mask = nibabel.load(result.parent / "mask.nii.gz")
    assert np.allclose(mask.affine, LPS, atol=1e-4)
    # Where a viewer shows the SEG's voxels, in millimetres to the left, back and head, there the NIfTI mask is.
    seg = highdicom.seg.segread(result.parent / "seg.dcm").get_volume(combine_segments=True)
    places = nibabel.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ seg.affine, np.argwhere(seg.array))
    voxels = np.rint(nibabel.affines.apply_affine(np.linalg.inv(mask.affine), places)).astype(int)
    drawn = np.zeros(mask.shape, bool)
    drawn[tuple(voxels.T)] = True
    assert np.array_equal(drawn, np.asarray(mask.dataobj) > 0)
    told = (
        out
        + err
        + "".join(
            path.read_text(encoding="utf-8", errors="replace")
            for path in (tmp_path / "out").rglob("*")
            if path.suffix in (".json", ".csv", ".html", ".js") and path.name != "niivue.js"
        )
    )
    for secret in ("MUSTERMANN", "ERIKA", "19500101"):
        assert secret not in told
        assert secret not in str(result)


@pytest.mark.slow
def test_torchrun_shares_the_patients_out(trained: Path, phantom: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    command += [str(Path(sys.executable).with_name("lgg-monai")), "predict", str(phantom)]
    command += ["--output", str(tmp_path / "out")]
    command += ["--bundle", str(trained), "--device", "cpu", "--no-report"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(RESEARCH_USE) == 1
    assert "10 segmented" in done.stdout
    rows = (tmp_path / "out" / "measurements.csv").read_text().splitlines()
    assert len(rows) == 11
