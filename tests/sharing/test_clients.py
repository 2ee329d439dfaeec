"""Both packaged bundles in the clients that people have, in processes that cannot import lgg_monai: minutes.

    make clients

makes the environments that MONAI Label, the Deploy App SDK and NVIDIA FLARE need, and runs these tests. Without those
environments, `pytest -m slow tests/sharing/test_clients.py` runs the others. LGG_LABEL_PYTHON, LGG_DEPLOY_PYTHON and
LGG_FLARE_PYTHON may name the Python of other environments.

Where a client imports a bundle's training code, the bundle's folder is on the Python path (see the model card).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from packages import REPOSITORY
from pydicom import dcmread

from benchmarks.dicom_series import synthesise_series
from lgg_monai.data.convert import convert
from lgg_monai.data.phantom import write_phantom
from lgg_monai.engines.checkpoints import read_weights

pytestmark = pytest.mark.slow
Run = Callable[..., Any]
CLIENTS = Path(__file__).parent / "clients"
SCHEMA = REPOSITORY / "tests/resources/meta_schema_20240725.json"
TINY = ("--max_epochs", 1, "--slices_per_volume", 2, "--slice_size", 64, "--patch_size", 64, "--precision", "fp32")


@pytest.fixture(scope="module", params=["unet", "plain_unet", "pspnet", "ensemble"])
def shipped(request: pytest.FixtureRequest, make_package: Callable[[str], Path], packaged: Path) -> Path:
    """Each packaged bundle; do not write into it (see `bundle`)."""
    return packaged if request.param == "plain_unet" else make_package(request.param)


@pytest.fixture
def bundle(shipped: Path, tmp_path: Path) -> Path:
    """A copy of a packaged bundle that a client may write into."""
    return Path(shutil.copytree(shipped, tmp_path / "bundles" / shipped.name))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """Patients in the layout of the Decathlon."""
    return scans / "msd"


def succeeded(result: Any) -> str:
    assert result.returncode == 0, result.stderr[-3000:]
    return str(result.stdout)


def bundle_command(run: Run, bundle: Path, *arguments: object, path: Path | None = None) -> str:
    """Run `python -m monai.bundle ...` elsewhere."""
    return succeeded(run("-m", "monai.bundle", *arguments, path=path))


def interpreter(client: str) -> str:
    """The Python of a client's own environment: each brings packages that the project does without."""
    python = os.environ.get(f"LGG_{client.upper()}_PYTHON") or str(REPOSITORY / f".venv-{client}/bin/python")
    if not Path(python).exists():
        pytest.skip(f"no {python}: run `make clients`")
    return python


def set_threshold(bundle: Path, scan: Path) -> None:
    """Let an untrained network, whose logits may all have one sign, divide a scan into tumour and not."""
    path = bundle / "configs/inference.json"
    content = json.loads(path.read_text())
    config = ConfigParser(content | {"bundle_root": str(bundle), "datalist": [str(scan)], "device": "cpu"})
    volume = config.get_parsed_content("dataset")[0]["image"][None]
    with torch.no_grad():
        logits = config.get_parsed_content("inferer")(volume, torch.jit.load(bundle / "models/model.ts")).as_tensor()
    content["postprocessing"]["transforms"][0]["threshold"] = logits.quantile(torch.tensor([0.05, 0.95])).mean().item()
    path.write_text(json.dumps(content))


def predicted(run: Run, bundle: Path, scan: Path, output: Path) -> nibabel.Nifti1Image:
    """The mask of a NIfTI file that the bundle writes by itself."""
    set_threshold(bundle, scan)
    command = ("run", "--config_file", bundle / "configs/inference.json", "--bundle_root", bundle)
    bundle_command(run, bundle, *command, "--datalist", [str(scan)], "--output_dir", output)
    mask = nibabel.load(output / scan.name.replace(".nii", "_seg.nii"))
    assert 0.01 < np.mean(np.asarray(mask.dataobj) > 0) < 0.99
    return mask


def assert_same_mask(mask: np.ndarray, expected: np.ndarray) -> None:
    assert mask.shape == expected.shape
    # A client may run the TorchScript, whose logits differ in the last digits; turned axes would change far more.
    assert np.mean((mask > 0) != (expected > 0)) < 1e-3


# monai.bundle


def test_verify_metadata(bundle: Path, without_us: Run, tmp_path: Path) -> None:
    schema = shutil.copy(SCHEMA, tmp_path / "schema.json")
    bundle_command(
        without_us, bundle, "verify_metadata", "--meta_file", bundle / "configs/metadata.json", "--filepath", schema
    )


@pytest.mark.parametrize("config", ["inference", "train"])
def test_verify_net_in_out(bundle: Path, without_us: Run, config: str) -> None:
    bundle_command(
        without_us,
        bundle,
        *("verify_net_in_out", "network_def", "--meta_file", bundle / "configs/metadata.json"),
        *("--config_file", bundle / f"configs/{config}.json", "--bundle_root", bundle, "--device", "cpu"),
        path=bundle,
    )


def test_ckpt_export_and_onnx_export(bundle: Path, without_us: Run, tmp_path: Path) -> None:
    common = ("--ckpt_file", bundle / "models/model.pt", "--meta_file", bundle / "configs/metadata.json")
    common += ("--config_file", bundle / "configs/train.json")
    bundle_command(
        without_us, bundle, "ckpt_export", "network_def", "--filepath", tmp_path / "a.ts", *common, path=bundle
    )
    bundle_command(
        without_us,
        bundle,
        *("onnx_export", "network_def", "--filepath", tmp_path / "a.onnx", *common, "--input_shape", "[1,3,64,64]"),
        path=bundle,
    )
    image = torch.rand(1, 3, 64, 64)
    ours = torch.jit.load(str(bundle / "models/model.ts"))
    theirs = torch.jit.load(str(tmp_path / "a.ts"))
    with torch.no_grad(), torch.jit.optimized_execution(False):
        torch.testing.assert_close(theirs(image), ours(image))
    assert (tmp_path / "a.onnx").stat().st_size > 1000


def test_run_inference_evaluation_and_training(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    def run(config: str, *arguments: object) -> str:
        configs = bundle / "configs"
        command = ("run", "--config_file", configs / config, "--bundle_root", bundle)
        return bundle_command(without_us, bundle, *command, *arguments)

    run("inference.yaml", "--dataset_dir", data / "imagesTr", "--output_dir", tmp_path / "masks")
    run("evaluate.json", "--dataset_dir", data, "--output_dir", tmp_path / "scores")
    assert "val_volume_dice" in (tmp_path / "scores/metrics.csv").read_text()
    rows = (tmp_path / "scores/val_volume_dice_raw.csv").read_text().splitlines()[1:]
    assert len(rows) == 4
    for row in rows:  # the score of the masks that inference wrote
        path, *_, dice = row.split(",")
        name = Path(path).name
        truth = np.asarray(nibabel.load(data / "labelsTr" / name).dataobj) > 0
        mask = np.asarray(nibabel.load(tmp_path / "masks" / name.replace(".nii", "_seg.nii")).dataobj) > 0
        assert float(dice) == pytest.approx(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), abs=1e-4)
    before = (bundle / "models/model.pt").read_bytes()
    run("train.yaml", "--dataset_dir", data, "--ckpt_dir", tmp_path / "own", "--output_dir", tmp_path / "curves", *TINY)
    assert (bundle / "models/model.pt").read_bytes() == before
    assert not (bundle / "eval").exists()  # nothing is written into a bundle that others share
    tuned = torch.load(tmp_path / "own/model.pt", weights_only=True)
    assert tuned.keys() == torch.load(bundle / "models/model.pt", weights_only=True).keys()
    run(
        "evaluate.yaml",
        "--dataset_dir",
        data,
        "--output_dir",
        tmp_path / "again",
        "--checkpoint",
        tmp_path / "own/model.pt",
    )


def test_workflows_have_their_properties_and_load_gives_the_network(
    bundle: Path, data: Path, without_us: Run, tmp_path: Path
) -> None:
    script = tmp_path / "client.py"
    script.write_text(f"""
import torch
from monai.bundle import ConfigWorkflow, create_workflow, load
bundle, data = {str(bundle)!r}, {str(data)!r}
common = dict(bundle_root=bundle, dataset_dir=data)
for kind, files in (("train", ["train"]), ("infer", ["inference"]), ("train", ["train", "evaluate"]),
                    ("infer", ["evaluate"]), ("train", ["train", "multi_gpu_train"])):
    for make in (ConfigWorkflow, create_workflow):
        if "multi_gpu_train" in files:
            continue
        flow = make(config_file=[f"{{bundle}}/configs/{{name}}.json" for name in files], workflow_type=kind, **common)
        flow.initialize()
        assert flow.check_properties() == [], (files, flow.check_properties())
        assert flow.version and flow.channel_def
network = load({bundle.name!r}, bundle_dir={str(bundle.parent)!r}, device="cpu")
weights = torch.load(bundle + "/models/model.pt", weights_only=True)
assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
""")
    succeeded(without_us(script, path=bundle))


# Others


def test_model_zoo_rules(bundle: Path, without_us: Run, tmp_path: Path) -> None:
    """What model-zoo's verify_bundle asks of a contribution, besides what is tested above."""
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md"):
        assert (bundle / name).is_file()
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    if (bundle / "large_files.yml").exists():
        bundle_command(without_us, bundle, "download_large_files", "--bundle_path", bundle)
    script = tmp_path / "verify.py"
    script.write_text(f"""
import torch
from monai.bundle import ckpt_export, load, verify_net_in_out
bundle = {str(bundle)!r}
network, metadata, _ = load({bundle.name!r}, bundle_dir={str(bundle.parent)!r}, load_ts_module=True)  # as its card says
assert network.training is False and metadata["version"] == {metadata["version"]!r}
common = dict(net_id="network_def", meta_file=bundle + "/configs/metadata.json",
              config_file=bundle + "/configs/inference.json", bundle_root=bundle)
verify_net_in_out(**common)
ckpt_export(filepath=bundle + "/models/verify_model.ts", ckpt_file=bundle + "/models/model.pt", **common)
torch.jit.load(bundle + "/models/model.ts")
""")
    succeeded(without_us(script))  # with the bundle's folder not on the path


def test_slicer_drives_inference_json(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    image = sorted((data / "imagesTr").iterdir())[0]
    result = tmp_path / "out/result.nii.gz"
    succeeded(without_us(CLIENTS / "slicer.py", bundle, image, result))
    mask, scan = nibabel.load(result), nibabel.load(image)
    assert mask.shape == scan.shape[:3]
    np.testing.assert_allclose(mask.affine, scan.affine)


def test_federated_learning(bundle: Path, data: Path, without_us: Run) -> None:
    # The statistics client takes no overrides, so the site's own config file names its data.
    (bundle / "configs/site.json").write_text(json.dumps({"dataset_dir": str(data)}))
    assert "statistics of" in succeeded(without_us(CLIENTS / "federated.py", bundle, data, path=bundle))


def test_nvidia_flare_trains_at_two_sites(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    python = interpreter("flare")
    other = write_phantom(tmp_path / "phantom", patients=4, seed=4, size=64, slices=(5, 6))
    sites = [data, convert(other, tmp_path / "other", "msd")]
    workspace = tmp_path / "workspace"
    before = (bundle / "models/model.pt").read_bytes()
    output = without_us(CLIENTS / "flare.py", bundle, workspace, *sites, python=python)
    server = workspace / "server/simulate_job"
    trained = server / "app_server/FL_global_model.pt"
    assert trained.is_file(), output.stdout[-3000:] + output.stderr[-3000:]  # FLARE ends with 0 where a job is aborted
    assert (bundle / "models/model.pt").read_bytes() == before
    # All sites score what the server began with and what came out, on the patient whom they did not train on.
    scores = json.loads((server / "cross_site_val/cross_val_results.json").read_text())
    assert sorted(scores) == ["site-1", "site-2"]
    for number, site in enumerate(sorted(scores)):
        assert scores[site].keys() >= {"SRV_model.pt", "SRV_FL_global_model.pt", "site-1", "site-2"}
        assert all(np.isfinite(list(found.values())).all() and found for found in scores[site].values())
        table = workspace / f"{site}/simulate_job/app_{site}/custom/eval/val_volume_dice_raw.csv"
        (line,) = table.read_text().splitlines()[1:]
        assert line.startswith(str(sites[number]))
    # The server has no name of a patient.
    names = [path.name.removesuffix(".nii.gz").encode() for site in sites for path in (site / "imagesTr").iterdir()]
    files = [file.read_bytes() for file in (workspace / "server").rglob("*") if file.is_file()]
    assert not any(name in content for name in names for content in files)
    # Its weights are those of the bundle's network, and the receiver trains further on them.
    start, state = torch.load(bundle / "models/model.pt", weights_only=True), read_weights(trained)
    assert state.keys() == start.keys()
    assert any(not torch.equal(state[name], value) for name, value in start.items())
    common = ("--bundle_root", bundle, "--dataset_dir", data, "--checkpoint", trained, "--output_dir", tmp_path / "out")
    for config, more in (("evaluate", ()), ("train", ("--ckpt_dir", tmp_path / "own", *TINY))):
        bundle_command(without_us, bundle, "run", "--config_file", bundle / f"configs/{config}.json", *common, *more)


def test_monai_label_predicts_and_trains(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    python = interpreter("label")
    scan = sorted((data / "imagesTr").iterdir())[0]
    expected = predicted(without_us, bundle, scan, tmp_path / "expected")
    succeeded(without_us(CLIENTS / "label.py", bundle, data, tmp_path / "mask.nii.gz", python=python))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, expected.affine)
    assert_same_mask(np.asarray(mask.dataobj), np.asarray(expected.dataobj))


def test_monai_label_finds_a_bundle_that_was_put_where_the_document_says(
    packaged: Path, without_us: Run, tmp_path: Path
) -> None:
    python = interpreter("label")
    document = (REPOSITORY / "docs/sharing.md").read_text()
    *put, start = re.findall(r"^    ((?:mkdir|cp|monailabel start_server) .*)", document, re.MULTILINE)
    name = "lgg_mri_segmentation_unet"
    shutil.copytree(packaged, tmp_path / "dist" / name)
    (tmp_path / "apps/monaibundle").mkdir(parents=True)  # as `monailabel apps` copies it
    subprocess.run(["bash", "-ec", "\n".join(put)], cwd=tmp_path, check=True)
    settings = dict(re.findall(r"--conf (\S+) (\S+)", start))
    script = tmp_path / "find.py"
    script.write_text(f"""
from monailabel.utils.others.generic import get_bundle_models
print(*get_bundle_models({str(tmp_path / "apps/monaibundle")!r}, {settings!r}).values())
""")
    found = succeeded(without_us(script, python=python)).splitlines()[-1]
    assert (Path(found) / "configs/inference.json").is_file()


def test_deploy_operator_predicts_an_array(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    python = interpreter("deploy")
    scan = sorted((data / "imagesTr").iterdir())[0]
    expected = nibabel.as_closest_canonical(predicted(without_us, bundle, scan, tmp_path / "expected"))
    succeeded(without_us(CLIENTS / "deploy.py", bundle, scan, tmp_path / "mask.nii.gz", python=python))
    assert_same_mask(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), np.asarray(expected.dataobj))


def test_deploy_predicts_with_the_torchscript_alone_exported_as_the_card_says(
    bundle: Path, data: Path, without_us: Run, tmp_path: Path
) -> None:
    python = interpreter("deploy")
    scan = sorted((data / "imagesTr").iterdir())[0]
    expected = nibabel.as_closest_canonical(predicted(without_us, bundle, scan, tmp_path / "expected"))
    card = (bundle / "docs/README.md").read_text()
    (command,) = re.findall(r"python -m monai\.bundle (ckpt_export (?:.*\\\n)*.*)\n", card)
    command = command.replace("configs/", f"{bundle}/configs/").replace("models/", f"{bundle}/models/")
    bundle_command(without_us, bundle, *shlex.split(command), path=bundle)
    alone = Path(shutil.copy(bundle / "models/model.ts", tmp_path))
    succeeded(without_us(CLIENTS / "deploy.py", alone, scan, tmp_path / "mask.nii.gz", python=python))
    assert_same_mask(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj), np.asarray(expected.dataobj))


def test_deploy_app_reads_dicom_and_writes_dicom_seg(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    python = interpreter("deploy")
    pre, flair, _ = np.moveaxis(np.asarray(nibabel.load(sorted((data / "imagesTr").iterdir())[0]).dataobj), -1, 0)
    affine = np.diag([-0.9, -0.9, 5.0, 1.0])
    synthesise_series(tmp_path / "dicom", pre.astype(np.uint16), affine, "T1 pre", 1)
    files = synthesise_series(tmp_path / "dicom", flair.astype(np.uint16), affine, "AX FLAIR", 2)
    nibabel.save(nibabel.Nifti1Image(flair, affine), tmp_path / "scan.nii.gz")
    expected = predicted(without_us, bundle, tmp_path / "scan.nii.gz", tmp_path / "expected")
    succeeded(without_us(CLIENTS / "deploy.py", bundle, tmp_path / "dicom", tmp_path / "seg", python=python))
    (written,) = (tmp_path / "seg").glob("*.dcm")
    assert dcmread(written).SeriesDescription == f"tumour, {bundle.name}"  # what viewers list it by
    mask = highdicom.seg.segread(written).get_pixels_by_source_instance(
        [dcmread(file).SOPInstanceUID for file in files], combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert_same_mask(mask.transpose(), np.asarray(expected.dataobj))


def test_torchrun_trains_on_two_processes(bundle: Path, data: Path, without_us: Run, tmp_path: Path) -> None:
    configs = [str(bundle / f"configs/{name}.yaml") for name in ("train", "multi_gpu_train")]
    output = succeeded(
        without_us(
            *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"),
            *("--config_file", configs, "--bundle_root", bundle, "--dataset_dir", data, "--ckpt_dir", tmp_path / "own"),
            *TINY,
        )
    )
    assert "val_volume_iou" in output
    assert (tmp_path / "own/model.pt").is_file()


def test_the_same_inputs_give_the_same_bytes(shipped: Path, make_package: Callable[[str], Path]) -> None:
    again = make_package(shipped.name.removeprefix("lgg_mri_segmentation_"))
    assert again.with_suffix(".zip").read_bytes() == shipped.with_suffix(".zip").read_bytes()
