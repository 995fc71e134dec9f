"""How far the X-ray bundle's cardiothoracic ratio is from the readers' on the test cases of a datalist.

medseg evaluate cxr_heart_lung --datalist DATALIST.json -o SCORES
python benchmarks/cardiothoracic_ratio.py SCORES/measurements.csv cases.csv

cases.csv (of the data set Extended Wingspan) holds `file` and the readers' ratio `ctr_ground_truth`, empty without one.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from medseg.evaluation import spread
from medseg.evaluation.bootstrap import interval_text


def main(measurements: str, cases: str) -> None:
    """Print the absolute differences of the predicted, and of the true masks' ratio, to the readers'."""
    with Path(cases).open(newline="", encoding="utf-8") as file:
        readers = {Path(row["file"]).stem: row["ctr_ground_truth"] for row in csv.DictReader(file)}
    with Path(measurements).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["measurement"] == "cardiothoracic_ratio"]
    known = [row for row in rows if readers.get(row["case"])]
    print(f"{len(rows)} cases, {len(known)} with a reader's ratio")
    for column in ("predicted", "truth"):
        missing = sum(not row[column] for row in known)
        difference = [abs(float(row[column]) - float(readers[row["case"]])) for row in known if row[column]]
        s = spread(np.array(difference))
        print(
            f"ratio of the {column} masks: mean absolute difference {s['mean']:.4f} {interval_text(s['mean_ci95'])}, "
            f"median {s['median']:.4f}, largest {s['max']:.4f}, without a ratio {missing}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
