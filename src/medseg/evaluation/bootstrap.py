"""How sure a mean over cases is, where the cases of one patient are no independent witnesses.

The patient is what is drawn: a resample takes as many patients as there are, with replacement, and all cases of each
one that is drawn, so that cases of one patient come and go together (the cluster bootstrap: Davison, Hinkley: Bootstrap
Methods and their Application, 1997, section 3.8). The interval is Efron's percentile interval. Where each patient has
one case it is the plain bootstrap of the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError

RESAMPLES = 1000

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


def groups(patients: Sequence[str]) -> Indices:
    """The number of each case's patient, ``(n,)``, from 0 on in the order in which they come."""
    numbers: dict[str, int] = {}
    return np.asarray([numbers.setdefault(patient, len(numbers)) for patient in patients], dtype=np.intp)


def resampled_means(
    values: Sequence[float] | NDArray[np.floating[Any]],
    *,
    patients: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Means over cases of resamples of the patients, ``(resamples,)``.

    Parameters
    ----------
    values
        One number per case, ``(n,)``.
    patients
        The patient of each case; None: each case is its own.
    resamples, seed
        How many draws, and the seed of the generator.

    Raises
    ------
    DataError
        No case, or not as many patients as cases.
    """
    x = np.asarray(values, dtype=np.float64)
    member = np.arange(x.size) if patients is None else groups(patients)
    _check(x, member)
    count = int(member.max()) + 1
    sums, sizes = np.bincount(member, weights=x), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    return np.asarray(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))


def mean_interval(
    values: Sequence[float] | NDArray[np.floating[Any]],
    *,
    patients: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[float] | None:
    """The 2.5th and 97.5th percentile of `resampled_means`; None of one patient, whose resamples are all the same."""
    means = resampled_means(values, patients=patients, resamples=resamples, seed=seed)
    count = len(values) if patients is None else len(set(patients))
    return percentiles(means) if count > 1 else None


def interval_text(interval: Sequence[float] | None, *, sign: str = "") -> str:
    """An interval for people, to four decimals; "+" as `sign` shows that of each end. In words where there is none."""
    if interval is None:
        return "[one patient: no interval]"
    return f"[{', '.join(f'{end:{sign}.4f}' for end in interval)}]"


def resampled(
    statistic: Callable[[Indices], float | None],
    *,
    patients: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Any statistic over resamples of the patients.

    Parameters
    ----------
    statistic
        Of the indices of the cases drawn; None where it is not defined for them (an AUC without failures).
    patients
        The patient of each case, ``(n,)``.

    Returns
    -------
    array
        Its values where it was defined, at most ``(resamples,)``.
    """
    member = groups(patients)
    cases = [np.flatnonzero(member == number) for number in range(int(member.max()) + 1)]
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(cases), size=len(cases)) for _ in range(resamples))
    found = (statistic(np.concatenate([cases[i] for i in drawn])) for drawn in draws)
    return np.asarray([value for value in found if value is not None], dtype=np.float64)


def percentiles(draws: NDArray[np.floating[Any]]) -> list[float]:
    """The 2.5th and 97.5th percentile: the 95 % interval of a statistic whose resamples are given."""
    return [float(value) for value in np.percentile(draws, [2.5, 97.5])]


def _check(x: Floats, member: Indices) -> None:
    if x.size == 0:
        raise DataError("nothing to summarise", got="no case", expected="at least one case")
    if member.size != x.size:
        raise DataError("patients for an interval", got=member.size, expected=f"one for each of {x.size} cases")
