"""One seed, one result: for any number of workers, left at any point and taken up again."""

from __future__ import annotations

import os
import signal
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from training_parts import BUNDLES, EPOCHS, assert_same_run, checkpoint, tiny

from medseg.datasets import CaseDataset
from medseg.signals import TERMINATED
from medseg.training import Checkpoints, TrainingStep
from medseg.workflows import train

pytestmark = pytest.mark.usefixtures("no_pictures")


class Gone(BaseException):
    """Stands for what ends a process: no handler may swallow it."""


@pytest.mark.parametrize(("bundle", "workers"), [(BUNDLES[0], 1), (BUNDLES[0], 2), (BUNDLES[1], 2)])
def test_any_number_of_workers_gives_the_same_weights(
    bundle: str, workers: int, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    changes = {**tiny(bundle), "workers": workers}
    assert_same_run(train(bundle, datalist=datalists[bundle], run_dir=tmp_path, overrides=changes), whole_runs[bundle])


def test_bfloat16_gives_the_same_weights_whatever_lay_in_memory(
    datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The precision that CPUs with bfloat16 train in; the deepest maps of this run are 2 voxels wide."""
    bundle, step = "mr_hippocampus", TrainingStep.__call__
    changes = {**tiny(bundle), "precision": "bf16", "epochs": 1}
    one = train(bundle, datalist=datalists[bundle], run_dir=tmp_path / "one", overrides=changes)

    def step_on_used_memory(self: TrainingStep, engine: Any, batch: Any) -> Any:
        used = [torch.full((2**power,), 1e6) for power in range(4, 21) for _ in range(4)]
        del used
        return step(self, engine, batch)

    monkeypatch.setattr(TrainingStep, "__call__", step_on_used_memory)
    other = train(bundle, datalist=datalists[bundle], run_dir=tmp_path / "other", overrides=changes)
    assert_same_run(one, other)


def test_the_cases_of_a_run_are_out_of_memory_when_it_ends(
    datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take up to half of it, which the scoring behind the training of a fold may need."""
    bundle, begin, held = "cxr_heart_lung", CaseDataset.__init__, list[weakref.ref[CaseDataset]]()

    def begins(self: CaseDataset, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        held.append(weakref.ref(self))

    monkeypatch.setattr(CaseDataset, "__init__", begins)
    train(bundle, datalist=datalists[bundle], run_dir=tmp_path, overrides={**tiny(bundle), "epochs": 1})
    assert [one() for one in held] == [None, None]  # of training and of validation


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_run_that_is_left_behind_every_epoch_is_the_run_that_was_not(
    bundle: str,
    datalists: dict[str, Path],
    whole_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = Checkpoints.save

    def save_and_leave(self: Checkpoints, engine: Any) -> None:
        save(self, engine)
        if engine.state.epoch < EPOCHS:
            raise Gone

    monkeypatch.setattr(Checkpoints, "save", save_and_leave)
    for epoch in range(1, EPOCHS):
        with pytest.raises(Gone):
            train(bundle, datalist=datalists[bundle], run_dir=tmp_path, overrides=tiny(bundle), resume=epoch > 1)
        assert (checkpoint(tmp_path)["epoch"], checkpoint(tmp_path)["steps"]) == (epoch, 0)
    monkeypatch.undo()
    train(tmp_path, datalist=tmp_path / "datalist.json", run_dir=tmp_path, resume=True)
    assert_same_run(tmp_path, whole_runs[bundle])


def stop_in_step(monkeypatch: pytest.MonkeyPatch, number: int, which: int) -> None:
    """This process gets the signal while the step is taken."""
    step = TrainingStep.__call__

    def step_and_signal(self: TrainingStep, engine: Any, batch: Any) -> Any:
        if engine.state.iteration == which:
            os.kill(os.getpid(), number)
        return step(self, engine, batch)

    monkeypatch.setattr(TrainingStep, "__call__", step_and_signal)


@pytest.mark.parametrize(
    ("bundle", "workers", "step"),
    [("mr_hippocampus", 0, 1), ("mr_hippocampus", 1, 3), ("mr_hippocampus", 0, 4), ("cxr_heart_lung", 0, 5)],
    ids=["first step", "middle of an epoch, workers", "last of an epoch", "two dimensions"],
)
def test_sigterm_in_a_step_leaves_a_checkpoint_of_that_step_that_goes_on_as_if_nothing_had_been(
    bundle: str,
    workers: int,
    step: int,
    datalists: dict[str, Path],
    whole_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes, handlers = {**tiny(bundle), "workers": workers}, signal.getsignal(signal.SIGTERM)
    stop_in_step(monkeypatch, signal.SIGTERM, step)
    with pytest.raises(SystemExit) as stopped:
        train(bundle, datalist=datalists[bundle], run_dir=tmp_path, overrides=changes)
    monkeypatch.undo()
    assert stopped.value.code == TERMINATED == 143
    assert signal.getsignal(signal.SIGTERM) is handlers
    last = checkpoint(tmp_path)
    assert (last["epoch"], last["steps"], len(last["losses"])) == (step // 2, step % 2, step % 2)
    assert f"medseg train {tmp_path} -o {tmp_path} --datalist {tmp_path}/datalist.json --resume" in caplog.text
    train(tmp_path, datalist=tmp_path / "datalist.json", run_dir=tmp_path, resume=True)
    assert_same_run(tmp_path, whole_runs[bundle])


def test_ctrl_c_between_two_steps_is_a_checkpoint_too(
    datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in_step(monkeypatch, signal.SIGINT, 3)
    with pytest.raises(KeyboardInterrupt):
        train(
            "mr_hippocampus", datalist=datalists["mr_hippocampus"], run_dir=tmp_path, overrides=tiny("mr_hippocampus")
        )
    assert (checkpoint(tmp_path)["epoch"], checkpoint(tmp_path)["steps"]) == (1, 1)
