"""Our own bundles and other harmless ones pass, and what cannot be judged is a note."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import malicious
import numpy as np
import pytest
import torch

import lgg_monai
from lgg_monai.sharing.inspect import Grade, Report, inspect_bundle
from lgg_monai.sharing.inspect.scripts import rewrite_imports

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = Path(lgg_monai.__file__).parent
NETWORK = """
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from monai.networks.blocks import Convolution

from .parts import Head


class Net(nn.Module):
    \"\"\"A network; __init__ and os.system are only words here.\"\"\"

    scale: float = 1.0

    def __init__(self, channels: Sequence[int] = (8, 16), name: "str | None" = None) -> None:
        super().__init__()
        self.body = nn.ModuleList([Convolution(2, 3, count) for count in channels])
        self.head = Head(channels[-1])
        self._name = name or self.__class__.__name__

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 3:
            raise ValueError(f"{self._name} takes 3 channels, not {x.shape[1]}")
        for layer in self.body:
            x = layer(x)
        return self.head(x) * math.sqrt(self.scale) + float(np.mean([1.0]))
"""
PARTS = """
from torch import nn


class Head(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, 1, 1)
"""
EVALUATE = {"part": {"_target_": "Compose", "transforms": [{"_target_": "EnsureTyped", "keys": "a"}]}}
METADATA = {"references": "https://example.org/a", "spatial_shape": ["16*n", "2**p*n", "*", 3]}
LARGE = f"large_files:\n- path: models/model.pt\n  url: https://example.org/big.pt\n  hash_val: {'0' * 32}\n"
CONFIG = """
imports:
  - $import torch
  - $from torch.utils.data import DataLoader as Loader
  - $import torch.distributed as dist
  - $import glob
bundle_root: .
images: $sorted(glob.glob(@bundle_root + '/data/*.nii.gz'))
device: $torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
network_def:
  _target_: scripts.net.Net
  channels: [8, 16]
network: $@network_def.to(@device)
weights: $torch.load(@bundle_root + '/models/model.pt', weights_only=True)
numbers: "$[2 * n ** 2 for n in range(3) if n % 2] + [x if x else y for x, y in {'a': 1}.items()]"
pick: "$lambda batch, threshold=0.5: batch['image'] > threshold"
words: $'fold {}'.format(1) + f"{@numbers!r:>10}"
share: "%configs/evaluate.json::part"
benchmark: $setattr(torch.backends.cudnn, 'benchmark', True)
reader: {_target_: LoadImaged, keys: image, reader: [NibabelReader, ITKReader]}
join:
  _target_: torch.distributed.init_process_group
  backend: gloo
loader: {_target_: "$Loader", dataset: "@images", _requires_: "@join", _disabled_: $not @images}
saver:
  _target_: SaveImaged
  keys: pred
  output_dir: $@bundle_root + '/eval'
"""
LOGGING = """
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=console
[handler_console]
class=StreamHandler
formatter=plain
args=(sys.stdout,)
[formatter_plain]
format=%(asctime)s %(message)s
"""


def weights(**options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2), "b": torch.nn.Parameter(torch.ones(3)), "epoch": 3}, buffer, **options)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())), buffer)
    return buffer.getvalue()


FILES: dict[str, bytes | str] = {
    "LICENSE": "Apache",
    "configs/train.yaml": CONFIG,
    "configs/evaluate.json": json.dumps(EVALUATE),
    "configs/metadata.json": json.dumps(METADATA),
    "configs/logging.conf": LOGGING,
    "docs/README.md": "# A bundle\n\nSee os.system; (cos\nsystem\n",
    "docs/a.png": b"\x89PNG\r\n\x1a\n",
    "models/model.pt": weights(),
    "models/old.pt": weights(_use_new_zipfile_serialization=False),
    "models/model.ts": torchscript(),
    "scripts/__init__.py": "",
    "scripts/net.py": NETWORK,
    "scripts/parts.py": PARTS,
    "large_files.yml": LARGE,
}  # fmt: skip


def with_manifest(files: dict[str, bytes | str]) -> dict[str, bytes | str]:
    contents = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
    contents.setdefault("configs/inference.json", json.dumps(malicious.BENIGN).encode())
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    return {**files, "manifest.json": json.dumps({"format": 1, "files": listed})}


def odd(report: Report) -> list[str]:
    return [f"{f.file}:{f.line} {f.text} {f.reason}" for f in report.findings if f.grade != Grade.EXPECTED]


def test_harmless_bundle_is_clean_and_everything_is_listed(tmp_path: Path) -> None:
    report = inspect_bundle(malicious.write(tmp_path / "bundle", FILES))
    assert odd(report) == []
    assert (report.grade, report.manifest) == (Grade.EXPECTED, "absent")
    found = {(finding.file, finding.line, finding.kind, finding.text) for finding in report.findings}
    assert ("configs/train.yaml", 3, "import", "$import torch") in found
    assert ("configs/train.yaml", 11, "target", "_target_: scripts.net.Net") in found
    assert (
        "configs/train.yaml",
        CONFIG[: CONFIG.index("_requires_")].count("\n") + 1,
        "requires",
        "_requires_: @join",
    ) in found
    assert ("scripts/net.py", 4, "import", "import math") in found
    assert any(finding.file == "models/model.ts" and finding.kind == "torchscript" for finding in report.findings)
    dollars = sum(text.count("$") for text in (CONFIG, json.dumps(malicious.BENIGN)))
    assert (
        sum(finding.kind in ("expression", "import") and finding.text[:1] == "$" for finding in report.findings)
        == dollars
    )


# What bundles of the model zoo are made of, in short.
ZOO = """
from __future__ import annotations

from functools import wraps

from monai.inferers import Inferer
from monai.transforms import LoadImage
from monai.utils import IgniteInfo, first, min_version, optional_import
from torch.optim.lr_scheduler import _LRScheduler

Events, _ = optional_import("ignite.engine", IgniteInfo.OPT_IMPORT_VERSION, min_version, "Events")
distances, has_them = optional_import("ignite.metrics", name="MeanPairwiseDistance")


class Warmup(_LRScheduler):
    pass


def logged(function):
    @wraps(function)
    def inner(image, *args):
        return function(LoadImage(reader="itkreader")(image), *args)

    return inner


class Windows(Inferer):
    def __init__(self, detector: Events) -> None:
        Inferer.__init__(self)
        self.detector = detector.module if has_them else distances()

    def step(self, engine):
        engine.scaler.step(engine.optimizer)
        return first(engine.state.batch)
"""


def test_what_the_model_zoo_is_made_of_is_clean(tmp_path: Path) -> None:
    config = {
        "imports": ["$import datetime", "$import scripts"],
        "name": "$datetime.datetime.now().strftime('%Y')",
        "click": {"_target_": "monai.apps.deepedit.transforms.AddGuidanceSignalDeepEditd"},
        "windows": {"_target_": "SlidingWindowHoVerNetInferer"},
        "saver": {"_target_": "CheckpointSaver", "final_filename": "last.pth"},
        "metric": "$scripts._metric",
    }
    files = {"configs/a.json": json.dumps(config), "scripts/net.py": ZOO, "scripts/__init__.py": "_metric = 1\n"}
    assert odd(inspect_bundle(malicious.write(tmp_path / "bundle", files))) == []


def test_the_same_from_a_zip(tmp_path: Path) -> None:
    malicious.write(tmp_path / "bundle", with_manifest(FILES))
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "bundle")
    folder, packed = inspect_bundle(tmp_path / "bundle"), inspect_bundle(tmp_path / "packed.zip")
    assert (packed.grade, packed.manifest, packed.refused) == (Grade.EXPECTED, "matches", "")
    assert packed.findings == folder.findings


def test_the_repositorys_own_configs_are_clean(tmp_path: Path) -> None:
    for name in ("bundles", "configs"):
        shutil.copytree(REPOSITORY / name, tmp_path / "own" / name, ignore=shutil.ignore_patterns("*.pt"))
    report = inspect_bundle(tmp_path / "own")
    assert odd(report) == []
    assert {finding.file for finding in report.findings} >= {
        "bundles/unet.yaml",
        "bundles/pspnet.yaml",
        "bundles/plain_unet.yaml",
        "configs/train.yaml",
    }


def test_copies_of_this_package_are_recognised_and_altered_ones_are_not(tmp_path: Path) -> None:
    names = ["files.py", "errors.py", "engines/checkpoints.py", "data/patients.py", "data/tiff_stack.py", "seeds.py"]
    files: dict[str, bytes | str] = {f"scripts/{name}": rewrite_imports((PACKAGE / name).read_text()) for name in names}
    files["configs/a.json"] = json.dumps({"x": {"_target_": "scripts.engines.checkpoints.load_weights"}})
    root = malicious.write(tmp_path / "bundle", files)
    report = inspect_bundle(root)
    assert (odd(report), report.copies) == ([], len(names))
    # A copy is as good or bad as the original to call.
    (root / "configs" / "b.json").write_text(json.dumps({"x": {"_target_": "scripts.files.write_text"}}))
    assert [finding.file for finding in inspect_bundle(root).findings if finding.grade == Grade.DANGEROUS] == [
        "configs/b.json"
    ]
    (root / "configs" / "b.json").unlink()
    (root / "scripts" / "errors.py").write_text(
        files["scripts/errors.py"].replace("LggError(Exception)", "LggError(ValueError)")
    )  # type: ignore[union-attr, arg-type]
    report = inspect_bundle(root)
    assert report.copies == len(names) - 1
    # In another place, the same text means something else.
    shutil.move(root / "scripts" / "files.py", root / "scripts" / "more.py")
    assert inspect_bundle(root).grade == Grade.DANGEROUS


@pytest.mark.parametrize(
    ("change", "file", "reason"),
    [
        (lambda root: (root / "docs/README.md").write_text("other"), "docs/README.md", "changed"),
        (lambda root: (root / "docs/README.md").unlink(), "docs/README.md", "listed, but missing"),
        (lambda root: (root / "docs/more.md").write_text("x"), "docs/more.md", "not listed"),
        (lambda root: (root / "manifest.json").write_text("{}"), "manifest.json", "not a manifest"),
    ],
)
def test_differences_from_the_manifest_are_notes(tmp_path: Path, change: object, file: str, reason: str) -> None:
    root = malicious.write(tmp_path / "bundle", with_manifest(FILES))
    assert inspect_bundle(root).manifest == "matches"
    change(root)  # type: ignore[operator]
    report = inspect_bundle(root)
    assert report.grade == Grade.NOTE
    (found,) = [finding for finding in report.findings if finding.grade != Grade.EXPECTED]
    assert (found.file, found.kind) == (file, "manifest")
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    "value",
    [
        "$9 ** 9 ** 9",
        "$torch.nonsense",
        "$@network_def.unheard_of()",
        "$unknown_name",
        "/home/someone/data",
        "../elsewhere",
        "https://example.org/x",
        "/home/some one/data",
        "a b/../../elsewhere",
        "https://example.org/x y",
        {"_target_": "EfficientNetBN", "pretrained": True},
        {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"},
        {"_target_": "ResNetFeatures", "model_name": "resnet18"},
        "$monai.networks.nets.EfficientNetBN('efficientnet-b0')",
        "$monai.networks.nets.HoVerNet(pretrained_url='https:' + '//example.org/x')",
        {"_target_": "ignite.metrics.InceptionScore"},
        "$monai.transforms.WriteFileMapping('torch.' + 'py')",
        "$monai.data.create_cross_validation_datalist([], 2, 0, 1, filename='inference.' + 'json')",
        {"_target_": "TorchVisionFCModel", "weights": "DEFAULT"},
        {"_target_": "torch.compile", "model": "@network_def"},
        "$import scipy",
        "$import os",
        {"_target_": "AddChanneld", "keys": "image"},
        {"_target_": "MedNISTDataset", "root_dir": "."},
        "$monai.data.NumpyReader(**{'allow_' + 'pickle': True})",
        "$monai.transforms.adaptors.to_kwargs(monai.data.NumpyReader)",
        {"_target_": "CSVDataset", "src": "$'https:' + '//example.org/x'"},
        "$monai.handlers.LogfileHandler('.', 'torch.' + 'py')",
        {"_target_": "ClassificationSaver", "filename": "$'torch.' + 'py'"},
    ],
)
def test_what_cannot_be_judged_is_a_note(tmp_path: Path, value: object) -> None:
    report = inspect_bundle(malicious.write(tmp_path / "bundle", {"configs/a.json": json.dumps({"x": value})}))
    assert report.grade == Grade.NOTE, odd(report)


def test_what_is_yet_to_be_fetched_is_a_note(tmp_path: Path) -> None:
    files = {**FILES, "large_files.yml": LARGE.replace("model.pt", "later.pt")}
    (found,) = odd(inspect_bundle(malicious.write(tmp_path / "bundle", files)))
    assert "inspect it again" in found


def test_numbers_of_numpy_are_a_note(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.float32))
    root = malicious.write(tmp_path / "bundle", {"docs/a.npy": buffer.getvalue()})
    (found,) = odd(inspect_bundle(root))
    assert "allow_pickle" in found


def test_whole_networks_in_a_pickle_are_a_note(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(1, 1), buffer)
    report = inspect_bundle(malicious.write(tmp_path / "bundle", {"models/model.pt": buffer.getvalue()}))
    assert report.grade in (Grade.NOTE, Grade.DANGEROUS)
    assert any("torch.nn.modules.linear.Linear" in finding.text for finding in report.findings)


def test_logs_and_tables_by_plain_names_are_clean(tmp_path: Path) -> None:
    savers = [
        {"_target_": "LogfileHandler", "output_dir": "eval"},
        {"_target_": "CSVSaver", "filename": "scores.csv"},
        {"_target_": "WriteFileMapping", "mapping_file_path": "eval/mapping.json"},
    ]
    root = malicious.write(tmp_path / "bundle", {"configs/a.json": json.dumps({"x": savers})})
    assert odd(inspect_bundle(root)) == []


@pytest.mark.parametrize(
    "expression",
    [
        "$monai.utils.enums.InterpolateMode.BILINEAR.value",
        "$monai.utils.enums.InterpolateMode.BILINEAR",
        "$list(itertools.chain.from_iterable([[1], [2]])) + [math.pi]",
        "$monai.transforms.LoadImaged('image', reader='itkreader')",
        "$monai.transforms.LoadImage(reader='PILReader')",
        "$monai.networks.nets.EfficientNetBN('efficientnet-b0', pretrained=False)",
        "$'a-b'.replace('-', '_') + datetime.datetime.now().replace(microsecond=0).isoformat()",
        "$scripts._scaled(2) + scripts.Net.width",
    ],
)
def test_ordinary_expressions_are_clean(tmp_path: Path, expression: str) -> None:
    config = {"imports": [f"$import {name}" for name in ("itertools", "math", "datetime", "scripts")], "x": expression}
    scripts = (
        "from __future__ import annotations\n\n\nclass Net:\n    width = 3\n\n\ndef _scaled(x):\n    return 2 * x\n"
    )
    scripts += "def kind(x: type[Net] | None, y):\n    print(type(x))\n"
    scripts += "    Made = type('Made', (Net,), {'width': 4})\n"
    scripts += "    return f'{type(x).__name__}' if type(x) is type(y) else ''\n"
    files = {"configs/a.json": json.dumps(config), "scripts/__init__.py": scripts}
    root = malicious.write(tmp_path / "bundle", files)
    assert odd(inspect_bundle(root)) == []
