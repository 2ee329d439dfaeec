"""Publishing a packaged bundle on the Hugging Face Hub, through MONAI."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.files import read_json
from lgg_monai.sharing.manifest import COMPILED, MANIFEST, changed_files

LATEST = "latest_version"
"""The tag that MONAI's clients receive where they name no version."""
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_MONAI_LICENSE = "license: apache-2.0\n"
# MONAI reads the licence of the code and takes it for the model's, whose weights come from data for non-commercial use.
_LICENSE = """license: other
license_name: apache-2.0-code-with-cc-by-nc-sa-4.0-data
license_link: docs/data_license.txt
"""


def publish(bundle: Path, repo: str, private: bool = True) -> str:
    """Upload a packaged bundle's folder, tagged by its version and as ``latest_version``.

    MONAI writes a model card into the folder that it uploads, so a copy is what it gets; the bundle stays as it is. The
    card's licence is then made to name the data's limit too, before the tags are set. A version's tag stays where it
    was set, so that a version never changes; ``latest_version`` moves to this upload.

    Args:
        bundle: folder that ``lgg-monai package`` wrote.
        repo: ``user/name`` on the Hugging Face Hub; made where it does not exist.
        private: whether a new repository is private.

    Returns:
        The address of the upload.

    Raises:
        LggError: the bundle is no package or was changed, the name is none, the version is on the Hub with other
            content, or the Hub refuses.
    """
    if not _REPO.fullmatch(repo):
        raise LggError(f"{repo!r} is no name of a repository: give user/name with --repo")
    bundle = bundle.resolve()  # which has a name where `.` was given
    if not (bundle / MANIFEST).is_file():
        raise LggError(f"no {MANIFEST} in {bundle}: give the folder that `lgg-monai package` wrote")
    changed = changed_files(bundle)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise LggError(f"{changed[0]}{more} in {bundle} differ from its manifest: package it again before publishing")
    version = str(read_json(bundle / "configs/metadata.json", "metadata")["version"])
    require_packages("publish", "huggingface_hub", what="publishing")
    import huggingface_hub
    from monai.bundle.scripts import push_to_hf_hub

    with tempfile.TemporaryDirectory(prefix="lgg-publish-") as folder:
        copy = Path(shutil.copytree(bundle, Path(folder) / bundle.name, ignore=shutil.ignore_patterns(COMPILED)))
        try:
            hub = huggingface_hub.HfApi()
            _require_free_version(hub, repo, version, bundle)
            address = push_to_hf_hub(repo=repo, name=copy.name, bundle_dir=folder, private=private)
            card = (copy / "README.md").read_text(encoding="utf-8").replace(_MONAI_LICENSE, _LICENSE, 1)
            hub.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo)
            hub.create_tag(repo_id=repo, tag=version, exist_ok=True)
            # The Hub moves no tag: `exist_ok` would leave this one, and so every client, on the first upload.
            if hub.revision_exists(repo_id=repo, revision=LATEST):
                hub.delete_tag(repo_id=repo, tag=LATEST)
            hub.create_tag(repo_id=repo, tag=LATEST)
        except LggError:
            raise
        except Exception as error:  # the Hub's client raises many kinds, from no network to no rights
            reason = " ".join(str(error).split())[:300]
            raise LggError(
                f"cannot publish to {repo} ({type(error).__name__}: {reason}): check name, login and network"
            ) from error
    return str(address)


def _require_free_version(hub: Any, repo: str, version: str, bundle: Path) -> None:
    """Refuse a version that is on the Hub with other content; the same once more may finish what was interrupted."""
    if not hub.revision_exists(repo_id=repo, revision=version):  # nor is there the repository, perhaps
        return
    if hub.file_exists(repo_id=repo, filename=MANIFEST, revision=version):
        with tempfile.TemporaryDirectory(prefix="lgg-publish-") as cache:
            found = hub.hf_hub_download(repo_id=repo, filename=MANIFEST, revision=version, cache_dir=cache)
            if Path(found).read_bytes() == (bundle / MANIFEST).read_bytes():  # it has the hash of every file
                return
    raise LggError(
        f"{repo} has a version {version} already, with other content: raise the version in the bundle's metadata.json, "
        "add a line to its changelog and package it again"
    )
