"""A folder of CTs with one and with several cases in flight: time per case, and how much of the work overlaps.

python benchmarks/folder.py [--cases 20] [--jobs 1 2] [--runs 3] [--seed 0] [--device cpu]

CT phantoms through ct_lung by what `medseg predict` calls, in one process after a warm-up, one number of jobs after the
other, again and again. Stages of a case (read, network, restore, postprocess, write) are timed in its manifest; what
they add up to beyond the time by the clock ran beside something else. Loading the model, measured with a folder of one
case, is left out of the overlap.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from measure import Table, median, publish, skip
from runs import Run, make_phantoms, predict_here


def main(*, cases: int, jobs: list[int], runs: int, seed: int, device: str) -> None:
    """Print and write the table."""
    found: dict[int, list[Run]] = {each: [] for each in jobs}
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make_phantoms(folder / "phantoms", cases=cases, seed=seed, kind="ct")
        first = min(images.iterdir())
        predict_here("ct_lung", first, folder / "warm-up", jobs=1, device=device)
        for run in range(runs):
            alone = predict_here("ct_lung", first, folder / f"one{run}", jobs=1, device=device)
            starts.append(alone.seconds - sum(alone.stages.values()))
            for each in jobs:
                output = folder / f"run{run}-jobs{each}"
                found[each].append(predict_here("ct_lung", images, output, jobs=each, device=device))
    publish(f"folder_{device.replace(':', '')}", [_table(found, median(starts), cases)], settings={"seed": seed})


def _table(found: dict[int, list[Run]], start: float, cases: int) -> Table:
    columns = ["jobs", "s per case (median)", "whole folder, s", "stages, s in all", "share of overlap", "times 1 job"]
    table = Table(f"A folder of {cases} CTs", columns)
    base = None
    for jobs, runs in found.items():
        folder = median([run.seconds for run in runs])
        work = median([sum(run.stages.values()) for run in runs])
        clock = folder - start
        base = base or folder
        overlap = max(0.0, 1 - clock / work)
        table.rows.append([jobs, folder / cases, folder, work, f"{overlap:.0%}", base / folder])
    table.notes.append(f"loading the model, of that: {start:.2f} s")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        skip("no GPU on this machine")
    main(cases=given.cases, jobs=given.jobs, runs=given.runs, seed=given.seed, device=given.device)
