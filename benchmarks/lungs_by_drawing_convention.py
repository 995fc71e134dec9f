"""Scores of the X-ray bundle with and without the cases whose truth is drawn through the heart.

medseg evaluate cxr_heart_lung --datalist DATALIST.json -o SCORES
python benchmarks/lungs_by_drawing_convention.py cases.csv SCORES/scores.csv [more scores.csv] [--without CASE ...]

cases.csv (of the data set Extended Wingspan) holds `file` and `heart_under_lung_frac`, the part of the heart's mask
that lies under the lungs' masks: above 0.1 the lung was drawn through the heart, which is another convention. Several
tables, as of the folds of a cross-validation, count as one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

from medseg.evaluation import spread
from medseg.evaluation.bootstrap import interval_text

OTHER_CONVENTION = 0.1


def under_lung(cases: Path) -> dict[str, float]:
    """Of each case of cases.csv the part of the heart's mask that lies under the lungs'."""
    with cases.open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).stem: float(row["heart_under_lung_frac"]) for row in csv.DictReader(file)}


def rows_of(tables: Iterable[Path]) -> list[dict[str, str]]:
    """The rows of all tables."""
    rows: list[dict[str, str]] = []
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows


def main() -> None:
    """Print mean Dice and IoU of both lungs together and of the heart: all cases, and those of the usual convention."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="cases.csv")
    parser.add_argument("scores", type=Path, nargs="+", help="scores.csv")
    parser.add_argument("--without", action="append", default=[], metavar="CASE", help="a case to leave out as well")
    options = parser.parse_args()

    under, rows = under_lung(options.cases), rows_of(options.scores)
    through = {row["case"] for row in rows if under[row["case"]] > OTHER_CONVENTION}
    print("drawn through the heart:", ", ".join(sorted(through)) or "none")
    groups = {"all": set(), "usual convention": through}
    if options.without:
        groups["without " + ", ".join(options.without)] = {*options.without}
        groups["without both"] = through | {*options.without}
    for region in ("lungs", "heart"):
        for name, left_out in groups.items():
            chosen = [row for row in rows if row["region"] == region and row["case"] not in left_out]
            dice, iou = (spread([float(row[metric]) for row in chosen]) for metric in ("dice", "iou"))
            interval = interval_text(dice["mean_ci95"])
            told = f"n {dice['n']}, Dice {dice['mean']:.4f} {interval}, IoU {iou['mean']:.4f}"
            print(f"{region}, {name}: {told}")


if __name__ == "__main__":
    main()
