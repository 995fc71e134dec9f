"""How time and memory grow with the size of a volume, the number of classes and the number of cases: a plot in docs/.

python benchmarks/growth.py [--quick]          (extra bench: matplotlib)

Volumes and classes: one_volume.py, each in a process of its own, medseg beside MONAI up to what fits the limit of
memory. Cases: `medseg predict ct_lung` on folders of CT phantoms, whole commands. Writes docs/concepts/growth.svg.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from many_classes import volumes_gib, write_noise
from measure import Table, in_fresh_process, publish
from runs import make_phantoms, predict

WORK = Path(__file__).with_name("one_volume.py")
PLOT = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "growth.svg"
LIMIT_GIB = 8.0
CLASSES_OF_SIZES, SIZE_OF_CLASSES = 4, 256


@dataclass(frozen=True)
class Point:
    """One run: what grew, seconds, peak memory (None where the command does not tell it)."""

    side: str
    x: float
    seconds: float
    peak_gib: float | None


def main(*, quick: bool, seed: int) -> None:
    """Measure, print, write and draw."""
    sizes, classes, cases = ([64, 128], [2, 8], [1, 2]) if quick else ([128, 192, 256, 384, 512], [2, 10, 30, 100], [])
    cases = cases or [1, 5, 10, 20]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            f"million voxels, {CLASSES_OF_SIZES} classes": _sizes(folder, sizes, seed),
            f"classes, {SIZE_OF_CLASSES if not quick else sizes[-1]} cubed": _classes(
                folder, classes, sizes[-1] if quick else SIZE_OF_CLASSES, seed
            ),
            "CT phantoms in a folder": _cases(folder, cases, seed),
        }
    tables = []
    for what, points in found.items():
        table = Table(f"Growth with {what}", ["side", what, "seconds", "peak memory, GiB"])
        table.rows += [[p.side, p.x, p.seconds, p.peak_gib if p.peak_gib is not None else ""] for p in points]
        tables.append(table)
    publish("growth", tables, settings={"seed": seed, "limit GiB": LIMIT_GIB})
    draw(found, PLOT)


def _sizes(folder: Path, sizes: Sequence[int], seed: int) -> list[Point]:
    points = []
    for size in sizes:
        image = folder / f"{size}.nii.gz"
        write_noise(image, shape=(size, size, size), seed=seed)
        points += _both(image, size, CLASSES_OF_SIZES, x=size**3 / 1e6)
    return points


def _classes(folder: Path, classes: Sequence[int], size: int, seed: int) -> list[Point]:
    image = folder / "classes.nii.gz"
    write_noise(image, shape=(size, size, size), seed=seed)
    return [point for count in classes for point in _both(image, size, count, x=count)]


def _both(image: Path, size: int, classes: int, *, x: float) -> list[Point]:
    points = []
    for side in ("medseg", "monai"):
        if side == "monai" and volumes_gib((size, size, size), classes) > LIMIT_GIB:
            continue
        done = in_fresh_process(WORK, image, side, classes, LIMIT_GIB)
        if done["fits"]:
            points.append(Point(side, x, done["seconds"], done["peak_gib"]))
    return points


def _cases(folder: Path, cases: Sequence[int], seed: int) -> list[Point]:
    points = []
    for count in cases:
        images = make_phantoms(folder / f"phantoms{count}", cases=count, seed=seed, kind="ct")
        run = predict("ct_lung", images, folder / f"masks{count}")
        points.append(Point("medseg", count, run.seconds, run.peak_gib))
    return points


def draw(found: dict[str, list[Point]], path: Path) -> None:
    """Time above, memory below, one column for each thing that grows."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "medseg"  # the same figures give the same file
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(found), figsize=(4 * len(found), 6), layout="constrained", squeeze=False)
    for column, (what, points) in enumerate(found.items()):
        for side in dict.fromkeys(point.side for point in points):
            own = [point for point in points if point.side == side]
            rows[0][column].plot([p.x for p in own], [p.seconds for p in own], marker="o", label=side)
            rows[1][column].plot([p.x for p in own], [p.peak_gib for p in own], marker="o", label=side)
        for row, label in zip(rows, ("seconds", "peak memory, GiB"), strict=True):
            row[column].set(xlabel=what, ylabel=label, ylim=(0, None), xlim=(0, None))
            row[column].legend()
            row[column].grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small points each, to see that it works")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(quick=given.quick, seed=given.seed)
