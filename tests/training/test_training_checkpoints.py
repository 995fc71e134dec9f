"""Checkpoints: whole or absent, the best and the last, readable without running code."""

from __future__ import annotations

import errno
import hashlib
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medseg.errors import BundleError, TrainingError
from medseg.signals import StopRequests
from medseg.training import Checkpoints
from medseg.training.checkpoint_files import save_checkpoint
from medseg.training.epoch_losses import epoch_losses


class Trained:
    """A network of one weight, which each epoch raises by one, and a validation with the given scores."""

    def __init__(self, folder: Path, scores: dict[int, float]) -> None:
        self.network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.network.weight)
        optimizer = torch.optim.SGD(self.network.parameters(), lr=1.0)
        self.validation = SimpleNamespace(state=SimpleNamespace(best_metric=-1.0, best_metric_epoch=-1))
        self.scores = scores
        self.checkpoints = Checkpoints(
            run_dir=str(folder),
            network=self.network,
            evaluated=self.network,
            evaluator=self.validation,
            optimizer=optimizer,
            scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer),
        )
        self.engine = Engine(lambda *_: None)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        self.checkpoints.attach(self.engine)

    def _epoch(self, engine: Engine) -> None:
        with torch.no_grad():
            self.network.weight += 1
        state, score = self.validation.state, self.scores.get(engine.state.epoch)
        if score is not None:
            state.epoch = engine.state.epoch
        if score is not None and score > state.best_metric:
            state.best_metric, state.best_metric_epoch = score, engine.state.epoch


def weights(folder: Path) -> tuple[float, float]:
    """The weight in model.pt and in last.pt."""
    best = torch.load(folder / "models" / "model.pt", weights_only=True)
    last = torch.load(folder / "models" / "last.pt", weights_only=True)
    return float(best["weight"]), float(last["network"]["weight"])


@pytest.mark.parametrize(
    ("scores", "best"),
    [({1: 0.1, 2: 0.5, 3: 0.4}, 2), ({2: 0.0}, 2), ({1: 0.3, 2: 0.3, 3: 0.3}, 1), ({}, 3)],
    ids=["a peak", "validated once", "no gain", "never validated"],
)
def test_the_best_weights_are_kept_and_the_last(tmp_path: Path, scores: dict[int, float], best: int) -> None:
    Trained(tmp_path, scores).engine.run([0], max_epochs=3)
    assert weights(tmp_path) == (best, 3)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "mend that"),
        (PermissionError(errno.EACCES, "Permission denied"), "mend that"),
    ],
    ids=["full", "full, in torch's words", "read-only", "not allowed"],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, step: str
) -> None:
    Trained(tmp_path, {1: 0.5}).engine.run([0], max_epochs=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}

    def fails(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", fails)
    again = Trained(tmp_path, {1: 0.5})
    again.engine.logger.disabled = True
    told = rf"last\.pt could not be written; got {re.escape(str(error))}; {step} and go on"
    with pytest.raises(TrainingError, match=told):
        again.engine.run([0], max_epochs=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()} == before


def test_restoring_is_what_was_saved_and_only_on_request(tmp_path: Path) -> None:
    Trained(tmp_path, {1: 0.25, 2: 0.75}).engine.run([0], max_epochs=2)
    fresh, resumed = Trained(tmp_path, {}), Trained(tmp_path, {})
    for trained, resume in ((fresh, False), (resumed, True)):
        trained.engine.state.max_epochs, trained.engine.state.epoch_length = 5, 1
        trained.checkpoints.restore(trained.engine, resume=resume)
    assert (fresh.network.weight.item(), fresh.engine.state.epoch) == (0, 0)
    assert (resumed.network.weight.item(), resumed.engine.state.epoch) == (2, 2)
    state = resumed.validation.state
    assert (state.best_metric, state.best_metric_epoch) == (0.75, 2)
    drawn = []
    for _ in range(2):
        resumed.checkpoints.restore(resumed.engine, resume=True)
        drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])


def test_a_run_killed_behind_its_last_epoch_is_told_with_its_own_number_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Trained(tmp_path, {2: 0.5}).engine.run([0], max_epochs=3)
    resumed = Trained(tmp_path, {})
    resumed.engine.state.max_epochs, resumed.engine.state.epoch_length = 3, 1
    with caplog.at_level("INFO", "medseg"):
        resumed.checkpoints.restore(resumed.engine, resume=True)
    assert "resumed after epoch 3 of 3" in caplog.text
    assert resumed.validation.state.epoch == 2  # the last that was validated, for whoever counts from it


def test_a_request_that_comes_in_the_last_step_lets_the_run_end_and_is_kept_for_who_goes_on(tmp_path: Path) -> None:
    trained = Trained(tmp_path, {1: 0.5})
    trained.engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda _: signal.raise_signal(signal.SIGINT))
    trained.engine.run([0], max_epochs=2)
    assert weights(tmp_path) == (1, 2)
    with pytest.raises(KeyboardInterrupt):
        StopRequests.heed_late()
    StopRequests.heed_late()
    Trained(tmp_path, {1: 0.5}).engine.run([0], max_epochs=2)
    StopRequests.heed_late()


def test_weights_of_a_step_behind_the_best_epoch_are_not_shipped_as_the_best(tmp_path: Path) -> None:
    stopped = Trained(tmp_path, {2: 0.75})
    stopped.engine.run([0, 0], max_epochs=2)
    with torch.no_grad():
        stopped.network.weight += 10
    stopped.engine.state.iteration += 1
    epoch_losses(stopped.engine).go_on_from([0.0])
    stopped.checkpoints._save_last(stopped.engine)
    resumed = Trained(tmp_path, {})
    resumed.engine.state.max_epochs, resumed.engine.state.epoch_length = 5, 2
    resumed.checkpoints.restore(resumed.engine, resume=True)
    assert (resumed.network.weight.item(), resumed.engine.state.iteration) == (12, 5)
    assert weights(tmp_path) == (2, 12)


def _three_epochs(folder: Path) -> Path:
    Trained(folder, {1: 0.5}).engine.run([0], max_epochs=3)
    return folder / "models"


def _resumed_after(folder: Path) -> int:
    trained = Trained(folder, {})
    trained.engine.state.max_epochs, trained.engine.state.epoch_length = 5, 1
    trained.checkpoints.restore(trained.engine, resume=True)
    assert trained.network.weight.item() == trained.engine.state.epoch
    return trained.engine.state.epoch


def test_the_last_two_are_kept_with_sums_that_other_tools_check(tmp_path: Path) -> None:
    models = _three_epochs(tmp_path)
    lines = (models / "checkpoints.sha256").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256((models / n).read_bytes()).hexdigest()}  {n}" for n in ("last.pt", "before_last.pt")
    ]
    epochs = [torch.load(models / n, weights_only=True)["epoch"] for n in ("last.pt", "before_last.pt")]
    assert epochs == [3, 2]


@pytest.mark.parametrize("damage", ["a byte", "half", "empty"])
def test_a_damaged_last_one_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    last = _three_epochs(tmp_path) / "last.pt"
    content = bytearray(last.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    last.write_bytes({"a byte": bytes(content), "half": bytes(content[:middle]), "empty": b""}[damage])
    assert _resumed_after(tmp_path) == 2
    assert "last.pt: the checkpoint is damaged" in caplog.text
    assert "going on from before_last.pt, epoch 2" in caplog.text


def test_a_lost_last_one_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (_three_epochs(tmp_path) / "last.pt").unlink()
    assert _resumed_after(tmp_path) == 2
    assert "last.pt: the checkpoint is gone; going on from before_last.pt, epoch 2" in caplog.text


@pytest.mark.parametrize("damaged", [False, True], ids=["lost", "damaged"])
def test_the_one_before_stays_when_the_run_goes_on_from_it(tmp_path: Path, damaged: bool) -> None:
    last = _three_epochs(tmp_path) / "last.pt"
    last.unlink()
    if damaged:
        last.write_bytes(b"half")
    save_checkpoint({"epoch": 3}, tmp_path / "models")
    last.write_bytes(b"half")
    assert _resumed_after(tmp_path) == 2


def test_two_lost_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no checkpoint to resume from; start the run without --resume"):
        _resumed_after(tmp_path)


def test_two_damaged_ones_are_refused(tmp_path: Path) -> None:
    models = _three_epochs(tmp_path)
    for name in ("last.pt", "before_last.pt"):
        (models / name).write_bytes(b"")
    with pytest.raises(BundleError, match="the checkpoint is damaged"):
        _resumed_after(tmp_path)


@pytest.mark.parametrize("step", range(1, 5))
def test_killed_between_any_two_steps_of_saving_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Each rename of the third save in turn does not happen, nor what comes after it."""
    models = _three_epochs(tmp_path)
    left = {"renames": step - 1}
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if not left["renames"]:
            raise KeyboardInterrupt
        left["renames"] -= 1
        return rename(self, target)

    trained = Trained(tmp_path, {})
    trained.engine.state.max_epochs, trained.engine.state.epoch_length = 5, 1
    trained.checkpoints.restore(trained.engine, resume=True)
    trained.engine.state.epoch = trained.engine.state.iteration = 4
    with torch.no_grad():
        trained.network.weight += 1
    monkeypatch.setattr(Path, "replace", killed)
    if step < 4:
        with pytest.raises(KeyboardInterrupt):
            trained.checkpoints.save(trained.engine)
    else:
        trained.checkpoints.save(trained.engine)
    monkeypatch.undo()
    assert _resumed_after(tmp_path) == (3 if step < 4 else 4)
    assert not [path for path in models.iterdir() if ".tmp." in path.name]
