"""Files of weights: whole or not at all, and refused with a clear word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lgg_monai.engines.checkpoints import (
    BEST,
    LAST,
    SHIPPED,
    default_checkpoint,
    load_ensemble,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from lgg_monai.errors import LggError
from lgg_monai.networks import Ensemble


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def refusal(path: Path, target: nn.Module | None = None) -> str:
    """The one line with which `load_weights` ends the program."""
    target = network(9) if target is None else target
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(SystemExit) as caught:
        load_weights(target, str(path))
    message = str(caught.value)
    assert message.startswith("lgg-monai: error: ")
    assert "\n" not in message
    assert str(path) in message
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    return message


def test_a_failing_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LAST
    save_checkpoint(path, {"weight": torch.ones(3)})

    write = Path.write_bytes

    def half(file: Path, content: Any) -> int:
        write(file, bytes(content)[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    message = rf"cannot write the checkpoint {path} \(No space left on device\): free space, then the same command"
    with pytest.raises(LggError, match=message):
        save_checkpoint(path, {"weight": torch.zeros(3)})
    assert torch.equal(read_checkpoint(path)["weight"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == [LAST]


def test_load_weights_returns_the_network_itself(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "model.pt")
    target = network(7)
    assert load_weights(target, str(tmp_path / "model.pt")) is target


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "train first, or give the path of another" in refusal(tmp_path / "none.pt")
    # An ensemble is joined rather than trained.
    assert "join those of its networks with `lgg-monai weights`" in refusal(
        tmp_path / "none.pt", Ensemble([network(), network(1)])
    )


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02rubbish", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pt"
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:900] if content is None else content)  # None: cut short
    assert "is damaged or not a PyTorch file" in refusal(path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"it lacks 1\.weight \(5 such entries\)"),
        (nn.Sequential(*network(), nn.Linear(2, 2)), r"has an unknown 2\.weight \(2 such entries\)"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), r"another shape for 0\.weight \(6 such entries\)"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, other: nn.Module, message: str) -> None:
    torch.save(other.state_dict(), tmp_path / "model.pt")
    text = refusal(tmp_path / "model.pt")
    assert "is of another network" in text
    with pytest.raises(SystemExit, match=message):
        load_weights(network(), str(tmp_path / "model.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    state["0.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "model.pt")
    assert "holds weights that are nan or infinite: take those of another epoch" in refusal(tmp_path / "model.pt")


def test_a_buffer_may_be_infinite(tmp_path: Path) -> None:
    state = network().state_dict()
    state["1.running_var"][0] = float("inf")
    torch.save(state, tmp_path / "model.pt")
    load_weights(network(), str(tmp_path / "model.pt"))


def test_a_file_that_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds a list, not a state dictionary" in refusal(tmp_path / "list.pt")


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "model.pt", tmp_path / "proof"
    torch.save({"0.weight": Harmful(proof)}, path)
    assert "holds more than weights, so it is not loaded" in refusal(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists()  # so the file would have done it


def test_read_checkpoint_raises_the_project_s_own_error(tmp_path: Path) -> None:
    with pytest.raises(LggError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_run_without_a_validated_epoch_is_not_scored_with_the_shipped_weights(tmp_path: Path) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    shipped = bundle / SHIPPED
    shipped.parent.mkdir(parents=True)
    save_checkpoint(shipped, network().state_dict())
    assert default_checkpoint(str(run), str(bundle)) == str(shipped)
    run.mkdir()
    (run / "datalist.json").write_text("{}")  # interrupted in its first epoch, or its records alone
    with pytest.raises(SystemExit, match=rf"the run in {run} has no weights yet: train it .*--checkpoint, such as"):
        default_checkpoint(str(run), str(bundle))
    last = run / "checkpoints" / LAST
    last.parent.mkdir(parents=True)
    save_checkpoint(last, network().state_dict())
    # After the last epoch, --resume True with a smaller --val_interval alone trains and validates nothing.
    with pytest.raises(SystemExit, match=rf"no best\.pt.*more --max_epochs and --val_interval.*--checkpoint {last}$"):
        default_checkpoint(str(run), str(bundle))
    save_checkpoint(last.with_name(BEST), network().state_dict())
    assert default_checkpoint(str(run), str(bundle)) == str(last.with_name(BEST))


class Constant(nn.Module):
    """Returns one logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logit.expand(len(x), 1, *x.shape[2:])


def test_checkpoints_are_loaded_into_copies(tmp_path: Path) -> None:
    files = []
    for logit in (2.0, -1.0):
        files.append(str(tmp_path / f"{logit}.pt"))
        torch.save(Constant(logit).state_dict(), files[-1])
    network = Constant(7.0)
    image = torch.zeros(1, 3, 2, 2)
    with torch.no_grad():
        several = load_ensemble(network, files)(image)
        torch.testing.assert_close(several, Ensemble([Constant(2.0), Constant(-1.0)])(image))
        assert load_ensemble(network, files[:1]) is network
        assert load_ensemble(network, files[1]) is network
    assert network.logit.item() == -1


def test_a_checkpoint_that_is_missing_is_one_line(tmp_path: Path) -> None:
    torch.save(Constant(1.0).state_dict(), tmp_path / "a.pt")
    with pytest.raises(SystemExit, match=r"no checkpoint .*b\.pt"):
        load_ensemble(Constant(0.0), [str(tmp_path / "a.pt"), str(tmp_path / "b.pt")])
    for nothing in ([], None, 5, [str(tmp_path / "a.pt"), None]):
        with pytest.raises(SystemExit, match="no checkpoint to load"):
            load_ensemble(Constant(0.0), nothing)
