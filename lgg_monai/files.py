"""Writing files so that an interruption never leaves half of one."""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from lgg_monai.errors import LggError
from lgg_monai.locks import LOCK, lock

AMPLE_TMPDIR = "free space there, or name a folder on another disk with TMPDIR, and begin again"
PARTIAL = ".partial-"
"""What the names of files that are being written begin with."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary name keeps the suffixes of ``path``, as many writers choose their format by them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix="".join(path.suffixes[-2:]))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give them the permissions that any other new file gets.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, earlier: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder`` that takes its name when the block ends well, and else vanishes.

    Args:
        folder: to write.
        earlier: remove what is there, once the new one is complete; an interruption leaves one of the two whole.

    Raises:
        OSError: ``folder`` exists by then and is not empty, or cannot be written.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The outer folder is private to this process; the inner one has the permissions of any new folder.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=PARTIAL) as outer:
        temporary = Path(outer) / folder.name
        temporary.mkdir()
        yield temporary
        if earlier and folder.is_dir():
            folder.rename(Path(outer) / f"{folder.name}.earlier")  # at once, while to remove it may take long
        with suppress(OSError):  # it is not there, or not empty, which the next line refuses
            folder.rmdir()  # Windows lets no folder take the place even of an empty one
        temporary.rename(folder)


class WaitingFolder:
    """A temporary folder that is gone when the block ends, or with the object, however the program ends.

    What a killed process left of the same kind, which may be patients' pixels, goes when the next one begins.
    ``TemporaryDirectory`` complains where an exception left it behind.

    Args:
        prefix: its name begins so, and those of its kind.

    Raises:
        LggError: it cannot be made.
    """

    def __init__(self, prefix: str) -> None:
        _remove_abandoned(prefix)
        with told_in_one_line("a temporary folder", AMPLE_TMPDIR):
            for _ in range(5):  # another process may take one that is not locked yet for abandoned
                self.path = Path(tempfile.mkdtemp(prefix=prefix))
                held = lock(self.path / LOCK)
                if held is not None:
                    break
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                raise OSError(errno.ENOLCK, "it cannot be locked")
        self.cleanup = weakref.finalize(self, _remove_locked, self.path, held)

    def __enter__(self) -> Path:
        """Return the folder."""
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.cleanup()

    def told(self) -> AbstractContextManager[None]:
        """Say in one line that it cannot be written to, see `told_in_one_line`."""
        return told_in_one_line(f"to the temporary folder {self.path}", AMPLE_TMPDIR)


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*"):
        with suppress(OSError):  # another user's
            if (folder / LOCK).is_file() and (held := lock(folder / LOCK, certain=True)) is not None:
                _remove_locked(folder, held)


def _remove_locked(folder: Path, held: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(held)
    shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is open


@contextmanager
def told_in_one_line(what: str, advice: str = "free space, or choose another folder") -> Iterator[None]:
    """Say what could not be written, such as on a full disk, and what to do.

    Args:
        what: is written in the block, with its place.
        advice: what to do, for the message.

    Raises:
        LggError: for any ``OSError`` of the block.
    """
    try:
        yield
    except shutil.Error as error:  # of copying a folder: a list of what failed
        raise LggError(f"cannot write {what} ({error.args[0][0][-1]}): {advice}") from error
    except OSError as error:
        raise LggError(f"cannot write {what} ({error.strerror or type(error).__name__}): {advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` at once or not at all.

    A file's name may be no text at all (``surrogateescape``): what UTF-8 cannot hold becomes a question mark.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")  # on Windows too


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` to ``path`` at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def tensor_bytes(content: Any) -> memoryview:
    """Give what ``torch.save`` writes, by way of memory: of a full disk it would say what is no OSError."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NaN and infinities become null, as JSON has neither."""
    write_text(path, json.dumps(_json_safe(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file that the user named.

    Raises:
        LggError: ``path`` is missing or is not JSON; ``what`` says in the message what it should have been.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))  # Windows' editors put a mark before the text
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LggError(f"cannot read the {what} {path} ({reason}): give the path of another") from error
    except ValueError as error:
        raise LggError(f"the {what} {path} is not valid JSON ({error}): write it anew or give another file") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON file that holds an object, as `read_json` does.

    Raises:
        LggError: it is missing, no JSON, or something else, such as a list.
    """
    content = read_json(path, what)
    if not isinstance(content, dict):
        raise LggError(f"the {what} {path} is not an object: write it anew or give another file")
    return content


def is_broken_link(path: Path) -> bool:
    """Tell whether a file is a link to what is not there, as of a large file that was not fetched (git-annex)."""
    return path.is_symlink() and not path.exists()


def require_whole_gzip(path: Path) -> None:
    """Read a ``.gz`` file to its end, where gzip compares checksum and length; other files are left alone.

    nibabel stops at the last voxel, before both: most flipped bits would give wrong voxels without a word. It takes as
    long as reading the voxels does, some 30 ms for 35 slices of int16.

    Raises:
        OSError, EOFError, zlib.error: the file is damaged, cut short or no gzip.
    """
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def writable_folder(folder: Path, choose: str = "another with --output_dir") -> Path:
    """Create ``folder`` and prove that a file can be written into it.

    Args:
        folder: need not exist.
        choose: what to choose instead, for the message.

    Raises:
        LggError: the folder cannot be created or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LggError(f"cannot write to the output folder {folder} ({error.strerror}): choose {choose}") from error
    return folder


def _json_safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str | bytes):  # numpy and torch scalars
        return _json_safe(value.item())
    return value
