"""Which patient goes into which part: by seed, never by chance, and never into two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from medseg.datasets.datalist import SECTIONS
from medseg.errors import DataError


def split_by_patient(patients: Iterable[str], *, fractions: Sequence[float], seed: int) -> dict[str, str]:
    """The part of each patient, so that all cases of a patient stand together.

    Parameters
    ----------
    patients
        One entry a case or a patient: repetitions and order have no influence.
    fractions
        Shares of the patients in training, validation and test; they sum to 1.
    seed
        Seed of the draw.

    Returns
    -------
    dict
        Patient -> "training", "validation" or "test". The sizes are the shares rounded by largest remainder, ties
        going to the earlier part.

    Raises
    ------
    DataError
        The seed is negative, the fractions are no shares, or a part with a fraction above 0 would be empty.
    """
    refuse_seed(seed)
    unique = sorted(set(patients))
    sizes = _sizes(len(unique), _checked(fractions))
    order = np.random.default_rng(seed).permutation(len(unique))
    parts = [section for section, size in zip(SECTIONS, sizes, strict=True) for _ in range(size)]
    return {unique[i]: part for i, part in zip(order, parts, strict=True)}


def refuse_seed(seed: int) -> None:
    """Raise a DataError where `seed` is negative, which NumPy's generators do not take."""
    if seed < 0:
        raise DataError("a seed is negative", got=seed, expected="a whole number from 0 on")


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(float(f) for f in fractions)
    if (
        len(shares) != len(SECTIONS)
        or not all(s >= 0 for s in shares)
        or not math.isclose(sum(shares), 1, abs_tol=1e-6)
    ):
        raise DataError(
            "the fractions are no split",
            got=shares,
            expected="three values, none negative, whose sum is 1: training, validation, test",
        )
    return shares


def _sizes(n: int, fractions: Sequence[float]) -> list[int]:
    quotas = [round(n * f, 6) for f in fractions]  # rounding: 0.1 * 30 is a hair above 3 in floating point
    sizes = [math.floor(q) for q in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda i: sizes[i] - quotas[i])
    for i in by_remainder[: n - sum(sizes)]:
        sizes[i] += 1
    empty = [section for section, size, f in zip(SECTIONS, sizes, fractions, strict=True) if f > 0 and size == 0]
    if empty:
        raise DataError(
            f"the part {' and '.join(empty)} would be empty",
            got=f"{n} patients in the shares {tuple(fractions)}",
            expected="at least one patient in each part",
            next_step="give more patients, a larger fraction, or the fraction 0 for a part that is not wanted",
        )
    return sizes
