"""The run folder: an earlier run is never lost, and ``run.json`` says what ran."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from lgg_monai.engines import RunRecord, prepare_run_folder, run_folder
from lgg_monai.engines.history import COLUMNS, write_history
from lgg_monai.engines.run_folder import require_same_training
from lgg_monai.errors import LggError
from lgg_monai.files import sha256
from lgg_monai.locks import LOCK, lock

DATALIST = {
    "phantom": True,
    "dataset_dir": "data/phantom",
    "fingerprint": "abc",
    "fold": 1,
    "folds": 5,
    "training": [{}, {}, {}],
    "validation": [{}],
    "test": [{}, {}],
}


def earlier_run(folder: Path, loss: float = 1.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_history(folder / "history.csv", [dict.fromkeys(COLUMNS) | {"epoch": 1, "loss": loss}])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.pt").write_text(f"weights {loss}")
    os.utime(folder / "history.csv", (1_700_000_000, 1_700_000_000))


def record(folder: Path, **settings: Any) -> RunRecord:
    return RunRecord(str(folder), DATALIST, seed=4, device=torch.device("cpu"), network=nn.Linear(3, 2), **settings)


def run(folder: Path, epochs: int, max_epochs: int, begin: int = 0) -> dict[str, Any]:
    """Train nothing from epoch `begin`, and stop after `epochs`."""
    engine = Engine(lambda engine, batch: None)

    def restore() -> None:
        engine.state.epoch = engine.state.iteration = begin

    engine.add_event_handler(Events.STARTED, restore)
    record(folder).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED(once=epochs), lambda: engine.terminate())
    if begin == epochs < max_epochs:  # as early stopping does
        engine.add_event_handler(Events.STARTED, lambda: engine.terminate())
    engine.run([0], max_epochs=max_epochs)
    return json.loads((folder / "run.json").read_text())


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    assert prepare_run_folder(str(tmp_path / "runs" / "new")) == str(tmp_path / "runs" / "new")
    assert (tmp_path / "runs" / "new").is_dir()


def test_an_earlier_run_is_set_aside_whole(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    prepare_run_folder(str(folder))
    assert [path.name for path in folder.iterdir()] == [LOCK]
    aside = tmp_path / "unet-until-20231114-221320"
    assert (aside / "history.csv").is_file()
    assert (aside / "checkpoints" / "best.pt").read_text() == "weights 1.0"


def test_two_earlier_runs_of_the_same_second_are_both_kept(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    for loss in (1.0, 2.0, 3.0):
        earlier_run(folder, loss)
        prepare_run_folder(str(folder))
    kept = {path.read_text() for path in tmp_path.glob("unet-until-*/checkpoints/best.pt")}
    assert kept == {"weights 1.0", "weights 2.0", "weights 3.0"}


def test_resuming_keeps_the_earlier_run_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    (folder / "checkpoints" / "last.pt").write_text("where to go on")
    prepare_run_folder(str(folder), resume=True)
    assert (folder / "history.csv").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["unet"]


def test_a_run_whose_last_checkpoint_is_gone_is_not_begun_anew_over_itself(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    prepare_run_folder(str(folder), resume=True)
    (aside,) = tmp_path.glob("unet-until-*")
    assert (aside / "checkpoints" / "best.pt").read_text() == "weights 1.0"
    assert [path.name for path in folder.iterdir()] == [LOCK]


def test_a_folder_without_a_finished_epoch_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "datalist.json").write_text("{}")
    prepare_run_folder(str(tmp_path / "unet"))
    assert (tmp_path / "unet" / "datalist.json").is_file()


def test_an_earlier_run_that_cannot_be_set_aside_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(SystemExit, match=r"cannot set the earlier run in .* aside \(Permission denied\)"):
        prepare_run_folder(str(folder))
    assert (folder / "checkpoints" / "best.pt").read_text() == "weights 1.0"


def test_on_windows_which_moves_no_folder_of_open_files_it_is_set_aside_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    rename = Path.rename

    def as_windows_does(path: Path, target: Path) -> Path:
        free = lock(path / LOCK)
        if free is None:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        os.close(free)
        return rename(path, target)

    with monkeypatch.context() as windows:
        windows.setattr(Path, "rename", as_windows_does)
        windows.setattr(sys, "platform", "win32")
        prepare_run_folder(str(folder))
    assert len(list(tmp_path.glob("unet-until-*/checkpoints/best.pt"))) == 1
    assert lock(folder / LOCK) is None  # the new one is ours


TAKE_AND_WAIT = """
import sys
from lgg_monai.engines.run_folder import prepare_run_folder
prepare_run_folder(sys.argv[1])
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_trains_into_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    command = [sys.executable, "-W", "ignore", "-c", TAKE_AND_WAIT, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        (aside,) = tmp_path.glob("unet-until-*")
        earlier_run(folder)  # as the other one has it after its first epoch
        for resume in (False, True):
            with pytest.raises(SystemExit, match=r"another training is writing to .*choose another --output_dir"):
                prepare_run_folder(str(folder), resume)
        assert list(tmp_path.glob("unet-until-*")) == [aside]
        prepare_run_folder(str(aside), resume=True)  # what was set aside is nobody's
        other.stdin.close()
    prepare_run_folder(str(folder))  # it has ended
    assert len(list(tmp_path.glob("unet-until-*"))) == 3


def test_half_a_checkpoint_of_a_killed_training_goes(tmp_path: Path) -> None:
    earlier_run(tmp_path)
    last, half = (tmp_path / "checkpoints" / name for name in ("last.pt", ".partial-x.pt"))
    last.touch()
    half.touch()
    prepare_run_folder(str(tmp_path), resume=True)
    assert not half.exists()
    assert last.is_file()


def test_a_training_that_has_ended_lets_go_of_its_folder(tmp_path: Path) -> None:
    prepare_run_folder(str(tmp_path))
    prepare_run_folder(str(tmp_path))  # its own process may begin again
    assert lock(tmp_path / LOCK) is None
    run(tmp_path, epochs=1, max_epochs=1)
    free = lock(tmp_path / LOCK)
    assert free is not None
    os.close(free)


def test_where_the_file_system_has_no_locks_a_training_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    prepare_run_folder(str(tmp_path))
    assert "(No locks available): let no other process write there" in caplog.text


def test_a_run_is_done_after_its_last_epoch_or_where_it_stopped_early() -> None:
    ended = {"ended": "2026-11-27T10:00:00+00:00"}
    assert run_folder.has_ended({"finished": True, "config": {"early_stop": 0}})
    assert run_folder.has_ended(ended | {"config": {"early_stop": 5}})
    assert not run_folder.has_ended({"ended": None, "finished": False, "config": {"early_stop": 5}})  # interrupted
    assert not run_folder.has_ended(ended | {"finished": False, "config": {"early_stop": 0}})


def test_a_training_whose_folder_was_taken_over_stops_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    engine = Engine(lambda engine, batch: None)
    record(tmp_path).attach(engine)

    def take_over() -> None:
        content = json.loads((tmp_path / "run.json").read_text())
        (tmp_path / "run.json").write_text(json.dumps({**content, "id": "of another"}))

    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), take_over)
    written: list[int] = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: written.append(engine.state.epoch))
    with pytest.raises(SystemExit, match=r"another training took .* over after epoch 1 of this one"):
        engine.run([0], max_epochs=3)
    assert written == [1]


def test_of_several_processes_of_one_training_the_first_prepares_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unet"
    earlier_run(folder)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    prepare_run_folder(str(folder))
    assert (folder / "history.csv").is_file()
    assert not (folder / LOCK).exists()


def test_a_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"^lgg-monai: error: cannot write to the output folder") as caught:
        prepare_run_folder(str(tmp_path / "file"))
    assert "\n" not in str(caught.value)


def test_the_weights_that_a_run_began_with_are_known_by_their_content(tmp_path: Path) -> None:
    for name, content in (("a.pt", "one"), ("moved.pt", "one"), ("other.pt", "another")):
        (tmp_path / name).write_text(content)
    begun = {"config": {"initial_weights": str(tmp_path / "a.pt"), "max_epochs": 3, "datalist_file": "here.json"}}
    (tmp_path / "run.json").write_text(json.dumps(begun))
    (tmp_path / "datalist.json").write_text(json.dumps({"initial_weights_sha256": sha256(tmp_path / "a.pt")}))
    moved = {"initial_weights": str(tmp_path / "moved.pt"), "max_epochs": 5, "datalist_file": "there.json"}
    require_same_training(tmp_path, {**moved, "run": ["new"]})
    with pytest.raises(LggError, match=r"began with other settings \(content of initial_weights\)"):
        require_same_training(tmp_path, {"initial_weights": str(tmp_path / "other.pt"), "max_epochs": 3})


def test_run_json_says_what_ran(tmp_path: Path) -> None:
    content = run(tmp_path, epochs=2, max_epochs=2)
    assert content["finished"] is True
    assert content["epochs"] == 2
    assert content["started"] <= content["ended"]
    assert content["seed"] == 4
    assert content["phantom"] is True
    assert content["parameters"] == 8
    assert content["precision"] == "float32"
    expected = {"dataset_dir": "data/phantom", "fingerprint": "abc", "fold": 1, "folds": 5}
    assert content["data"] == {**expected, "training": 3, "validation": 1, "test": 2}
    assert "resumed" not in content


def test_run_json_is_there_from_the_start_and_says_that_the_run_is_not_finished(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: 1 / 0)
    record(tmp_path, precision=torch.bfloat16).attach(engine)
    with pytest.raises(ZeroDivisionError):
        engine.run([0])
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["started"]
    assert content["ended"] is None
    assert content["finished"] is False
    assert content["precision"] == "bfloat16"


def test_a_resumed_run_keeps_its_beginning(tmp_path: Path) -> None:
    first = run(tmp_path, epochs=1, max_epochs=3)
    assert first["finished"] is False
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**first, "started": "2020-01-01T00:00:00+00:00"}))
    second = run(tmp_path, epochs=2, max_epochs=3, begin=1)
    third = run(tmp_path, epochs=3, max_epochs=3, begin=2)
    assert second["started"] == third["started"] == "2020-01-01T00:00:00+00:00"
    assert [len(content["resumed"]) for content in (second, third)] == [1, 2]
    assert third["finished"] is True


def test_a_run_resumed_with_other_versions_says_so_and_keeps_the_first_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(tmp_path, epochs=1, max_epochs=4)
    assert "made_with_before" not in run(tmp_path, epochs=2, max_epochs=4, begin=1)
    assert not caplog.messages
    elsewhere = {"versions": first["versions"] | {"torch": "1.0"}, "device": "cuda:0 (another)"}
    (tmp_path / "run.json").write_text(json.dumps(first | elsewhere))
    resumed = run(tmp_path, epochs=3, max_epochs=4, begin=2)
    assert resumed["made_with_before"] == [{"device": "cuda:0 (another)", "torch": "1.0"}]
    assert (resumed["versions"], resumed["device"]) == (first["versions"], first["device"])
    assert f"torch {torch.__version__} in place of 1.0: numbers may differ" in caplog.text
    assert run(tmp_path, epochs=4, max_epochs=4, begin=3)["made_with_before"] == resumed["made_with_before"]


def test_a_run_of_other_code_names_the_commit_to_resume_with(tmp_path: Path) -> None:
    begun = {"config": {"train": {"handlers": []}}, "commit": "abc123"}
    (tmp_path / "run.json").write_text(json.dumps(begun))
    with pytest.raises(LggError, match=r"settings \(train\): .* tells and with the code of then \(commit abc123, now "):
        require_same_training(tmp_path, {"train": {"handlers": ["new"]}})


@pytest.mark.parametrize("config", [{}, {"early_stop": 1}], ids=["finished", "stopped early"])
def test_resuming_with_nothing_to_do_leaves_the_record_alone(tmp_path: Path, config: dict[str, Any]) -> None:
    epochs = 2 if config else 3
    first = run(tmp_path, epochs=epochs, max_epochs=3)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**first, "config": config, "ended": "2020-01-01T00:00:00+00:00"}))
    before = path.read_text()
    run(tmp_path, epochs=epochs, max_epochs=3, begin=epochs)
    assert path.read_text() == before


def test_a_run_that_was_cut_off_after_its_last_epoch_is_ended_by_resuming_it(tmp_path: Path) -> None:
    first = run(tmp_path, epochs=3, max_epochs=3)
    cut = {**first, "ended": None, "finished": False, "epochs": None, "device": "another"}
    (tmp_path / "run.json").write_text(json.dumps(cut))
    second = run(tmp_path, epochs=3, max_epochs=3, begin=3)
    assert second["ended"]
    assert second == {**cut, "ended": second["ended"], "finished": True, "epochs": 3}


@pytest.mark.parametrize("written", ["datalist.json", "run.json"])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    def full(path: Path, content: Any) -> None:
        if path.name == written:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "write_json", full)
    with pytest.raises(SystemExit, match=r"record .*run\.json \(No space left on device\): free space, then the same"):
        run(tmp_path, epochs=1, max_epochs=1)
