"""Finding networks and weights: a bundle of the repository, a packaged one in a folder or zip, or a run's folder."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

import lgg_monai
from lgg_monai.data.seen import datalist_of, training_people
from lgg_monai.engines.acceleration import fuse_batch_norms
from lgg_monai.engines.as_trained import changed_settings
from lgg_monai.engines.checkpoints import BEST, SHIPPED, load_weights
from lgg_monai.engines.precision import PRECISIONS, select_device
from lgg_monai.engines.run_folder import RUN, trained_config
from lgg_monai.errors import LggError
from lgg_monai.files import sha256
from lgg_monai.networks.strides import divisor, member_definitions, smallest_side
from lgg_monai.prediction.int8 import INT8, Int8Network, int8_file
from lgg_monai.prediction.network_def import build_network, require_one_logit, strange_value
from lgg_monai.prediction.segmenter import Segmenter

if TYPE_CHECKING:
    from lgg_monai.sharing.inspect.archive import Member

SHARE = "share/lgg_monai"  # where an installation keeps `bundles` and `configs`; see pyproject.toml
# A bundle may run TorchScript for inference, and name the network itself in its training config alone.
_CONFIGS = tuple(f"configs/{name}.{form}" for name in ("inference", "train") for form in ("json", "yaml", "yml"))
_WEIGHTS = SHIPPED.as_posix()


def repository() -> Path:
    """Find the folder with `bundles` and `configs`: the repository, or what an installation took of it."""
    beside = Path(lgg_monai.__file__).resolve().parents[1]
    if not (beside / "configs").is_dir():
        try:
            installed = importlib.metadata.files("lgg-monai") or []
        except importlib.metadata.PackageNotFoundError:
            installed = []
        for file in installed:
            if file.as_posix().endswith(f"{SHARE}/configs/data.yaml"):
                return Path(str(file.locate())).resolve().parents[1]
    return beside


@dataclass(frozen=True)
class Model:
    """A network's definition, and the files of its weights.

    Args:
        name: to show.
        network_def: class and plain arguments, as in a bundle's config.
        checkpoints: one file, or several whose mean probability counts.
        notes: what the user should know of where it came from.
    """

    name: str
    network_def: dict[str, Any]
    checkpoints: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def load_segmenter(
    bundle: str | Path | Sequence[str | Path] = "unet",
    checkpoints: Sequence[str | Path] = (),
    *,
    device: str | None = None,
    precision: str = "auto",
    tta: bool = False,
    batch_size: int = 16,
) -> Segmenter:
    """Load networks and weights, and put them on the device.

    Args:
        bundle: ``unet``, ``pspnet`` or ``plain_unet``; a packaged bundle, as a folder or zip; or a run's folder.
            Several make an ensemble, be their networks alike or not.
        checkpoints: weights to use rather than the bundle's own; several make an ensemble.
        device: ``cpu``, ``cuda:0``, …; the first GPU by default, where there is one.
        precision: ``auto``, ``fp32``, ``bf16``, or ``int8``: the 8-bit networks beside the weights, on a CPU.
        tta: average with the predictions of the mirrored slices.
        batch_size: slices given to a network at a time.

    Raises:
        LggError: no such bundle or weights, or they do not fit each other or these images; a bundle is given twice, or
            checkpoints with several; ``int8`` on another device than a CPU, or without such networks.
    """
    bundles = [bundle] if isinstance(bundle, str | Path) else list(bundle)
    if not bundles:
        raise LggError("no bundle is given: give one, such as unet, or several")
    if len(bundles) > 1 and checkpoints:
        raise LggError(f"--checkpoint is given with {len(bundles)} bundles: give one bundle with it")
    twice = next((own for number, own in enumerate(bundles) if own in bundles[:number]), None)
    if twice is not None:
        raise LggError(f"the bundle {twice} is given twice: give each bundle of an ensemble once")
    if precision not in ("auto", *PRECISIONS, INT8):
        raise LggError(f"unknown precision {precision!r}: --precision takes auto, fp32, bf16 or {INT8}")
    chosen: torch.device = inspect.unwrap(select_device)("cpu" if device is None and precision == INT8 else device)
    if precision == INT8 and chosen.type != "cpu":
        raise LggError(f"--precision {INT8} runs on a CPU, not on {device}: leave one of them away")
    networks, digests = [], []
    with ExitStack() as stack:
        models = [stack.enter_context(resolve(own, [Path(path) for path in checkpoints])) for own in bundles]
        members = [(model, checkpoint) for model in models for checkpoint in model.checkpoints]
        for model, checkpoint in members:
            networks.append(_network(model, checkpoint, chosen, precision == INT8))
            digests.append(sha256(int8_file(checkpoint) if precision == INT8 else checkpoint))
        seen = frozenset(name for _, checkpoint in members for name in training_people(checkpoint))
    return Segmenter(
        networks=networks,
        preprocessing=array_preprocessing(),
        device=chosen,
        precision=precision,
        tta=tta,
        batch_size=batch_size,
        divisor=math.lcm(*(divisor(model.network_def) for model in models)),
        smallest=max(smallest_side(model.network_def) for model in models),
        name=" + ".join(model.name for model in models),
        digests=tuple(digests),
        notes=tuple(note for model in models for note in model.notes),
        seen=seen,
    )


def _network(model: Model, checkpoint: Path, device: torch.device, int8: bool) -> torch.nn.Module:
    """Build a network with its weights, ready for inference; or its 8-bit twin."""
    network: torch.nn.Module
    if int8:
        network = Int8Network(checkpoint, model.name)
    else:
        network = build_network(model.network_def, model.name).float()  # whatever the caller's default type is
        # Unwrapped, a mistake is an exception rather than the end of the program.
        inspect.unwrap(load_weights)(network, str(checkpoint))
        network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    require_one_logit(network, model.network_def, model.name, device)
    return fuse_batch_norms(network)


@contextmanager
def resolve(bundle: str | Path, checkpoints: Sequence[Path] = ()) -> Iterator[Model]:
    """Find a bundle's network definition and weights; those of a packaged one exist while the context lasts.

    From a packaged bundle nothing but ``network_def`` and the weights is read, and nothing of it is run.

    Raises:
        LggError: there is no such bundle, or it lacks weights.
    """
    path = Path(bundle)
    config = repository() / "bundles" / f"{bundle}.yaml"
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:
        if len(path.parts) == 1 and not path.exists() and config.is_file():
            network_def = _written_out(config)
            name, own = str(bundle), config.parent / str(bundle) / SHIPPED
            hint = "name some with --checkpoint, or choose another --bundle"
        elif (trained := trained_config(path)) is not None:
            if changed_settings(trained, {"preprocessing": preprocessing_config()}):
                raise LggError(
                    f"the run {path} was trained with another preprocessing than that of configs/data.yaml, "
                    "by which scans are prepared here: put its own there"
                )
            network_def = trained.get("network_def")
            name, own = path.resolve().name, path / "checkpoints" / BEST
            hint = "finish its training, or name weights with --checkpoint"
        elif path.exists():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lgg-bundle-")))
            network_def = _unpack(path, folder)
            name, own = path.resolve().name, folder / SHIPPED.name
            notes = (f"of {path} only network and weights are used; its configs, which can run any code, are not run",)
            hint = f"it has no {_WEIGHTS}; name weights with --checkpoint"
        else:
            there = [file.stem for file in sorted((repository() / "bundles").glob("*.yaml"))]
            known = f"one of {', '.join(there)}, or" if there else "(the installation has none of its own)"
            raise LggError(f"no bundle {bundle}: give {known} the path of a bundle's folder or zip")
        if not isinstance(network_def, dict):
            raise LggError(f"no network_def with plain values in the bundle {bundle}: give another bundle")
        if not checkpoints and not own.is_file():
            if member_definitions(network_def):
                hint = "join its members' by `lgg-monai weights`, or give each of these with a --bundle of its own"
            raise LggError(f"no trained weights for the bundle {bundle}: {hint}")
        yield Model(name, network_def, tuple(checkpoints) or (own,), notes)


def files_behind(bundles: Sequence[str | Path], checkpoints: Sequence[str | Path] = ()) -> list[Path]:
    """List the files that `load_segmenter` takes networks, weights and preprocessing from, with whole paths.

    Those that are not there are left out, and nothing is read.
    """
    root = repository()
    weights = [Path(path) for path in checkpoints]
    others = [root / "configs" / "data.yaml"]
    for bundle in bundles:
        path = Path(bundle)
        weights += [path / "checkpoints" / BEST, path / SHIPPED, root / "bundles" / path / SHIPPED]
        others += [path, path / RUN, *(path / config for config in _CONFIGS), *(root / "bundles").glob("*.yaml")]
    lists = [found for path in weights if (found := datalist_of(path)) is not None]
    weights += [int8_file(path) for path in weights]
    return sorted({path.resolve() for path in (*weights, *others, *lists) if path.is_file()})


def array_preprocessing() -> Any:
    """Build what configs/data.yaml does to an image once it is loaded, from that file itself.

    Returns:
        A MONAI ``Compose`` that maps ``{"image": [C, X, Y, Z]}`` to the same with the values that networks learnt from.

    Raises:
        LggError: the configs are neither beside the package nor installed with it.
    """
    from monai.bundle import ConfigParser

    config = preprocessing_config()
    loading = ("LoadImaged", "EnsureChannelFirstd")
    config["transforms"] = [
        step for step in config["transforms"] if step["_target_"] not in loading and step["keys"] == "image"
    ]
    parser = ConfigParser({"preprocessing": config}, globals={"torch": "torch"})
    return parser.get_parsed_content("preprocessing")


def preprocessing_config() -> dict[str, Any]:
    """Read what is done to scans before any network sees them, as configs/data.yaml has it.

    Raises:
        LggError: the configs are neither beside the package nor installed with it.
    """
    path = repository() / "configs" / "data.yaml"
    if not path.is_file():
        raise LggError(
            "configs/data.yaml is not part of this installation: install the package from its repository with pip"
        )
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["preprocessing"]
    return found


def _written_out(config: Path) -> Any:
    """Read the network_def of a bundle of the repository, with those of other bundles that it refers to."""
    from lgg_monai.flatten import flatten, parse

    known = {f"bundles/{path.name}": str(path) for path in config.parent.glob("*.yaml")}
    return parse(flatten(f'network_def: "%bundles/{config.name}::network_def"\n', known))["network_def"]


def _unpack(bundle: Path, folder: Path) -> Any:
    """Copy a packaged bundle's weights into a folder of ours, and return its network_def; nothing else is unpacked."""
    from lgg_monai.sharing.inspect.archive import opened
    from lgg_monai.sharing.inspect.findings import RefusedError

    try:
        with opened(bundle) as content:
            members = {member.path: member for member in content.members}
            there = [path for path in _CONFIGS if path in members]
            if not there:
                raise LggError(f"no configs/inference.json in {bundle}: give a packaged bundle, or a run's folder")
            configs = [_read_config(members[path]) for path in there]
            if _WEIGHTS in members:
                with members[_WEIGHTS].open() as packed, (folder / SHIPPED.name).open("wb") as copy:
                    shutil.copyfileobj(packed, copy)
    except RefusedError as error:
        raise LggError(f"the bundle {bundle} is refused ({error}): ask for another copy") from error
    except (yaml.YAMLError, ValueError) as error:  # such as a number or a date that is none
        raise LggError(f"a config of {bundle} is neither JSON nor YAML: ask for another copy") from error
    named = [config["network_def"] for config in configs if isinstance(config, dict) and "network_def" in config]
    plain = (found for found in named if isinstance(found, dict) and strange_value(found) is None)
    return next(plain, named[0] if named else None)


def _read_config(member: Member) -> Any:
    """Read a JSON or YAML config once it is known to be small with its aliases followed.

    Raises:
        RefusedError: it is not, or is not sound.
    """
    from lgg_monai.sharing.inspect.configs import LARGEST_CONFIG, read_config

    content, is_json = member.read(LARGEST_CONFIG), member.suffix == ".json"
    read_config(content, not is_json)
    return json.loads(content) if is_json else yaml.safe_load(content)
