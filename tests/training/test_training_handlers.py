"""Handlers on an engine of a few steps: the watch over the loss, the schedule, what a failed run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medseg.errors import BundleError, TrainingError
from medseg.training import EarlyStop, FiniteLoss, Progress, RunRecord, Schedule, Validation


def evaluator(**state: Any) -> Any:
    """What the handlers look at of a validation engine."""
    known = {"epoch": 0, "metrics": {}, "key_metric_name": "dice", "best_metric": -1, "best_metric_epoch": -1}
    return SimpleNamespace(state=SimpleNamespace(**{**known, **state}))


def trainer(losses: list[float]) -> Engine:
    """An engine whose step i has the loss `losses[i]` and the cases a_i, b_i."""
    return Engine(lambda engine, _: {"loss": torch.tensor(losses[engine.state.iteration - 1])})


def batches(count: int) -> list[dict[str, list[str]]]:
    return [{"id": [f"a_{i}", f"b_{i}"]} for i in range(count)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("step", "epoch", "cases"),
    [(1, 1, "a_0, b_0"), (3, 1, "a_2, b_2"), (5, 2, "a_1, b_1")],
    ids=["first", "last", "2nd"],
)
def test_a_loss_that_is_not_finite_is_told_with_its_step_and_cases(
    bad: float, step: int, epoch: int, cases: str
) -> None:
    losses = [1.0] * 6
    losses[step - 1] = bad
    engine, ended = trainer(losses), []
    FiniteLoss().attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: ended.append(engine.state.epoch))
    expected = rf"not finite at step {step} \(epoch {epoch}\), cases {cases}; got {bad}"
    with pytest.raises(TrainingError, match=expected):
        engine.run(batches(3), max_epochs=2)
    assert ended == [1][: epoch - 1]  # no handler behind it, such as the checkpoints', sees the epoch


def test_a_gradient_that_is_not_finite_is_told_before_its_weights_are_kept() -> None:
    """Its loss is finite, and that of the step behind it is never computed where it is an epoch's last."""
    norms, ended = [1.0, float("nan")], []
    engine = Engine(lambda _, batch: {"loss": torch.tensor(0.5), "gradient_norm": torch.tensor(norms[batch["step"]])})
    FiniteLoss().attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: ended.append(engine.state.epoch))
    with pytest.raises(TrainingError, match=r"the gradient is not finite at step 2 \(epoch 1\), cases b; got nan"):
        engine.run([{"id": ["a"], "step": 0}, {"id": ["b"], "step": 1}], max_epochs=1)
    assert ended == []


def test_finite_losses_pass() -> None:
    engine = trainer([1.0, 1e30, -1e30, 0.0])
    FiniteLoss().attach(engine)
    assert engine.run(batches(2), max_epochs=2).epoch == 2


@pytest.mark.parametrize(
    ("interval", "epochs", "validated"),
    [(4, 10, [4, 8, 10]), (4, 8, [4, 8]), (1, 2, [1, 2]), (50, 3, [3])],
    ids=["rest", "multiple", "every", "last alone"],
)
def test_the_last_epoch_is_validated_whatever_the_interval(interval: int, epochs: int, validated: list[int]) -> None:
    engine, seen = trainer([1.0] * epochs), []
    Validation(validator=SimpleNamespace(run=seen.append), interval=interval).attach(engine)
    engine.run(batches(1), max_epochs=epochs)
    assert seen == validated


@pytest.mark.parametrize("interval", [0, -1, 2.5])
def test_an_interval_of_validation_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(BundleError, match=rf"validate_every .* got {interval}; expected a whole number from 1"):
        Validation(validator=None, interval=interval)


def test_a_plateau_schedule_steps_at_validations_only() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=0)
    validation, rates = evaluator(), []
    engine = trainer([1.0] * 6)
    scores = {2: 0.5, 4: 0.4, 6: 0.6}  # better, worse, better: one step down, at epoch 4

    def validate(engine: Engine) -> None:
        if engine.state.epoch in scores:
            validation.state.epoch, validation.state.metrics = engine.state.epoch, {"dice": scores[engine.state.epoch]}

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    Schedule(scheduler=plateau, evaluator=validation).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: rates.append(optimizer.param_groups[0]["lr"]))
    engine.run(batches(1), max_epochs=6)
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_a_plateau_schedule_that_takes_better_for_worse_is_refused() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)  # torch's own mode is "min", for losses
    with pytest.raises(BundleError, match=r"got mode min; expected mode max; set train::scheduler::mode=max"):
        Schedule(scheduler=plateau, evaluator=evaluator())
    distances = evaluator()
    distances.metric_cmp_fn = lambda now, before: now < before
    Schedule(scheduler=plateau, evaluator=distances)


@pytest.mark.parametrize(
    ("best", "patience", "interval", "last"),
    [
        *((1, 2, 1, 3), (3, 2, 1, 5), (-1, 2, 1, 12), (12, 2, 1, 12), (4, 2, 4, 8), (4, 4, 4, 8), (2, 3, 2, 6)),
        (1, None, 1, 12),
    ],
    ids=["at once", "later", "never", "end", "patience within an interval", "of an interval", "beyond one", "off"],
)
def test_early_stopping_counts_from_the_best_epoch_to_a_validated_one(
    best: int, patience: int | None, interval: int, last: int
) -> None:
    assert early_stopped(best=best, patience=patience, interval=interval, epochs=12).epoch == last


@pytest.mark.parametrize(
    ("epoch", "validated", "last"),
    [(8, 8, 8), (6, 4, 8), (4, 4, 8)],
    ids=["was stopped", "not validated since the best", "at the best"],
)
def test_a_resumed_run_that_was_stopped_early_ends_at_once_and_no_other(epoch: int, validated: int, last: int) -> None:
    ended = early_stopped(best=4, patience=2, interval=4, epochs=12, resumed_at=epoch, validated=validated)
    assert ended.epoch == last


@pytest.mark.parametrize(("interval", "last"), [(10, 40), (3, 39), (1, 39)], ids=["as before", "other", "every"])
def test_a_run_resumed_with_another_interval_is_not_ended_by_epochs_that_were_not_validated(
    interval: int, last: int
) -> None:
    """Validated every ten epochs, last in epoch 30: in epoch 38 nothing is known of the 18 epochs behind the best."""
    ended = early_stopped(best=20, patience=15, interval=interval, epochs=60, resumed_at=38, validated=30)
    assert ended.epoch == last


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_that_would_end_every_run_at_its_first_validation_is_refused(patience: int) -> None:
    with pytest.raises(BundleError, match=f"early_stop_patience .*; got {patience}; expected .* or null"):
        EarlyStop(patience=patience, evaluator=evaluator())


def early_stopped(
    *, best: int, patience: int | None, interval: int, epochs: int, resumed_at: int = 0, validated: int = 0
) -> Any:
    """The state in which a run ends, of two steps an epoch, whose epoch `best` has the best of all scores.

    `validated` is the last epoch that its checkpoint knows as validated.
    """
    engine, validation = trainer([1.0] * 2 * epochs), evaluator()

    def validate(epoch: int) -> None:
        validation.state.epoch, validation.state.best_metric_epoch = epoch, min(epoch, best)

    Validation(validator=SimpleNamespace(run=validate), interval=interval).attach(engine)
    EarlyStop(patience=patience, evaluator=validation).attach(engine)
    if resumed_at:
        engine.load_state_dict({"iteration": 2 * resumed_at, "max_epochs": epochs, "epoch_length": 2})
        validation.state.best_metric_epoch, validation.state.epoch = best, validated
    return engine.run(batches(2), max_epochs=epochs)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt("by hand")], ids=["bug", "user"])
@pytest.mark.parametrize("order", ["record first", "progress first"])
def test_a_failed_run_is_recorded_and_its_error_not_swallowed(tmp_path: Path, error: BaseException, order: str) -> None:
    def step(engine: Engine, _: Any) -> Any:
        if engine.state.epoch == 2:
            raise error
        return {"loss": torch.tensor(1.0)}

    engine, validation = Engine(step), evaluator()
    handlers = [
        RunRecord(run_dir=str(tmp_path), settings={"seed": 1}, evaluator=validation),
        Progress(evaluator=validation),
    ]
    for handler in handlers if order == "record first" else reversed(handlers):
        handler.attach(engine)
    engine.logger.disabled = True
    with pytest.raises(type(error), match=str(error)):
        engine.run(batches(1), max_epochs=3)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["epoch"]) == ("stopped", 2)
    assert record["reason"] == f"{type(error).__name__}: {error}"
    assert record["best_validation_dice"] is None
    assert record["settings"] == {"seed": 1}
    assert {"torch", "monai", "medseg", "threads"} <= record["environment"].keys()


@pytest.mark.parametrize("steps", [1, 2], ids=["within its first epoch", "behind it"])
def test_the_time_of_a_run_counts_what_was_before_it_was_resumed(tmp_path: Path, steps: int) -> None:
    (tmp_path / "run.json").write_text('{"training_seconds": 3000.0}', encoding="utf-8")
    engine = trainer([1.0] * 4)
    RunRecord(run_dir=str(tmp_path), settings={}, evaluator=evaluator()).attach(engine)
    engine.load_state_dict({"iteration": steps, "max_epochs": 2, "epoch_length": 2})
    engine.run(batches(2), max_epochs=2)
    assert 3000 <= json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["training_seconds"] < 3600


@pytest.mark.parametrize(("metric", "name"), [("val_mean_dice", "Dice"), ("val_mean_nsd", "val_mean_nsd")])
def test_a_score_is_called_what_it_is(metric: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = {"key_metric_name": metric, "best_metric": 0.5, "best_metric_epoch": 1, "metrics": {metric: 0.5}}
    engine, validation = trainer([1.0]), evaluator(**best)
    Progress(evaluator=validation).attach(engine)
    RunRecord(run_dir=str(tmp_path), settings={}, evaluator=validation).attach(engine)
    with caplog.at_level("INFO", "medseg"):
        engine.run(batches(1), max_epochs=1)
    assert f"epoch 1/1 loss 1.0000 validation {name} 0.5000 (best 0.5000 at 1)" in caplog.text
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["best_validation_dice"] == (0.5 if name == "Dice" else None)
    assert (record["best_validation_score"], record["best_validation_score_name"]) == (0.5, metric)
