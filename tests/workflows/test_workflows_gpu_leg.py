"""pipelines/gpu_leg.py from the command line: legs that go on with each other, however each of them ends.

Each is run where nothing is installed but what training needs.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from medseg.datasets import load_datalist
from medseg.errors import DataError
from medseg.evaluation.table import read_scores
from medseg.workflows import train

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines" / "gpu_leg.py"
LEAN = Path(__file__).resolve().parents[1] / "training" / "lean_packages.py"
SMALL: Mapping[str, Any] = {"epochs": 9, "precision": "fp32", "window": [16, 16, 16], "network_def::dropout": 0.1}
PATIENCE_S = 300.0


def words(volumes: Path, out: Path, *more: object, **changes: Any) -> list[str]:
    settings = [f"{name}={json.dumps(value)}" for name, value in {**SMALL, **changes}.items()]
    given = (SCRIPT, "mr_hippocampus", "--datalist", volumes, "-o", out, "--overlay", "smoke", *more)
    return [sys.executable, *map(str, given), *settings]


def lean(given: list[str]) -> list[str]:
    """The same, where little is installed."""
    return [given[0], str(LEAN), *given[1:]]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "CUDA_VISIBLE_DEVICES": ""}


def leg(volumes: Path, out: Path, *more: object, **changes: Any) -> subprocess.CompletedProcess[str]:
    given = lean(words(volumes, out, *more, **changes))
    return subprocess.run(given, capture_output=True, text=True, check=False, env=environment())


def last_line(out: Path) -> str:
    return (out / "log.txt").read_text(encoding="utf-8").splitlines()[-1]


def packed(out: Path, name: str, folder: Path) -> Path:
    """A file of the run that a leg has left."""
    whole = folder / "run.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in sorted(out.glob("run.tar.*"))))
    with tarfile.open(whole) as archive:
        archive.extractall(folder / "run", filter="data")
    return folder / "run" / name


def same_weights(one: Path, two: Path) -> bool:
    first, second = (torch.load(path, weights_only=True) for path in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one uninterrupted training."""
    run = tmp_path_factory.mktemp("whole") / "run"
    changes = {**SMALL, "device": "$torch.device('cpu')"}
    return train("mr_hippocampus", datalist=volumes, run_dir=run, overlays=["smoke"], overrides=changes)


@pytest.fixture(scope="module")
def legs(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three legs: over after an epoch, ended by SIGTERM behind that one, run to the end."""
    folder = tmp_path_factory.mktemp("legs")
    first = leg(volumes, folder / "1", "--minutes", "0")
    assert first.returncode == 0, first.stdout + first.stderr
    slow = words(volumes, folder / "2", "--before", folder / "1")
    with subprocess.Popen(
        lean(slow), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as second:
        until_resumed(second, folder / "2" / "log.txt")
        second.send_signal(signal.SIGTERM)
        said, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 143, said
    third = leg(volumes, folder / "3", "--before", folder / "2")
    assert third.returncode == 0, third.stdout + third.stderr
    return folder


def until_resumed(process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (log.is_file() and "resumed after epoch 1" in log.read_text(encoding="utf-8")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_legs_end_in_the_weights_of_one_uninterrupted_run_bit_for_bit(legs: Path, whole: Path, tmp_path: Path) -> None:
    assert same_weights(legs / "3" / "model.pt", whole / "models" / "model.pt")
    states = [
        torch.load(path, weights_only=True)
        for path in (packed(legs / "3", "models/last.pt", tmp_path), whole / "models" / "last.pt")
    ]
    assert states[0]["epoch"] == states[1]["epoch"] == 9
    assert all(torch.equal(value, states[1]["network"][name]) for name, value in states[0]["network"].items())


def test_a_leg_leaves_small_files_and_says_how_far_it_is(legs: Path, volumes: Path) -> None:
    files = {number: {path.name for path in (legs / number).iterdir()} for number in "123"}
    for number in "12":
        assert {"run.tar.00", "log.txt", "history.csv"} <= files[number]
        assert "scores.csv" not in files[number]
    assert files["3"] == {"run.tar.00", "model.pt", "log.txt", "history.csv", "scores.csv", "summary.json"}
    assert all(path.stat().st_size < 16e6 for path in legs.rglob("*"))
    assert {row.case for row in read_scores(legs / "3")} == {case["id"] for case in load_datalist(volumes, "test")}
    assert "epoch 1 of 9, " in last_line(legs / "1")
    assert last_line(legs / "1").endswith(f"; not finished, the next leg: --before {legs / '1'}")
    why = "(stopped by SIGTERM|not finished)"  # the signal may come before the first step
    assert re.search(rf"; {why}, the next leg: --before {re.escape(str(legs / '2'))}$", last_line(legs / "2"))
    assert last_line(legs / "3").endswith("; finished")
    log = (legs / "3" / "log.txt").read_text(encoding="utf-8")
    assert "--resume" not in log  # of a folder that is gone
    assert last_line(legs / "1") in log


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script in this process."""
    spec = importlib.util.spec_from_file_location("gpu_leg", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    monkeypatch.setattr(found, "log_to", lambda path: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return found


def run_here(script: ModuleType, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", given[1:])
    return script.main()


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--datalist", "none.json"], "none.json cannot be read; got"), (["epochs"], "wrong override; got 'epochs'")],
    ids=["datalist", "override"],
)
def test_a_wrong_input_is_one_line_and_exit_code_2(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    volumes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    more: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_here(script, monkeypatch, [*words(volumes, tmp_path / "out"), *more]) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert message in caplog.text
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_that_could_not_be_scored_is_left_for_another_leg(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    volumes: Path,
    whole: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "before").mkdir()
    script.pack(whole, tmp_path / "before")
    monkeypatch.setattr("medseg.workflows.evaluate", fail)
    assert run_here(script, monkeypatch, words(volumes, tmp_path / "out", "--before", tmp_path / "before")) == 130
    assert f"trained and not scored: another leg with --before {tmp_path / 'out'} scores it" in caplog.text
    assert same_weights(tmp_path / "out" / "model.pt", whole / "models" / "model.pt")


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)],
    ids=["Ctrl-C", "disk full"],
)
def test_a_leg_that_ends_in_an_error_leaves_its_last_checkpoint(
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    volumes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    code: int,
) -> None:
    """The second epoch's checkpoint is not written: what is packed is the first one's."""
    from medseg.training import checkpoints

    save = checkpoints.save_checkpoint

    def fail(state: Mapping[str, Any], folder: Path) -> None:
        if state["epoch"] == 2:
            raise error
        save(state, folder)

    monkeypatch.setattr(checkpoints, "save_checkpoint", fail)
    with caplog.at_level(logging.INFO, "medseg"):
        assert (
            run_here(script, monkeypatch, words(volumes, tmp_path / "out", device="$torch.device('cpu')", epochs=3))
            == code
        )
    last = packed(tmp_path / "out", "models/last.pt", tmp_path)
    assert torch.load(last, weights_only=True)["epoch"] == 1
    assert f"the next leg: --before {tmp_path / 'out'}" in caplog.messages[-1]


def test_a_run_is_packed_in_parts_and_unpacked_whole_or_not(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    for folder in (run / "models", out, tmp_path / "next", tmp_path / "broken"):
        folder.mkdir(parents=True)
    torch.save({"weight": torch.rand(30_000)}, run / "models" / "model.pt")
    for name in ("last.pt", "before_last.pt", ".lock", ".0123abcd.tmp.last.pt"):
        (run / "models" / name).write_bytes(name.encode() * 3000)
    monkeypatch.setattr(script, "MOST_BYTES", 50_000)
    script.pack(run, out)
    parts = sorted(path.name for path in out.glob("run.tar.*"))
    assert len(parts) > 2
    assert all((out / name).stat().st_size == 50_000 for name in parts[:-1])
    assert f"{out / 'model.pt'} has 0.1 MB even in float16" in caplog.text
    script.unpack(out, tmp_path / "next" / "run", out=tmp_path)
    assert sorted(path.name for path in (tmp_path / "next" / "run" / "models").iterdir()) == ["last.pt", "model.pt"]
    with pytest.raises(DataError, match="--before and -o are one folder"):
        script.unpack(out, tmp_path / "again", out=out)
    for lost in (parts[-1], parts[1]):
        (out / lost).rename(tmp_path / lost)
        with pytest.raises(
            DataError, match=r"no whole run; got run\.tar\.00, .*; expected all parts that the leg left"
        ):
            script.unpack(out, tmp_path / "broken" / "run", out=tmp_path)
        (tmp_path / lost).rename(out / lost)


def test_a_leg_before_that_left_no_run_is_told_of(
    script: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script.unpack(tmp_path / "nothing", tmp_path / "run", out=tmp_path)
    assert f"--before {tmp_path / 'nothing'} holds no run.tar.00: this leg starts at epoch 1" in caplog.text
