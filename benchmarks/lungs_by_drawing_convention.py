"""Lung scores of the X-ray bundle with and without the cases whose truth is drawn through the heart.

medseg evaluate cxr_heart_lung --datalist DATALIST.json -o SCORES
python benchmarks/lungs_by_drawing_convention.py SCORES/scores.csv cases.csv

cases.csv (of the data set Extended Wingspan) holds `file` and `heart_under_lung_frac`, the part of the heart's mask
that lies under the lungs' masks: above 0.1 the lung was drawn through the heart, which is another convention.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from medseg.evaluation import spread

OTHER_CONVENTION = 0.1


def under_lung(cases: Path) -> dict[str, float]:
    """Of each case of cases.csv the part of the heart's mask that lies under the lungs'."""
    with cases.open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).stem: float(row["heart_under_lung_frac"]) for row in csv.DictReader(file)}


def main(scores: str, cases: str) -> None:
    """Print mean Dice and IoU of both lungs together, over all cases and over those of the usual convention."""
    under = under_lung(Path(cases))
    with Path(scores).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["region"] == "lungs"]
    usual = [row for row in rows if under[row["case"]] <= OTHER_CONVENTION]
    print("drawn through the heart:", ", ".join(row["case"] for row in rows if row not in usual) or "none")
    for name, chosen in (("all", rows), ("usual convention", usual)):
        dice, iou = (spread([float(row[metric]) for row in chosen]) for metric in ("dice", "iou"))
        low, high = dice["mean_ci95"]
        print(f"{name}: n {dice['n']}, Dice {dice['mean']:.4f} [{low:.4f}, {high:.4f}], IoU {iou['mean']:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
