"""The scores that a bundle reports: read, written from its README, compared with those of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle.locate import WEIGHTS_FILE
from medseg.errors import BundleError
from medseg.files import sha256_of

SCORES_FILE = Path("models") / "scores.json"
README_FILE = Path("docs") / "README.md"
BEGIN, END = "<!-- scores: written by pipelines/ship_weights.py -->", "<!-- end of scores -->"
ROUNDING = 5e-5
"""Half of the last digit that scores are reported with."""

_ROW = re.compile(r"^\| (?P<cells>.+) \|$", re.MULTILINE)
_DICE = re.compile(r"(?P<mean>[\d.]+) \[(?P<low>[\d.]+), (?P<high>[\d.]+)\]")
_CASES = re.compile(r"scored as such on the (\d+) test cases")
_SEED = re.compile(r"split by patient, seed (\d+)")


@dataclass(frozen=True)
class Reproduced:
    """A region's mean Dice as reported, with its 95 % interval, and as measured, each with its number of cases."""

    region: str
    reported: float
    low: float
    high: float
    measured: float | None
    cases: int
    reported_cases: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the measured mean lies in the reported interval, digits that were rounded away left aside."""
        return self.measured is not None and self.low - ROUNDING <= self.measured <= self.high + ROUNDING


def read_scores(bundle: Path, *, current: bool = True) -> dict[str, Any] | None:
    """The content of models/scores.json; None where the bundle reports no scores.

    Raises
    ------
    BundleError
        The file is damaged, or, with `current`, speaks of other weights than those that are there.
    """
    path = bundle / SCORES_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted, regions = content["weights_sha256"], content["regions"]
        assert isinstance(regions, dict)
    except (ValueError, KeyError, AssertionError) as error:
        raise BundleError(f"{path} is damaged", got=repr(error)) from error
    if current and (bundle / WEIGHTS_FILE).is_file() and sha256_of(bundle / WEIGHTS_FILE) != wanted:
        raise BundleError(f"{path} speaks of other weights", got=wanted, expected=f"the sha256 of {WEIGHTS_FILE}")
    return content


def scores_of_readme(bundle: Path) -> dict[str, Any]:
    """What models/scores.json has to say, taken from the table in docs/README.md: one truth, two readers.

    Raises
    ------
    BundleError
        The README has no such table.
    """
    text = (bundle / README_FILE).read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in row["cells"].split(" | ")] for row in _ROW.finditer(text)]
    cases, seed = _CASES.search(text), _SEED.search(text)
    if len(rows) < 2 or cases is None or seed is None:
        raise BundleError(f"{bundle / README_FILE}: no table of scores", expected=f"one between {BEGIN} and {END}")
    return {
        "weights_sha256": sha256_of(bundle / WEIGHTS_FILE),
        "part": "test",
        "cases": int(cases[1]),
        "split_seed": int(seed[1]),
        "regions": {row[0]: _region(row) for row in rows if _DICE.fullmatch(row[1])},
    }


def _region(row: list[str]) -> dict[str, Any]:
    dice = _DICE.fullmatch(row[1])
    assert dice is not None  # the caller has seen to it
    named = zip(("iou", "precision", "recall"), row[4:7], strict=True)
    return {
        "dice": {
            "mean": float(dice["mean"]),
            "mean_ci95": [float(dice["low"]), float(dice["high"])],
            "median": float(row[2]),
            "min": float(row[3]),
        },
        **{name: {"mean": float(value)} for name, value in named},
    }


def write_scores(bundle: Path) -> Path:
    """Write models/scores.json from the table in docs/README.md, and return its path."""
    path = bundle / SCORES_FILE
    path.write_text(json.dumps(scores_of_readme(bundle), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def compare_scores(reported: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Reproduced]:
    """Each reported region beside what a run measured.

    Parameters
    ----------
    reported
        Content of models/scores.json.
    summary
        Content of the run's summary.json.
    """
    found = []
    for region, scores in reported["regions"].items():
        measured = summary["regions"].get(region, {}).get("dice")
        low, high = scores["dice"]["mean_ci95"]
        mean = None if measured is None else measured["mean"]
        cases = 0 if measured is None else measured["n"]
        found.append(Reproduced(region, scores["dice"]["mean"], low, high, mean, cases, reported.get("cases")))
    return found
