"""What all benchmarks share: the machine, interleaved repetitions, and tables for the screen, for JSON and for docs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("medseg", "torch", "monai", "numpy", "SimpleITK", "openvino", "onnxruntime")
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass
class Table:
    """One table of results.

    Attributes
    ----------
    title
        What was measured.
    columns
        Headings.
    rows
        One cell for each heading.
    notes
        Sentences below the table.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table with its title and notes."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])


def publish(name: str, tables: Sequence[Table], *, settings: Mapping[str, object]) -> None:
    """Print the tables and write them to benchmarks/results/`name`.md and .json, with the machine and the settings."""
    about = {**machine(), **{key: str(value) for key, value in settings.items()}}
    text = "\n".join(table.markdown() for table in tables) + "\n" + "; ".join(f"{k} {v}" for k, v in about.items())
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    content = {"about": about, "tables": [vars(table) for table in tables]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """CPU with the features that matter here, cores, memory, versions, date."""
    import torch

    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu_model(),
        "features": " ".join(f for f in CPU_FEATURES if f in _cpu_flags()),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def interleaved(ways: Mapping[str, Callable[[], object]], *, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each way, after one that is not counted: one way after the other, again and again.

    What slows the machine down for a while slows all ways down alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if run:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(seconds)


def ends(interval: Sequence[float] | None, form: str = ".4f") -> str:
    """An interval in a table; in words where there is none, of one patient."""
    return " to ".join(f"{end:{form}}" for end in interval or ()) or "one patient"


def in_fresh_process(script: Path, *arguments: object) -> dict[str, Any]:
    """What a script prints as the last line of its standard output, as JSON, run by this Python."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} {arguments}: exit {done.returncode}\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def peak_memory_gib() -> float:
    """Of this process since it began, from proc(5): getrusage counts the process that started this one, too."""
    lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def reference_images() -> Path:
    """MEDSEG_DATA, or shared/data beside the checkout, as the tests have it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("MEDSEG_DATA", default))


def skip(reason: str) -> None:
    """End the script with one plain line."""
    print(f"skipped: {reason}")
    raise SystemExit(0)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def _cpu_info(key: str) -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _cpu_model() -> str:
    return _cpu_info("model name") or platform.processor()


def _cpu_flags() -> set[str]:
    return set(_cpu_info("flags").split())
