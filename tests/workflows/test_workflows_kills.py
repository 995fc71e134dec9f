"""The command itself, killed and stopped from outside: no half file, nothing lost, nothing done twice."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import pytest

from medseg.datasets import load_datalist
from medseg.workflows import CaseOptions, predict

CASES = 24
PATIENCE_S = 120.0
CHANCE = random.Random(7)


@pytest.fixture(scope="module")
def images(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen small volumes."""
    folder = tmp_path_factory.mktemp("many")
    known = [case["image"] for part in ("training", "validation", "test") for case in load_datalist(volumes, part)]
    for i in range(CASES):
        shutil.copy(known[i % len(known)], folder / f"case_{i:02}.nii.gz")
    return folder


def command(run: Path, images: Path, out: Path) -> list[str]:
    words = ["predict", str(run), "-i", str(images), "-o", str(out), "--device", "cpu", "--resume"]
    return [sys.executable, "-m", "medseg.cli", *words]


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A running command, ended in any case."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def manifests(out: Path) -> set[str]:
    return {path.name for path in out.glob("*_manifest.json")}


def wait_for(count: int, out: Path, process: subprocess.Popen[str]) -> None:
    """Until so many cases are done; the process must not end before."""
    deadline = time.monotonic() + PATIENCE_S
    while len(manifests(out)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def report(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return content


def check_whole(out: Path) -> None:
    """Whatever has its final name is a whole file."""
    for path in out.glob("case_??.nii.gz"):
        assert nibabel.load(path).get_fdata().shape == (20, 20, 20)
    for path in out.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))


def stop_at_random(words: list[str], out: Path, number: signal.Signals, *, done: int) -> tuple[int, str, float]:
    """Start the command, send it a signal when a few more cases than `done` are done; code, messages, seconds."""
    with started(words) as process:
        wait_for(done + CHANCE.randrange(1, 5), out, process)
        time.sleep(CHANCE.uniform(0, 0.05))
        asked = time.monotonic()
        process.send_signal(number)
        error = process.communicate(timeout=PATIENCE_S)[1]
        return process.returncode, error, time.monotonic() - asked


def finished_cases(out: Path) -> dict[str, int]:
    """Manifests and when they were written."""
    return {name: (out / name).stat().st_mtime_ns for name in manifests(out)}


def test_runs_that_are_killed_and_stopped_lose_and_duplicate_nothing(run: Path, images: Path, tmp_path: Path) -> None:
    out, known, words = tmp_path / "out", dict[str, int](), command(run, images, tmp_path / "out")
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        code, error, seconds = stop_at_random(words, out, number, done=len(known))
        check_whole(out)
        assert known.items() <= finished_cases(out).items()  # what one run had done the next leaves alone
        known = finished_cases(out)
        assert code == (-number if number is signal.SIGKILL else 128 + number)
    assert seconds < 5
    written = report(out)
    assert written["stopped"] == "stopped by SIGTERM"
    assert f"stopped by SIGTERM: {written['done']} of {CASES} cases done" in error
    assert written["done"] + written["not_done"] == CASES
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []

    finished = predict(run, inputs=images, output_dir=out, options=CaseOptions(resume=True, device="cpu"))
    assert [case.id for case in finished.cases] == [f"case_{i:02}" for i in range(CASES)]
    assert {case.status for case in finished.cases} == {"done"}
    assert sum(case.resumed for case in finished.cases) == len(known)
    assert known.items() <= finished_cases(out).items()
    names = {f"case_{i:02}{end}" for i in range(CASES) for end in (".nii.gz", "_preview.png", "_manifest.json")}
    logs = {path.name for path in out.glob("log.txt*")}
    assert {path.name for path in out.iterdir()} - logs == names | {"report.json"}
    check_whole(out)
    twins = [(out / f"case_{i:02}.nii.gz").read_bytes() for i in (0, 6, 12, 18)]  # of one image
    assert len(set(twins)) == 1
