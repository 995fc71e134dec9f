"""TensorBoard is opened on the right folder, on this machine only, and shows what a run wrote."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medseg.errors import DataError, TrainingError
from medseg.review.tensorboard import log_folder
from medseg.training import Board


def validation_of(labels: int) -> Engine:
    """An evaluator of two cases of 6 x 6 pixels whose logits are the truth."""

    def step(engine: Engine, case: dict[str, Any]) -> dict[str, Any]:
        truth = torch.zeros(1, 1, 6, 6)
        truth[..., 1:4, 1:4] = 1
        logits = torch.cat([2 - 4 * truth, *[4 * truth - 2] * labels], 1)
        return {"image": torch.rand(1, 1, 6, 6), "label": truth, "pred": logits}

    engine = Engine(step)
    engine.state.metrics = {"val_mean_dice": 0.75}
    engine.state.key_metric_name, engine.state.best_metric, engine.state.best_metric_epoch = "val_mean_dice", 0.75, 1
    return engine


def write_run(folder: Path, *, learning_rate: float) -> None:
    """A run of one epoch as the trainer's handler writes it."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    image = torch.rand(2, 1, 6, 6)
    engine = Engine(lambda *_: {"loss": torch.tensor(0.5), "image": image})
    engine.network = network  # type: ignore[attr-defined]
    engine.optimizer = SimpleNamespace(param_groups=[{"lr": learning_rate}])  # type: ignore[attr-defined]
    evaluator = validation_of(1)
    board = Board(
        run_dir=str(folder), evaluator=evaluator, labels={"1": "lung"}, settings={"learning_rate": learning_rate}
    )
    cases = [{"id": ["one"]}, {"id": ["two"]}]

    @engine.on(Events.EPOCH_COMPLETED)
    def validate(_: Engine) -> None:
        kept = dict(evaluator.state.metrics)
        evaluator.run(cases)
        evaluator.state.metrics = kept

    board.attach(engine)
    engine.run([0], max_epochs=1)


def test_a_disk_that_is_full_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("threading.excepthook", lambda _: None)  # TensorBoard's thread ends by it
    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    with pytest.raises(TrainingError, match=r"run/tensorboard could not be written; got .*No space left"):
        write_run(tmp_path / "run", learning_rate=0.1)


def get(address: str, path: str, content: object = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{address}data/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, rate in (("first", 0.1), ("deep/second", 0.2)):
        write_run(folder / name, learning_rate=rate)
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """The command as a user gives it, until Ctrl-C: TensorBoard leaves files open that a test would complain of."""
    command = [sys.executable, "-m", "medseg.cli", "tensorboard", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            at = re.search(r"http://\S+", said)
            assert at is not None, said
            deadline = time.monotonic() + 60
            while len(get(at[0], "runs")) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            yield at[0]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def _heed_ctrl_c() -> None:
    """A shell has what it runs in the background ignore Ctrl-C, and that is inherited: the tests, too, may run so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_one_run_of_a_folder_is_opened_itself(runs: Path) -> None:
    assert log_folder(runs / "first") == (runs / "first" / "tensorboard", 1)
    assert log_folder(runs / "first" / "tensorboard") == (runs / "first" / "tensorboard", 1)


def test_of_several_runs_the_folder_above_is_opened(runs: Path) -> None:
    assert log_folder(runs) == (runs, 2)


def test_a_folder_without_runs_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no TensorBoard files.*medseg train"):
        log_folder(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        log_folder(tmp_path / "absent")


def test_both_runs_are_shown_with_their_curves(address: str) -> None:
    tags = get(address, "plugin/scalars/tags")
    assert set(tags) == {"first/tensorboard", "deep/second/tensorboard"}
    for run in tags.values():
        assert {"train/loss", "train/learning_rate", "validation/val_mean_dice", "final/best"} <= set(run)


@pytest.mark.parametrize(("plugin", "tag"), [("images", "validation/one"), ("pr_curves", "pr/lung")])
def test_pictures_and_curves_are_served(address: str, plugin: str, tag: str) -> None:
    assert tag in get(address, f"plugin/{plugin}/tags")["first/tensorboard"]


def test_a_perfect_prediction_has_a_perfect_curve(address: str) -> None:
    run = "first/tensorboard"
    (point,) = get(address, f"plugin/pr_curves/pr_curves?run={run}&tag=pr/lung")[run]
    assert min(point["precision"][10:100]) == 1.0
    assert min(point["recall"][:100]) == 1.0


def test_the_graph_is_served(address: str) -> None:
    assert get(address, "plugin/graphs/info")["first/tensorboard"]["tags"]
    path = f"{address}data/plugin/graphs/graph?run=first/tensorboard&conceptual=false"
    with urllib.request.urlopen(path, timeout=20) as answer:
        assert b"Conv2d" in answer.read()


def test_runs_are_compared_by_settings_and_final_scores(address: str) -> None:
    asked = {"experimentName": "", "startIndex": 0, "sliceSize": 10, "colParams": []}
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    groups = get(address, "plugin/hparams/session_groups", {**asked, "allowedStatuses": statuses})["sessionGroups"]
    rates = {group["name"]: group["hparams"]["learning_rate"] for group in groups}
    assert rates == {"first/tensorboard": 0.1, "deep/second/tensorboard": 0.2}
    for group in groups:
        scores = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
        assert scores["final/val_mean_dice"] == 0.75


def test_it_listens_on_this_machine_only(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")


def test_a_taken_port_is_told_with_what_to_do(runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "medseg.cli", "tensorboard", str(runs), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1, port {port}" in done.stderr
    assert "another --port" in done.stderr


def test_an_address_of_another_machine_is_told_with_what_to_do(runs: Path) -> None:
    """192.0.2.0/24 is for documentation (RFC 5737): no machine has it."""
    command = [sys.executable, "-m", "medseg.cli", "tensorboard", str(runs), "--host", "192.0.2.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error: TensorBoard cannot listen at 192.0.2.1; expected a name or an address of this machine" in done.stderr
