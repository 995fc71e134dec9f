"""How long stage one of `medseg bundle check` takes in a fresh process, with and without the index of signatures.

    python benchmarks/bundle_check.py [--runs 5]

For each bundle that ships: wall and processor seconds of a new Python that imports the check and checks all commands of
the bundle, with an empty cache folder ("cold") and with the one that the run before has left ("warm"). Beside it what
`import monai.bundle` alone takes, which any check through MONAI pays first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK = """
import time; start, busy = time.perf_counter(), time.process_time()
from medseg.bundle.check import check_static
from medseg.bundle.locate import find_bundle
import sys
found = check_static(find_bundle(sys.argv[1]))
assert not {"torch", "monai"} & set(sys.modules)
print(time.perf_counter() - start, time.process_time() - busy, len(found))
"""
IMPORT = """
import time; start, busy = time.perf_counter(), time.process_time()
import monai.bundle
print(time.perf_counter() - start, time.process_time() - busy, 0)
"""
BUNDLES = ("ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus")


def seconds(code: str, cache: str, *arguments: str) -> tuple[float, float, int]:
    """Wall and processor seconds of a fresh process, and what it found."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    wall, busy, found = done.stdout.split()[-3:]
    return float(wall), float(busy), int(found)


def measure(bundle: str, runs: int) -> dict[str, float | int]:
    """Medians over `runs` of both states of the cache."""
    cold, warm, found = [], [], 0
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(CHECK, cache, bundle)[:2])
            *times, found = seconds(CHECK, cache, bundle)
            warm.append(times)
    result: dict[str, float | int] = {"findings": found}
    for name, times_of in (("cold", cold), ("warm", warm)):
        result[f"{name}_wall_s"] = round(statistics.median(one[0] for one in times_of), 3)
        result[f"{name}_busy_s"] = round(statistics.median(one[1] for one in times_of), 3)
    return result


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    report = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "bundles": {name: measure(name, arguments.runs) for name in BUNDLES},
        "import_monai_bundle": dict(zip(("wall_s", "busy_s"), seconds(IMPORT, tempfile.gettempdir())[:2], strict=True)),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
