"""`medseg predict` on a folder, as a command from its start to its end or in this process, and what manifests tell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = Path(sys.executable).with_name("medseg")


@dataclass(frozen=True)
class Run:
    """One run of the command: seconds by the clock, the sum of its cases' stages by name, and its peak memory."""

    seconds: float
    cases: int
    stages: dict[str, float]
    peak_gib: float


def make_phantoms(folder: Path, *, cases: int, seed: int, kind: str) -> Path:
    """The folder of the images."""
    options = ["--cases", str(cases), "--seed", str(seed), "--kind", kind, "--quiet"]
    subprocess.run([str(COMMAND), "data", "phantom", "-o", str(folder), *options], check=True)
    return folder / "images"


def predict(bundle: str, inputs: Path, output: Path, options: Sequence[str] = ()) -> Run:
    """Run the command in a process of its own."""
    command = [str(COMMAND), "predict", bundle, "-i", str(inputs), "-o", str(output), "--quiet", *options]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return _told(output, time.perf_counter() - started)


def predict_here(bundle: str, inputs: Path, output: Path, *, jobs: int, device: str) -> Run:
    """The same in this process: without imports, with loading the model."""
    from medseg.workflows.predict import CaseOptions, predict

    started = time.perf_counter()
    predict(bundle, inputs=inputs, output_dir=output, options=CaseOptions(jobs=jobs, device=device))
    return _told(output, time.perf_counter() - started)


def _told(output: Path, seconds: float) -> Run:
    stages: dict[str, float] = {}
    peak_bytes = 0
    manifests = list(output.glob("*_manifest.json"))
    for path in manifests:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        peak_bytes = max(peak_bytes, manifest["peak_memory_bytes"]["process"])
        for stage, spent in manifest["seconds"].items():
            stages[stage] = stages.get(stage, 0.0) + spent
    return Run(seconds, len(manifests), stages, peak_bytes / 2**30)
