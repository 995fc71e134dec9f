"""What ends a run early, and how the learning rate goes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.datasets import load_datalist
from medseg.errors import MedsegError, TrainingError
from medseg.workflows import train


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def rates(run: Path) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [event.value for event in events.Scalars("train/learning_rate")]


def test_a_loss_that_is_not_finite_names_step_and_cases_and_keeps_the_checkpoint(
    volumes: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    too_fast = {
        "_target_": "torch.optim.lr_scheduler.MultiplicativeLR",
        "optimizer": "@train::optimizer",
        "lr_lambda": "$lambda epoch: float('nan')",
    }
    run = tmp_path / "run"
    changes = {**tiny, "train::scheduler": too_fast}
    with pytest.raises(TrainingError) as stopped:
        train("mr_hippocampus", datalist=volumes, run_dir=run, overrides=changes, trust=True)
    message = str(stopped.value)
    assert message.startswith("the loss is not finite at step 4 (epoch 2), cases ")
    named = message.partition("cases ")[2].partition(";")[0].split(", ")
    assert len(named) == 2
    assert set(named) < {case["id"] for case in load_datalist(volumes, "training")}
    last = torch.load(run / "models" / "last.pt", weights_only=True)
    assert last["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in last["network"].values())
    assert (record(run)["status"], record(run)["epoch"]) == ("stopped", 2)
    assert record(run)["reason"].startswith("TrainingError: the loss is not finite at step 4")


def test_a_run_stops_when_validation_no_longer_gets_better_and_a_resumed_one_at_once(
    volumes: Path, tmp_path: Path, tiny: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stuck = {**tiny, "epochs": 9, "learning_rate": 0.0, "early_stop_patience": 2}
    with caplog.at_level(logging.INFO, "medseg"):
        run = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides=stuck)
    assert (record(run)["status"], record(run)["epoch"], record(run)["best_epoch"]) == ("done", 3, 1)
    assert "no better validation score for 2 epochs: stopping after 3" in caplog.text
    train(run, datalist=volumes, run_dir=run, resume=True)
    assert (record(run)["status"], record(run)["epoch"]) == ("done", 3)


def test_a_polynomial_schedule_is_declared_by_one_id(volumes: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    poly = {
        "_target_": "torch.optim.lr_scheduler.PolynomialLR",
        "optimizer": "@train::optimizer",
        "total_iters": 4,
        "power": 2.0,
    }
    changes = {**tiny, "epochs": 3, "train::scheduler": poly}
    run = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides=changes)
    assert rates(run) == pytest.approx([1e-3, 1e-3 * (3 / 4) ** 2, 1e-3 * (2 / 4) ** 2])


def test_a_plateau_schedule_follows_the_validation_score(volumes: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    plateau = {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "optimizer": "@train::optimizer",
        "mode": "max",
        "factor": 0.5,
        "patience": 0,
    }
    # So slow that the score cannot change: from the second epoch on, each is one without gain.
    changes = {**tiny, "learning_rate": 1.0e-12, "epochs": 4, "train::scheduler": plateau}
    changes |= {"train::scheduler::eps": 0.0}
    run = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides=changes)
    assert rates(run) == pytest.approx([1e-12, 1e-12, 0.5e-12, 0.25e-12])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"train::scheduler::_target_": "torch.optim.lr_scheduler.PolynomialLR"},
            r"configs/train\.yaml:\d+: error: train::scheduler: PolynomialLR takes no argument T_max",
        ),
        ({"network_def::droput": 0.1}, r"DynUNet takes no argument droput; did you mean dropout\?"),
        ({"learning_rate": "fast"}, r"learning_rate|'torch\.optim\.AdamW'; got TypeError"),
        ({"learning_rate": "@rate"}, "learning_rate refers to @rate, which is nothing"),
        ({"learning_rate": "$rate(1)"}, r"learning_rate: nothing defines rate; got \$rate\(1\)"),
        ({"learning_rate": "$(1"}, "learning_rate is no Python expression: .* was never closed"),
        ({"train::loss::_target_": "DiceCELos"}, r"no class or function DiceCELos; did you mean DiceCELoss\?"),
        ({"precision": "fp16"}, "precision, which is @precision, has the wrong type; got fp16"),
        ({"cases_at_most": 0}, r"at_most, which is @cases_at_most, is out of range; got 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_configuration_that_cannot_run_is_told_as_such(
    volumes: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(MedsegError, match=message):
        train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overlays=["smoke"], overrides=wrong)
    assert list((tmp_path / "run").rglob("*.pt")) == []


def test_fewer_cases_than_a_batch_still_train(pictures: Path, tmp_path: Path) -> None:
    few = {"cases_at_most": 1, "batch_size": 3, "epochs": 2}
    run = train("cxr_heart_lung", datalist=pictures, run_dir=tmp_path / "run", overlays=["smoke"], overrides=few)
    assert (record(run)["epoch"], (run / "models" / "model.pt").is_file()) == (2, True)
