"""What a crop gives away: the Dice of an ellipsoid that fills the crop but for a margin and never looks at the image.

python benchmarks/crop_prior.py --datalist FILE [--margin-mm 51] [--publish]

Images cropped at a fixed distance round what is to be found tell its place and size. The sarcomas in CT of the data
set are such crops: all but at the ends of a scan 51 mm round the tumour. FILE is a data list of volumes, such as the
folds/raced.json that time_to_accuracy.py writes; its test part gets a row of its own. Where the crop ends sooner, at
the end of a scan, the ellipsoid is as wrong as it comes: such cases have a row of their own, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import nibabel
import numpy as np
from measure import Table, ends, publish
from numpy.typing import NDArray

from medseg.datasets import load_datalist
from medseg.evaluation import spread

PARTS = ("training", "validation", "test")


def ellipsoid(shape: Sequence[int], spacing_mm: Sequence[float], *, margin_mm: float) -> NDArray[np.bool_]:
    """Mask ``(X, Y, Z)``: the voxels within the ellipsoid whose box lies `margin_mm` inside the grid's on all sides."""
    inside = np.zeros(tuple(shape), dtype=np.float64)
    for axis, (count, step) in enumerate(zip(shape, spacing_mm, strict=True)):
        half = max(count * step / 2 - margin_mm, step / 2)
        along = (np.arange(count) - (count - 1) / 2) * step / half
        inside += (along**2).reshape([-1 if other == axis else 1 for other in range(3)])
    return inside <= 1


def dice(case: Mapping[str, Any], *, margin_mm: float) -> float:
    """Of the ellipsoid and all labels of a case together: 2 |A and B| / (|A| + |B|)."""
    stored = nibabel.load(case["label"])
    truth = np.asanyarray(stored.dataobj) > 0
    guess = ellipsoid(truth.shape, [float(step) for step in stored.header.get_zooms()[:3]], margin_mm=margin_mm)
    return float(2 * (guess & truth).sum() / (guess.sum() + truth.sum()))


def cut_short(case: Mapping[str, Any], *, margin_mm: float) -> bool:
    """Whether the image ends more than two voxels nearer to the labels than the margin, on any side."""
    stored = nibabel.load(case["label"])
    truth = np.asanyarray(stored.dataobj) > 0
    for axis, step in enumerate(stored.header.get_zooms()[:3]):
        held = np.flatnonzero(truth.any(axis=tuple(other for other in range(3) if other != axis)))
        nearest = min(held[0], truth.shape[axis] - 1 - held[-1])
        if nearest * step < margin_mm - 2 * step:
            return True
    return False


def main(options: argparse.Namespace) -> None:
    """A row over all cases, a row over those of the test part."""
    table = Table(
        f"An ellipsoid {options.margin_mm:g} mm inside the borders of the image",
        ["cases", "number", "mean Dice", "95 % interval", "median", "worst"],
    )
    cases = {part: load_datalist(options.datalist, part) for part in PARTS}
    everything = [case for part in PARTS for case in cases[part]]
    ended = [case for case in everything if cut_short(case, margin_mm=options.margin_mm)]
    for name, chosen in (("all", everything), ("test part", cases["test"]), ("cut short by the scan's end", ended)):
        values = [dice(case, margin_mm=options.margin_mm) for case in chosen]
        found = spread(values, patients=[case["patient"] for case in chosen])
        row = [name, len(values), f"{found['mean']:.4f}", ends(found["mean_ci95"])]
        table.rows.append([*row, f"{median(values):.4f}", f"{min(values):.4f}"])
    if options.publish:
        publish("crop_prior", [table], settings={"margin_mm": options.margin_mm})
    else:
        print(table.markdown())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--margin-mm", type=float, default=51.0)
    parser.add_argument("--publish", action="store_true")
    main(parser.parse_args())
