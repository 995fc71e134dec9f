"""Deterministic mode: the loss of torch, settings that are given back, and on a GPU the same weights twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.losses import DiceCELoss
from training_parts import assert_same_run, history, tiny

from medseg.training import Deterministic, TrainingStep
from medseg.training.determinism import same_cross_entropy
from medseg.workflows import train

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": torch.tensor([0.5, 2.0, 1.0])},
        {"label_smoothing": 0.1},
        {"ignore_index": 2, "weight": torch.tensor([0.5, 2.0, 1.0])},
        {"ignore_index": 255, "weight": torch.tensor([0.5, 2.0, 1.0])},
    ],
    ids=["plain", "weights of classes", "smoothed", "a class ignored, with weights", "255, with weights"],
)
def test_the_cross_entropy_is_torchs(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 3, 4, 5, generator=generator)
    label = torch.randint(0, 3, (2, 4, 5), generator=generator)
    loss = torch.nn.CrossEntropyLoss(**options)
    label[:, 1] = loss.ignore_index  # -100 where nothing else is said
    expected = loss(prediction, label)
    same_cross_entropy(loss)
    assert type(loss) is not torch.nn.CrossEntropyLoss
    torch.testing.assert_close(loss(prediction, label), expected)


def test_it_is_found_within_a_loss_of_monai() -> None:
    loss = DiceCELoss(softmax=True, to_onehot_y=True)
    prediction, label = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 1, 4, 4))
    expected = loss(prediction, label)
    same_cross_entropy(loss)
    assert type(loss.cross_entropy) is not torch.nn.CrossEntropyLoss
    torch.testing.assert_close(loss(prediction, label), expected)


@pytest.mark.parametrize("fails", [False, True], ids=["ends", "fails"])
@pytest.mark.parametrize("enabled", [False, True], ids=["fast", "deterministic"])
def test_settings_hold_while_the_run_does(enabled: bool, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn, seen = torch.backends.cudnn, []

    def settings() -> tuple[bool, bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark

    def step(*_: Any) -> None:
        seen.append(settings())
        if fails:
            raise ValueError("it fails")

    before, engine = settings(), Engine(step)
    engine.loss_function, engine.logger.disabled = torch.nn.CrossEntropyLoss(), True
    Deterministic(enabled=enabled).attach(engine)
    try:
        engine.run([0])
    except ValueError:
        assert fails
    assert seen == [(enabled, enabled, not enabled)]
    assert settings() == before


def test_a_run_in_deterministic_mode_is_the_run_within_rounding(
    datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    bundle = "cxr_heart_lung"
    changes = {**tiny(bundle), "deterministic": True}
    run = train(bundle, datalist=datalists[bundle], run_dir=tmp_path, overrides=changes)
    losses = [[float(row["loss"]) for row in history(each)] for each in (run, whole_runs[bundle])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: two runs on one cannot be compared")
@pytest.mark.parametrize("bundle", ["mr_hippocampus", "cxr_heart_lung"])
def test_on_a_gpu_two_runs_have_the_same_weights_and_a_resumed_one_too(
    bundle: str, datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    changes = {**tiny(bundle), "deterministic": True, "precision": "auto", "device": "$torch.device('cuda')"}
    for name in ("one", "other"):
        train(bundle, datalist=datalists[bundle], run_dir=tmp_path / name, overrides=changes)
    assert_same_run(tmp_path / "one", tmp_path / "other")

    def leave(self: TrainingStep, engine: Any, batch: Any) -> Any:
        if engine.state.iteration == 5:
            raise KeyboardInterrupt
        return step(self, engine, batch)

    step = TrainingStep.__call__
    monkeypatch.setattr(TrainingStep, "__call__", leave)
    with pytest.raises(KeyboardInterrupt):
        train(bundle, datalist=datalists[bundle], run_dir=tmp_path / "left", overrides=changes)
    monkeypatch.setattr(TrainingStep, "__call__", step)
    train(tmp_path / "left", datalist=tmp_path / "left" / "datalist.json", run_dir=tmp_path / "left", resume=True)
    assert_same_run(tmp_path / "one", tmp_path / "left")
