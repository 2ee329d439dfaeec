"""Files and folders appear whole or not at all, and what is wrong with a given one is said in one line."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lgg_monai import locks
from lgg_monai.errors import LggError
from lgg_monai.files import (
    WaitingFolder,
    read_json,
    replacing,
    replacing_folder,
    writable_folder,
    write_json,
    write_text,
)


def interrupted_write(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def interrupted_folder(path: Path) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "half").write_text("x")
        raise KeyboardInterrupt


def test_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_failed_replacement_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_temporary_name_keeps_the_suffixes(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "a.nii.gz") as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert (tmp_path / "new" / "a.nii.gz").read_bytes() == b"x"


def test_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_text(tmp_path / "new", "text")
    (tmp_path / "plain").write_text("text")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_interrupted_folder_vanishes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_folder(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_new_folder_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "new"):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_is_replaced_even_where_no_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def as_windows_does(path: Path, target: Path) -> Path:
        if target.exists():
            raise FileExistsError(17, "Cannot create a file when that file already exists")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", as_windows_does)
    (tmp_path / "empty").mkdir()
    with replacing_folder(tmp_path / "empty") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["new"]


def test_an_earlier_folder_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "one", earlier=True):
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["old"]
    with replacing_folder(tmp_path / "one", earlier=True) as folder:
        (folder / "new").touch()
        assert (tmp_path / "one" / "old").exists()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_earlier_folder_is_not_lost_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing it may take long and be interrupted, or fail: it goes as a whole, just before the new one comes."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old").touch()
    rename, moved = Path.rename, []

    def noted(path: Path, target: Path) -> Path:
        moved.append((path, sorted(file.name for file in path.iterdir())))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", noted)
    with replacing_folder(tmp_path / "one", earlier=True) as folder:
        (folder / "new").touch()
    assert moved == [(tmp_path / "one", ["old"]), (folder, ["new"])]


WAITING = """
import os, signal
from lgg_monai.files import WaitingFolder
folder = WaitingFolder("lgg-test-")
(folder.path / "pixels").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_waiting_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with WaitingFolder("lgg-test-") as living:
        killed = subprocess.run([sys.executable, "-c", WAITING], env=os.environ | {"TMPDIR": str(tmp_path)})
        assert killed.returncode == -signal.SIGKILL
        (left,) = set(tmp_path.iterdir()) - {living}
        assert (left / "pixels").is_file()
        (tmp_path / "lgg-test-of-somebody").mkdir()
        with WaitingFolder("lgg-other-"):
            assert left.is_dir()
        with WaitingFolder("lgg-test-") as folder:
            assert {path.name for path in tmp_path.iterdir()} == {living.name, folder.name, "lgg-test-of-somebody"}
    assert [path.name for path in tmp_path.iterdir()] == ["lgg-test-of-somebody"]


def test_where_no_locks_work_no_waiting_folder_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", without_locks)
    with WaitingFolder("lgg-test-") as first, WaitingFolder("lgg-test-"):
        assert first.is_dir()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(locks, "is_lock_of", lambda *_: False)
    with pytest.raises(LggError, match=r"cannot write a temporary folder \(it cannot be locked\): .*TMPDIR"):
        WaitingFolder("lgg-test-")
    assert not list(tmp_path.iterdir())


def test_text_ends_its_lines_alike_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.write_text

    def as_windows_does(path: Path, text: str, newline: str | None = None, **settings: Any) -> int:
        return plain(path, text, newline=newline or "\r\n", **settings)

    monkeypatch.setattr(Path, "write_text", as_windows_does)
    write_text(tmp_path / "text", "one\ntwo\n")
    assert (tmp_path / "text").read_bytes() == b"one\ntwo\n"


def test_folder_with_content_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(OSError, match="mine"), replacing_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_json_takes_scalars_of_arrays_paths_and_undefined_values(tmp_path: Path) -> None:
    content = {
        1: np.float32(0.5),
        "tensor": torch.tensor(3),
        "flag": np.bool_(True),
        "undefined": [float("nan"), np.float64("inf"), torch.tensor(float("nan"))],
        "path": tmp_path,
        "pair": (1, None),
    }
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json", "file") == {
        "1": 0.5,
        "tensor": 3,
        "flag": True,
        "undefined": [None, None, None],
        "path": str(tmp_path),
        "pair": [1, None],
    }


def test_json_that_cannot_be_written_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe\x00", b"[1, 2\n, 3"])
def test_invalid_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(LggError, match=r"the datalist .*list\.json is not valid JSON .*: write it anew") as caught:
        read_json(tmp_path / "list.json", "datalist")
    assert "\n" not in str(caught.value)


def test_missing_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"cannot read the datalist .*none\.json \(No such file.*\): give the path"):
        read_json(tmp_path / "none.json", "datalist")


def test_output_folder_is_created_and_left_empty(tmp_path: Path) -> None:
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("inner", ["file", "file/below"])
def test_output_below_a_file_is_refused(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LggError, match=r"cannot write to the output folder .*file.*: choose another") as caught:
        writable_folder(tmp_path / inner, choose="another with --output")
    assert str(caught.value).endswith("): choose another with --output")
    assert "\n" not in str(caught.value)


def test_json_of_windows_editors_is_read(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"training": []}', encoding="utf-8-sig")
    assert read_json(tmp_path / "list.json", "datalist") == {"training": []}
