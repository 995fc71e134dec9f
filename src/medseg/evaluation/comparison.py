"""Two models on the same cases: by how much they differ, how sure that is, and where.

For each region and score the difference B - A of each case; its mean with the interval of a bootstrap by patient
(`medseg.evaluation.bootstrap`); and two tests of "no difference", on the mean difference of each patient, because
cases of one patient are no independent pairs:

- Wilcoxon's signed-rank test (Wilcoxon, Biometrics Bulletin 1945;1:80), zeros split as Pratt has it, exact where there
  are at most 50 patients without ties;
- the paired permutation test: if A and B were alike, each patient's difference could as well have the other sign. All
  sign patterns up to 16 patients, 10 000 random ones above, with (b + 1) / (m + 1) (Phipson, Smyth, Stat Appl Genet Mol
  Biol 2010;9:39).

Several regions and scores are several tests: Holm's step-down (Holm, Scand J Stat 1979;6:65) keeps the chance of any
false alarm among all that are compared, and for either test on its own, at the level that is read.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.bootstrap import Floats, groups, mean_interval
from medseg.evaluation.metrics import METRICS, in_order
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.table import some
from medseg.files import atomic_write

MOST_DIFFERENT = 5
ALL_PATTERNS_UP_TO = 16
PATTERNS = 10_000
_TINY = 1e-12


@dataclass(frozen=True)
class Difference:
    """Model B against model A in one score of one region.

    Attributes
    ----------
    region, metric, unit
        What is compared; "1" is the unit of fractions.
    higher_is_better
        Of the score.
    cases, patients
        How many both have the score for.
    mean_a, mean_b
        Means over the cases.
    mean_difference, difference_ci95
        Of B - A, and its interval; None of one patient.
    p_wilcoxon, p_permutation
        Chance of a difference at least as large if the models were alike.
    p_wilcoxon_holm, p_permutation_holm
        The same, corrected for the number of comparisons.
    wins, losses, ties
        Cases in which B is better than A, worse, and equal.
    most_different
        The cases that differ most, with both scores, the largest difference first.
    """

    region: str
    metric: str
    unit: str
    higher_is_better: bool
    cases: int
    patients: int
    mean_a: float
    mean_b: float
    mean_difference: float
    difference_ci95: tuple[float, float] | None
    p_wilcoxon: float
    p_permutation: float
    p_wilcoxon_holm: float
    p_permutation_holm: float
    wins: int
    losses: int
    ties: int
    most_different: tuple[Mapping[str, Any], ...]

    @property
    def better(self) -> str:
        """ "A" or "B", whichever has the better mean; "" where they are equal."""
        if abs(self.mean_difference) < _TINY:
            return ""
        return "B" if (self.mean_difference > 0) == self.higher_is_better else "A"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "better": self.better}


def compare_scores(
    a: Sequence[CaseScore],
    b: Sequence[CaseScore],
    *,
    patients: Mapping[str, str],
    metrics: Sequence[str] = (),
    seed: int = 0,
) -> list[Difference]:
    """All differences between two tables of scores.

    Parameters
    ----------
    a, b
        Rows of the two models; of the same cases and regions (`same_cases`).
    patients
        Case to patient.
    metrics
        Names of scores; none: all that both have and that can be better or worse.
    seed
        Of resamples and sign patterns.

    Raises
    ------
    DataError
        Other cases or regions, or a score that is unknown, missing, or neither better nor worse.
    """
    same_cases(a, b)
    names = _metrics(a, b, metrics)
    first, second = _by_place(a), _by_place(b)
    found = []
    for region in dict.fromkeys(row.region for row in a):
        for name in names:
            pairs = _pairs(first, second, region, name)
            if pairs:
                found.append(_difference(region, name, pairs, patients, seed))
    return _corrected(found)


def same_cases(a: Sequence[CaseScore], b: Sequence[CaseScore]) -> None:
    """Refuse two tables that are not of the same cases and regions.

    Raises
    ------
    DataError
        With the cases, or the regions, that only one of them has.
    """
    for what in ("case", "region"):
        only_a, only_b = _only(a, b, what), _only(b, a, what)
        if only_a or only_b:
            told = [f"only A has {some(only_a)}"] * bool(only_a) + [f"only B has {some(only_b)}"] * bool(only_b)
            raise DataError(
                f"the two tables do not have the same {what}s",
                got=", ".join(told),
                expected=f"the same {what}s in both",
                next_step="score both models on the same cases; a case that failed in one has no scores there",
            )
    first, second = _by_place(a), _by_place(b)
    odd = sorted({f"{case}, {region}" for case, region in first.keys() ^ second.keys()})
    if odd or len(first) < len(a) or len(second) < len(b):
        raise DataError(
            "the two tables do not have one row each for every case and region",
            got=some(odd) or "a case and region twice",
        )


def sign_flip_p(differences: Floats, *, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test for the mean of ``(n,)`` differences."""
    d = np.asarray(differences, dtype=np.float64)
    seen = abs(float(d.sum())) - _TINY * max(1.0, float(np.abs(d).sum()))
    if d.size <= ALL_PATTERNS_UP_TO:
        bits = (np.arange(1 << d.size)[:, None] >> np.arange(d.size)) & 1
        return float((np.abs((1 - 2 * bits) @ d) >= seen).mean())
    signs = np.random.default_rng(seed).integers(0, 2, size=(PATTERNS, d.size)) * 2 - 1
    return float((np.count_nonzero(np.abs(signs @ d) >= seen) + 1) / (PATTERNS + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([min(1.0, (len(p) - k) * p[i]) for k, i in enumerate(order)])
    found = [0.0] * len(p)
    for i, value in zip(order, adjusted, strict=True):
        found[i] = float(value)
    return found


def write_comparison(differences: Sequence[Difference], path: Path) -> None:
    """Write the table: a row a region and score, without the cases that differ most."""
    names = [name for name in Difference.__dataclass_fields__ if name not in ("difference_ci95", "most_different")]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*names, "difference_low95", "difference_high95", "better"])
        for one in differences:
            cells = [getattr(one, name) for name in names]
            table.writerow([*map(_cell, cells), *map(_cell, one.difference_ci95 or ("", "")), one.better])


def write_differences(
    a: Sequence[CaseScore], b: Sequence[CaseScore], differences: Sequence[Difference], path: Path
) -> None:
    """Write every case's pair: case, region, metric, a, b, b - a."""
    first, second = _by_place(a), _by_place(b)
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "region", "metric", "a", "b", "difference"])
        for one in differences:
            for case, (x, y) in _pairs(first, second, one.region, one.metric).items():
                table.writerow([case, one.region, one.metric, _cell(x), _cell(y), _cell(y - x)])


Place = tuple[str, str]


def _by_place(rows: Sequence[CaseScore]) -> dict[Place, CaseScore]:
    return {(row.case, row.region): row for row in rows}


def _only(a: Sequence[CaseScore], b: Sequence[CaseScore], what: str) -> list[str]:
    return sorted({getattr(row, what) for row in a} - {getattr(row, what) for row in b})


def _metrics(a: Sequence[CaseScore], b: Sequence[CaseScore], wanted: Sequence[str]) -> list[str]:
    both = {name for row in a for name in row.scores} & {name for row in b for name in row.scores}
    usable = in_order({name for name in both if METRICS[name].higher_is_better is not None})
    stray = [name for name in wanted if name not in usable]
    if stray or not usable:
        raise DataError(
            "scores to compare",
            got=", ".join(stray) or "none that both tables have",
            expected=f"some of {', '.join(usable)}" if usable else "a score that can be better or worse in both tables",
        )
    return in_order(set(wanted)) if wanted else usable


def _pairs(
    a: Mapping[Place, CaseScore], b: Mapping[Place, CaseScore], region: str, metric: str
) -> dict[str, tuple[float, float]]:
    """Case to its two values, of the cases that have the score in both."""
    return {
        case: (row.scores[metric], b[case, where].scores[metric])
        for (case, where), row in a.items()
        if where == region and metric in row.scores and metric in b[case, where].scores
    }


def _difference(
    region: str, metric: str, pairs: Mapping[str, tuple[float, float]], patients: Mapping[str, str], seed: int
) -> Difference:
    about, cases = METRICS[metric], list(pairs)
    values = np.asarray(list(pairs.values()))
    d = values[:, 1] - values[:, 0]
    of = [patients[case] for case in cases]
    member = groups(of)
    by_patient = np.bincount(member, weights=d) / np.bincount(member)
    interval = mean_interval(d, patients=of, seed=seed)
    up, down = int((d > _TINY).sum()), int((d < -_TINY).sum())
    wins, losses = (up, down) if about.higher_is_better else (down, up)
    p, q = _wilcoxon_p(by_patient), sign_flip_p(by_patient, seed=seed)
    order = np.argsort(-np.abs(d), kind="stable")[:MOST_DIFFERENT]
    return Difference(
        region=region,
        metric=metric,
        unit=about.unit,
        higher_is_better=bool(about.higher_is_better),
        cases=len(cases),
        patients=len(by_patient),
        mean_a=float(values[:, 0].mean()),
        mean_b=float(values[:, 1].mean()),
        mean_difference=float(d.mean()),
        difference_ci95=None if interval is None else (interval[0], interval[1]),
        p_wilcoxon=p,
        p_permutation=q,
        p_wilcoxon_holm=p,
        p_permutation_holm=q,
        wins=wins,
        losses=losses,
        ties=len(cases) - wins - losses,
        most_different=tuple(
            {"case": cases[i], "a": float(values[i, 0]), "b": float(values[i, 1]), "difference": float(d[i])}
            for i in order
            if abs(d[i]) > _TINY
        ),
    )


def _wilcoxon_p(differences: Floats) -> float:
    """Two-sided p; 1 where nothing differs."""
    from scipy.stats import wilcoxon

    rounded = np.round(differences, 12)  # equal differences are ties, whatever the last bits say
    if not rounded.any():
        return 1.0
    return float(wilcoxon(rounded, zero_method="pratt").pvalue)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    from dataclasses import replace

    wilcoxon = holm([one.p_wilcoxon for one in differences])
    permutation = holm([one.p_permutation for one in differences])
    return [
        replace(one, p_wilcoxon_holm=p, p_permutation_holm=q)
        for one, p, q in zip(differences, wilcoxon, permutation, strict=True)
    ]


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
