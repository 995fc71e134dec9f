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

CASES = 24
PATIENCE_S = 120.0


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


def test_runs_killed_at_random_lose_and_duplicate_nothing(run: Path, images: Path, tmp_path: Path) -> None:
    out, chance, known = tmp_path / "out", random.Random(7), dict[str, int]()
    for _ in range(3):
        with started(command(run, images, out)) as process:
            wait_for(len(known) + chance.randrange(1, 6), out, process)
            time.sleep(chance.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
        check_whole(out)
        times = {name: (out / name).stat().st_mtime_ns for name in manifests(out)}
        assert known.items() <= times.items()  # what one run had done the next leaves alone
        known = times
    done = subprocess.run(command(run, images, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = report(out)["cases"]
    assert [case["id"] for case in cases] == [f"case_{i:02}" for i in range(CASES)]
    assert {case["status"] for case in cases} == {"done"}
    assert sum(case["resumed"] for case in cases) == len(known)
    names = {f"case_{i:02}{end}" for i in range(CASES) for end in (".nii.gz", "_preview.png", "_manifest.json")}
    assert {path.name for path in out.iterdir()} == names | {"report.json"}
    check_whole(out)
    twins = [(out / f"case_{i:02}.nii.gz").read_bytes() for i in (0, 6, 12, 18)]  # of one image
    assert len(set(twins)) == 1


def test_sigterm_ends_the_command_with_a_message_and_its_code(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(command(run, images, out)) as process:
        wait_for(2, out, process)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=PATIENCE_S)[1]
        seconds = time.monotonic() - asked
    assert (process.returncode, seconds < 5) == (128 + signal.SIGTERM, True)
    written = report(out)
    assert written["stopped"] == "stopped by SIGTERM"
    assert f"stopped by SIGTERM: {written['done']} of {CASES} cases done" in error
    assert written["done"] + written["not_done"] == CASES
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    check_whole(out)
