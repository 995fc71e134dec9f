"""Training as a process, killed and stopped from outside at any point: what is on the disk is whole, and goes on."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from training_parts import BUNDLES, assert_same_run, checkpoint, tiny

from medseg.bundle import find_bundle

CHANCE = random.Random(11)
PATIENCE_S = 120.0
EARLY, LATER = (0.05, 0.2), (0.05, 0.9)  # when to kill, in parts of the time of a run that nobody kills
MOMENTS = (EARLY, EARLY, LATER, LATER, LATER)


class Zygote:
    """Children of a process that is ready to train."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        script = str(Path(__file__).with_name("zygote.py"))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, script], stdin=pipe, stdout=pipe, text=True)

    def start(self, words: list[str], **order: Any) -> int:
        self.count += 1
        return self._ask({"words": words, "out": str(self.folder / f"{self.count}.txt"), **order})

    def wait(self, child: int) -> tuple[int, str]:
        """Exit code, and what it said on both its outputs; the last child that was started."""
        code = self._ask({"wait": child})
        return code, (self.folder / f"{self.count}.txt").read_text(encoding="utf-8")

    def _ask(self, order: Mapping[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("said"))
    yield zygote
    assert zygote.process.stdin is not None
    assert zygote.process.stdout is not None
    zygote.process.stdin.close()
    zygote.process.stdout.close()
    zygote.process.wait()


def words(bundle: str, datalist: Path, run: Path) -> list[str]:
    settings = [f"{key}={json.dumps(value)}" for key, value in tiny(bundle).items() if key != "device"]
    return ["train", bundle, "--datalist", str(datalist), "-o", str(run), "--device", "cpu", *settings]


def again(run: Path) -> list[str]:
    return ["train", str(run), "--datalist", str(run / "datalist.json"), "-o", str(run), "--resume"]


def next_words(bundle: str, datalist: Path, run: Path) -> list[str]:
    """As a user would: resume where there is something to resume."""
    return again(run) if (run / "models" / "last.pt").is_file() else words(bundle, datalist, run)


def wait_for(condition: Any, child: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        os.kill(child, 0)
        time.sleep(0.002)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_killed_at_random_points_a_run_ends_with_the_weights_of_one_that_was_not(
    bundle: str, zygote: Zygote, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    run, ends = tmp_path / "run", list[int]()
    began = time.monotonic()
    code, said = zygote.wait(zygote.start(words(bundle, datalists[bundle], tmp_path / "not killed")))
    assert code == 0, said
    whole_s = time.monotonic() - began
    for moment in MOMENTS:
        child = zygote.start(next_words(bundle, datalists[bundle], run))
        time.sleep(whole_s * CHANCE.uniform(*moment))
        os.kill(child, signal.SIGKILL)
        ends.append(zygote.wait(child)[0])
        if 0 in ends:
            break
    else:
        code, said = zygote.wait(zygote.start(next_words(bundle, datalists[bundle], run)))
        assert code == 0, said
    assert ends.count(-signal.SIGKILL) >= 2
    assert_same_run(run, whole_runs[bundle])
    left = sorted(path.name for path in (run / "models").iterdir())
    assert left == ["before_last.pt", "checkpoints.sha256", "last.pt", "model.pt"]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_killed_within_the_writing_of_every_file_in_turn_it_goes_on(
    bundle: str, zygote: Zygote, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    """Of a run, the checkpoint and the best weights of the first epochs, each cut in half as it is written."""
    run, epochs = tmp_path / "run", []
    for number in (1, 2, 3):
        code, said = zygote.wait(zygote.start(next_words(bundle, datalists[bundle], run), die=number))
        assert code == -signal.SIGKILL, said
        epochs.append(checkpoint(run)["epoch"] if (run / "models" / "last.pt").is_file() else 0)
    assert epochs == [0, 1, 2]  # the first has nothing yet; those behind it lose no more than the epoch in hand
    code, said = zygote.wait(zygote.start(next_words(bundle, datalists[bundle], run)))
    assert code == 0, said
    assert_same_run(run, whole_runs[bundle])


def test_sigterm_ends_the_command_with_143_and_the_command_that_goes_on_with_the_same_weights(
    zygote: Zygote, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "a run"  # the command has to quote it
    child = zygote.start(words("mr_hippocampus", datalists["mr_hippocampus"], run))
    wait_for((run / "models" / "last.pt").is_file, child)
    os.kill(child, signal.SIGTERM)
    code, said = zygote.wait(child)
    assert code == 143, said
    assert "stopped by SIGTERM; to go on from its last checkpoint:" in said
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["reason"]) == ("stopped", "stopped by SIGTERM")
    line = next(line for line in said.splitlines() if line.strip().startswith("medseg train"))
    code, said = zygote.wait(zygote.start(shlex.split(line)[1:]))
    assert code == 0, said
    assert_same_run(run, whole_runs["mr_hippocampus"])


def test_sigterm_while_cases_are_read_ends_it_too(zygote: Zygote, datalists: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    child = zygote.start(words("mr_hippocampus", datalists["mr_hippocampus"], run))
    wait_for((run / "configs" / "common.yaml").is_file, child)
    os.kill(child, signal.SIGTERM)
    code, said = zygote.wait(child)
    assert code == 143, said
    assert "stopped by SIGTERM" in said


def test_sigterm_under_monais_own_runner(
    zygote: Zygote, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    run, configs = tmp_path / "run", find_bundle("mr_hippocampus") / "configs"
    order = {
        "run_id": "training",
        "meta_file": str(configs / "metadata.json"),
        "config_file": [str(configs / name) for name in ("common.yaml", "train.yaml")],
        "logging_file": False,
        "datalist": str(datalists["mr_hippocampus"]),
        "run_dir": str(run),
        **tiny("mr_hippocampus"),
    }
    child = zygote.start([], monai=order)
    wait_for((run / "models" / "last.pt").is_file, child)
    os.kill(child, signal.SIGTERM)
    code, said = zygote.wait(child)
    assert code == 143, said
    assert f"medseg train {run} -o {run}" in said
    code, said = zygote.wait(zygote.start([], monai={**order, "resume": True}))
    assert code == 0, said
    assert_same_run(run, whole_runs["mr_hippocampus"])
