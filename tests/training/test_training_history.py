"""history.csv: one row an epoch, as it was trained, also over a resume; plots never fail a run."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medseg.pictures import save_training_plots
from medseg.training import History


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trainer(folder: Path, *, validated: dict[int, float], plots: bool = False) -> Engine:
    """Two steps an epoch with the losses (epoch, epoch + 1); the rate is halved behind each epoch."""
    state = SimpleNamespace(epoch=0, metrics={})
    engine = Engine(lambda e, _: {"loss": torch.tensor(float(e.state.epoch + (e.state.iteration - 1) % 2))})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    engine.optimizer = optimizer  # type: ignore[attr-defined]

    def validate(e: Any) -> None:
        if e.state.epoch in validated:
            state.epoch, state.metrics = e.state.epoch, {"val_mean_dice": validated[e.state.epoch]}
        optimizer.param_groups[0]["lr"] /= 2

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    History(run_dir=str(folder), evaluator=SimpleNamespace(state=state), plots=plots).attach(engine)
    return engine


def test_one_row_an_epoch_with_its_own_rate_and_empty_where_not_validated(tmp_path: Path) -> None:
    trainer(tmp_path, validated={2: 0.25}).run([0, 0], max_epochs=3)
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == [1.5, 2.5, 3.5]
    assert [float(row["learning_rate"]) for row in rows] == [1.0, 0.5, 0.25]
    assert [row["val_mean_dice"] for row in rows] == ["", "0.25", ""]
    assert list(rows[0])[:3] == ["epoch", "loss", "learning_rate"]


def test_a_resumed_run_goes_on_behind_its_checkpoint_and_drops_what_is_run_again(tmp_path: Path) -> None:
    trainer(tmp_path, validated={1: 0.1, 2: 0.2, 3: 0.9}).run([0, 0], max_epochs=3)
    engine = trainer(tmp_path, validated={3: 0.3, 4: 0.4})
    engine.load_state_dict({"epoch": 2, "max_epochs": 4, "epoch_length": 2})
    engine.run([0, 0])
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["val_mean_dice"] for row in rows] == ["0.1", "0.2", "0.3", "0.4"]


def test_a_new_run_does_not_go_on_with_an_old_table(tmp_path: Path) -> None:
    for _ in range(2):
        trainer(tmp_path, validated={}).run([0], max_epochs=2)
    assert len(rows_of(tmp_path)) == 2


def test_the_plots_are_the_same_bytes_for_the_same_curves(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trainer(tmp_path / name, validated={1: 0.1, 3: 0.3}, plots=True).run([0], max_epochs=3)
        drawn.append([(tmp_path / name / file).read_bytes() for file in ("training.png", "training.svg")])
    assert drawn[0][0][:4] == b"\x89PNG"
    text = drawn[0][1].decode()
    assert "Learning rate" in text
    assert "Loss (training)" in text
    history = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("a", "b")]
    assert [len(lines) for lines in history] == [4, 4]
    assert drawn[0][1] == drawn[1][1]
    assert "Dice (validation)" in text


def test_a_run_validated_by_another_score_than_dice_is_not_drawn_as_never_validated(tmp_path: Path) -> None:
    save_training_plots([{"epoch": 1.0, "loss": 1.0, "learning_rate": 0.1, "val_mean_nsd": 0.5}], tmp_path)
    text = (tmp_path / "training.svg").read_text(encoding="utf-8")
    assert ">Validation<" in text
    assert "never validated" not in text


@pytest.mark.parametrize("problem", ["absent", "broken"])
def test_no_plot_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    if problem == "absent":
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    else:
        monkeypatch.setattr("medseg.training.history.save_training_plots", lambda *_: 1 / 0)
    engine = trainer(tmp_path, validated={}, plots=True)
    assert engine.run([0], max_epochs=1).epoch == 1
    assert not (tmp_path / "training.png").exists()
    assert len(rows_of(tmp_path)) == 1
