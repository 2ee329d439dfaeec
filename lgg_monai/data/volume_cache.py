"""Normalised volumes kept on the disk, so that only the first start on some data has to read and normalise them."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.utils import ensure_tuple

from lgg_monai.data.compact import CompactVolume, decode, encode
from lgg_monai.data.identity import code_state, files_state, short_hash
from lgg_monai.errors import LggError
from lgg_monai.files import tensor_bytes, write_bytes, write_text

logger = logging.getLogger(__name__)

VOLUMES = "volumes"

_told: set[Path | None] = set()
"""Folders of which this process has said that volumes are kept there: each training and validation set has a cache."""


class VolumeCache:
    """One file a volume, found by what it was made of.

    A file's name holds the source files' place, their state (names, sizes, times) and the state of the transform
    (settings, code, versions): a change in any of them leads to another name, so nothing outdated is ever read. A
    damaged file is noticed by its checksums and made anew.

    Args:
        folder: holds all caches; None keeps nothing.
        transform: what the volumes go through.
        mapped: give volumes that stay on the disk, of which the system reads what is used.
    """

    def __init__(self, folder: str | Path | None, transform: Callable, mapped: bool = False) -> None:
        folder = chosen_folder(folder, needed=mapped)
        self.folder = None if folder is None else folder / VOLUMES
        self.mapped = mapped
        self._code = "" if folder is None else code_state(transform, encode, decode)
        if folder is not None:
            try:
                cache_folder(folder)
            except OSError as error:
                self._give_up(error)

    def volume(
        self, entry: Mapping[str, Any], keys: tuple[str, str], make: Callable[[], CompactVolume]
    ) -> CompactVolume:
        """Return the volume of an entry from its file, or make it and write the file.

        Args:
            entry: names the source files.
            keys: of the image and the label in it.
            make: reads and normalises the volume.

        Raises:
            LggError: the volume has to stay on the disk and cannot be written there, or not be read again.
        """
        path = self._path(entry, keys)
        if path is None:
            return make()
        kept = self._read(path)
        if kept is not None:
            return kept
        volume = make()
        content = tensor_bytes(volume.tensors())
        # Files that changed while they were read belong to neither name.
        if self._path(entry, keys) != path:
            return volume
        try:
            for outdated in path.parent.glob(f"{path.name.split('-')[0]}-*"):
                if outdated.name.split("-")[1] != path.name.split("-")[1]:
                    outdated.unlink(missing_ok=True)
            write_bytes(path, content)
        except OSError as error:
            self._give_up(error)
            return volume
        if self.folder not in _told:
            _told.add(self.folder)
            logger.info("normalised volumes are kept in %s for the next start (delete it at any time)", self.folder)
        if not self.mapped:
            return volume
        kept = self._read(path)
        if kept is None:
            raise LggError(f"what was just written to {path} cannot be read: choose another with --cache_dir")
        return kept

    def _path(self, entry: Mapping[str, Any], keys: tuple[str, str]) -> Path | None:
        if self.folder is None:
            return None
        sources = [entry[key] for key in keys if key in entry]
        if not all(isinstance(name, str | Path) for source in sources for name in ensure_tuple(source)):
            return None  # arrays, as tests and notebooks give them
        paths = [Path(name).absolute() for source in sources for name in ensure_tuple(source)]
        state = files_state(paths)
        if state is None:
            return None
        place = short_hash("\n".join(map(str, paths)))
        return self.folder / f"{place[:16]}-{state[:16]}-{self._code[:16]}.pt"

    def _read(self, path: Path) -> CompactVolume | None:
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load itself takes no notice of the checksums
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"checksum of {damaged}")
            return CompactVolume(**torch.load(path, map_location="cpu", weights_only=True, mmap=self.mapped))
        except Exception as error:  # zipfile, pickle and torch raise many kinds on a damaged file
            logger.warning("the cached volume %s is damaged (%s) and is made anew", path, type(error).__name__)
            return None

    def _give_up(self, error: OSError) -> None:
        """Go on without files where they only save time, and stop where the volumes have to be in them."""
        what = f"cannot write to the cache {self.folder} ({error.strerror})"
        if self.mapped:
            raise LggError(f"{what}: make room, or choose another with --cache_dir") from error
        logger.warning("%s: every start will read and normalise all volumes again", what)
        self.folder = None


def default_cache_dir(output_dir: str) -> str:
    """Name the folder ``cache`` beside a run folder, which all runs there share."""
    return str(Path(output_dir).absolute().parent / "cache")


def chosen_folder(cache_dir: str | Path | None, needed: bool = False) -> Path | None:
    """Return the folder that was chosen, or None for none: MONAI's command line hands ``null`` on as text.

    Raises:
        LggError: none was chosen, and one is needed.
    """
    if cache_dir is not None and str(cache_dir).lower() not in ("", "null", "none"):
        return Path(cache_dir)
    if needed:
        raise LggError("cache is 'disk' but cache_dir is none: name a folder with --cache_dir")
    return None


def cache_folder(folder: Path) -> Path:
    """Make a folder for caches that git takes no notice of: what is in it are patients' pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".gitignore").is_file():
        write_text(folder / ".gitignore", "*\n")
    return folder
