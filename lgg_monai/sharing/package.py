"""A bundle for others: one folder and one zip that work wherever MONAI does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from lgg_monai.crossval.plan import effective_settings
from lgg_monai.engines.as_trained import changed_settings
from lgg_monai.engines.checkpoints import BEST, SHIPPED
from lgg_monai.engines.run_folder import RUN, trained_config
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.files import read_json, replacing, replacing_folder, tensor_bytes, told_in_one_line
from lgg_monai.flatten import parse, read_text
from lgg_monai.sharing import sources
from lgg_monai.sharing.export import export
from lgg_monai.sharing.manifest import write_large_files, write_manifest, write_zip
from lgg_monai.sharing.metadata import filled_metadata, patients_of
from lgg_monai.sharing.scripts import modules_named, require_received, script_files
from lgg_monai.words import counted

logger = logging.getLogger(__name__)

DEFAULT_URL = "https://example.org"  # to be replaced by where the files will lie


def package_name(bundle: str) -> str:
    """Name the folder and the zip; MONAI Label takes the kind of task from it."""
    return f"lgg_mri_segmentation_{bundle}"


def package(
    bundle: str,
    output: Path,
    run: Path | None = None,
    checkpoint: Path | None = None,
    overwrite: bool = False,
    url: str | None = None,
) -> Path:
    """Write ``<output>/lgg_mri_segmentation_<bundle>`` and its zip; both appear complete or not at all.

    Args:
        bundle: ``unet``, ``pspnet`` or ``plain_unet``.
        output: folder to write into.
        run: a run folder, whose best weights and figures are packaged.
        checkpoint: weights to package; by default those of ``run``, or those in ``bundles/<bundle>/models``.
        overwrite: replace an earlier package.
        url: where the files will lie, for ``large_files.yml``.

    Returns:
        The path of the zip.

    Raises:
        LggError: something is missing, does not fit, exists already or cannot be written.
        SystemExit: with one line, where the weights are missing, damaged or of another network.
    """
    if run is not None and checkpoint is not None:
        raise LggError("both --run and --checkpoint name weights to package: give one of them")
    require_packages("package", "onnx", "onnxruntime", "onnxscript", what="`package`")
    sources.bundle_file(bundle)
    folder = Path(output) / package_name(bundle)
    packed = folder.with_name(folder.name + ".zip")
    for path in (folder, packed):
        if path.exists() and not overwrite:
            raise LggError(f"{path} exists already: add --overwrite, or choose another --output")
    weights = _weights(bundle, run, checkpoint)
    _require_as_trained(bundle, weights)
    summary = _summary(run)
    # The folder first, as it may refuse to be replaced, such as another user's: then the zip stays as it is too.
    with (
        told_in_one_line(f"the package to {output}", "free space or choose another folder"),
        replacing(packed) as partial_zip,
        replacing_folder(folder, earlier=True) as partial,
    ):
        shipped = run is None and checkpoint is None
        _fill(partial, bundle, weights, summary, shipped, url or f"{DEFAULT_URL}/{folder.name}")
        write_zip(partial, partial_zip)
    return packed


def _fill(folder: Path, bundle: str, weights: Path, summary: dict[str, Any] | None, shipped: bool, url: str) -> None:
    network = sources.network_with_weights(bundle, weights)
    shipped = shipped or sources.joins_shipped_weights(network)
    metadata = filled_metadata(Path("bundles") / bundle / "metadata.json", network, summary, shipped)
    if not shipped:
        metadata["data_source"] = patients_of(weights, metadata["data_source"])
    texts = sources.package_configs(bundle)
    require_received(texts.values(), metadata["required_packages_version"])

    for name, text in texts.items():
        _write(folder / "configs" / f"{name}.yaml", text)
        _write(folder / "configs" / f"{name}.json", _json(parse(text)))
    _write(folder / "configs/metadata.json", _json(metadata))
    _write(folder / "configs/logging.conf", read_text(sources.TEMPLATES / "logging.conf"))
    _write(folder / "LICENSE", read_text(Path("bundles") / bundle / "LICENSE"))
    _write(folder / "docs/README.md", sources.model_card(bundle, package_name(bundle), metadata, shipped))
    _write(folder / "docs/data_license.txt", read_text(sources.TEMPLATES / "data_license.txt"))
    for path, text in script_files(modules_named(texts.values())).items():
        _write(folder / path, text)

    (folder / "models").mkdir()
    (folder / "models/model.pt").write_bytes(tensor_bytes(sources.plain_weights(network)))
    difference = export(folder)
    logger.info("TorchScript and ONNX agree with PyTorch to %.1g", difference)
    write_large_files(folder, url)
    write_manifest(folder)


def _weights(bundle: str, run: Path | None, checkpoint: Path | None) -> Path:
    if checkpoint is not None:
        return checkpoint
    if run is not None:
        return run / "checkpoints" / BEST
    shipped = Path("bundles") / bundle / SHIPPED
    if not shipped.is_file():
        if sources.joins_networks(bundle):
            advice = "join those of its networks with lgg-monai weights, and name the file with --checkpoint"
        else:
            advice = "name a run with --run, or weights with --checkpoint"
        raise LggError(f"no weights in {shipped}: {advice}")
    return shipped


def _require_as_trained(bundle: str, weights: Path) -> None:
    """Refuse weights of a run whose network or preprocessing are not those that the package's configs would have.

    Raises:
        LggError: names what differs.
    """
    run = weights.parent.parent
    trained = trained_config(run)
    if trained is None:
        return
    changed = changed_settings(trained, effective_settings(str(sources.bundle_file(bundle)), {}))
    if changed:
        raise LggError(
            f"{run} was trained with another {' and '.join(changed)} than bundles/{bundle}.yaml has, so its "
            "package would draw other masks: put its own there"
        )


def _summary(run: Path | None) -> dict[str, Any] | None:
    """Read the figures of a run's evaluation where they are of the weights that are packaged.

    Raises:
        LggError: they are of other weights, or of these as they were before more training.
    """
    if run is None or not (run / "evaluation/summary.json").is_file():
        return None
    path = run / "evaluation/summary.json"
    summary: dict[str, Any] = read_json(path, "summary of the evaluation")
    scored = summary.get("checkpoint")
    *folder, parent, name = ("", "", *Path(str(scored)).parts)
    own = folder[-1] in ("", run.name, run.resolve().name)  # none where it was evaluated from within its folder
    if (parent, name) != ("checkpoints", BEST) or not own:
        message = f"{path} scores {scored}, not the run's own {BEST} to package (or it was renamed since)"
        raise LggError(f"{message}: evaluate {BEST} first")
    ended = read_json(run / RUN, "run record").get("ended") if (run / RUN).is_file() else None
    if ended and str(summary.get("evaluated", "")) < ended:
        raise LggError(f"{path} is older than the end of the training ({ended}): evaluate {BEST} again")
    seen = summary.get("patients_seen_in_training_or_validation")
    if seen:
        logger.warning(
            "%s that %s scores took part in training: its figures are left out", counted(seen, "patient"), path
        )
        return None
    return summary


def _json(content: Any) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
