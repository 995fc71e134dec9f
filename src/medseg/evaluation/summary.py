"""What many cases say together: centre, spread, worst cases, and how sure the mean is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.evaluation.bootstrap import RESAMPLES, mean_interval
from medseg.evaluation.metrics import METRICS, in_order
from medseg.evaluation.scores import CaseScore
from medseg.files import atomic_write

WORST_CASES = 5


def spread(
    values: Sequence[float] | NDArray[np.floating[Any]], *, patients: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Centre and spread of one number per case.

    Parameters
    ----------
    values
        ``(n,)``.
    patients
        The patient of each case; None: each case is its own.
    seed
        Of the resamples.

    Returns
    -------
    dict
        n, mean, median, sd (of the sample, n - 1; 0 for one case), min, q1, q3, max, and mean_ci95: the 2.5th and
        97.5th percentile of the means of 1000 bootstrap resamples of the patients (`medseg.evaluation.bootstrap`);
        None of one patient, who says nothing of others.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise DataError("nothing to summarise", got="no case", expected="at least one case")
    low, q1, median, q3, high = np.percentile(x, [0, 25, 50, 75, 100])
    return {
        "n": int(x.size),
        "mean": float(x.mean()),
        "median": float(median),
        "sd": float(x.std(ddof=1)) if x.size > 1 else 0.0,
        "min": float(low),
        "q1": float(q1),
        "q3": float(q3),
        "max": float(high),
        "mean_ci95": mean_interval(x, patients=patients, seed=seed),
    }


def summarise(rows: Sequence[CaseScore], *, patients: Mapping[str, str] | None = None, seed: int = 0) -> dict[str, Any]:
    """Summary of the rows of many cases, ready for JSON.

    Every row counts in every mean: scores of empty masks are defined, and how many were empty is stated.

    Parameters
    ----------
    rows
        Of scores.csv.
    patients
        Case to patient, whose cases are drawn together for the intervals; None: each case is its own patient.
    seed
        Of the resamples.

    Returns
    -------
    dict
        ``cases``: number of cases; ``regions``: for each region the `spread` of each score that its rows have,
        ``empty`` with the counts of cases whose truth, prediction or both are empty ("truth" counts those with only
        the truth empty), and ``worst``: the five cases of lowest Dice, lowest first; ``mean_over_regions``: `spread`
        of each case's mean over the regions that have the score, of scores that can be better or worse;
        ``bootstrap``: how the intervals were made.
    """
    by_region: dict[str, list[CaseScore]] = {}
    by_case: dict[str, list[CaseScore]] = {}
    for row in rows:
        by_region.setdefault(row.region, []).append(row)
        by_case.setdefault(row.case, []).append(row)
    of = {case: case for case in by_case} if patients is None else patients
    return {
        "cases": len(by_case),
        "regions": {region: _region_summary(members, of, seed) for region, members in by_region.items()},
        "mean_over_regions": {
            metric: _spread(_means(by_case, metric), of, seed)
            for metric in _names(rows)
            if METRICS[metric].higher_is_better is not None
        },
        "bootstrap": {
            "by": "case" if patients is None else "patient",
            "patients": len({of[case] for case in by_case}),
            "resamples": RESAMPLES,
            "seed": seed,
            "interval": "95 % percentile",
        },
    }


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write a summary as JSON; an existing file is replaced in one step."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _region_summary(rows: Sequence[CaseScore], patients: Mapping[str, str], seed: int) -> dict[str, Any]:
    worst = sorted(rows, key=lambda row: (row.scores["dice"], row.case))[:WORST_CASES]
    return {
        **{metric: _spread(_values(rows, metric), patients, seed) for metric in _names(rows)},
        "empty": {which: sum(row.empty == which for row in rows) for which in ("truth", "prediction", "both")},
        "worst": [{"case": row.case, "dice": row.scores["dice"]} for row in worst],
    }


def _spread(values: Mapping[str, float], patients: Mapping[str, str], seed: int) -> dict[str, Any]:
    return spread(list(values.values()), patients=[patients[case] for case in values], seed=seed)


def _names(rows: Sequence[CaseScore]) -> list[str]:
    return in_order({name for row in rows for name in row.scores})


def _values(rows: Sequence[CaseScore], metric: str) -> dict[str, float]:
    """Case to the score, of one region's rows that have it."""
    return {row.case: row.scores[metric] for row in rows if metric in row.scores}


def _means(cases: Mapping[str, Sequence[CaseScore]], metric: str) -> dict[str, float]:
    """Case to the mean over its regions, of each case that has the score in some region."""
    values = {case: [row.scores[metric] for row in rows if metric in row.scores] for case, rows in cases.items()}
    return {case: float(np.mean(v)) for case, v in values.items() if v}
