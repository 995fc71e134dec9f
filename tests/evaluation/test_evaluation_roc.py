"""ROC of a warning against failures: by hand, and as a count of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.errors import DataError
from medseg.evaluation.roc import auc, roc


def pairs_auc(warning: np.ndarray, failed: np.ndarray) -> float:
    """Share of pairs of a failed and a good case in which the failed one has the larger number."""
    bad, good = warning[failed], warning[~failed]
    wins = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
    return float(wins)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_the_share_of_pairs_told_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    warning, failed = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4  # with many ties
    assert auc(warning, failed) == pytest.approx(pairs_auc(warning, failed))


@pytest.mark.parametrize(
    ("warning", "expected"),
    [([3, 2, 1, 0], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5), ([3, 1, 2, 0], 0.75)],
    ids=["perfect", "upside-down", "says-nothing", "one-pair-wrong"],
)
def test_by_hand(warning: list[float], expected: float) -> None:
    assert auc(np.array(warning, float), np.array([True, True, False, False])) == expected


def test_the_curve_goes_from_no_alarm_to_all() -> None:
    curve = roc([0.9, 0.4, 0.4, 0.1], [True, True, False, False], patients=list("abcd"))
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.4, 0.1]
    assert curve.sensitivity.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert curve.false_alarms.tolist() == [0.0, 0.0, 0.5, 1.0]
    area = float(np.trapezoid(curve.sensitivity, curve.false_alarms))
    assert curve.auc == pytest.approx(area) == pytest.approx(0.875)
    assert (curve.failed, curve.good) == (2, 2)


def test_the_interval_holds_the_area_and_shrinks_with_patients_not_with_copies() -> None:
    rng = np.random.default_rng(0)
    failed = np.arange(40) < 15
    warning = rng.normal(failed.astype(float), 1.0)
    patients = [str(i) for i in range(40)]
    curve = roc(warning, failed, patients=patients)
    assert curve.auc_ci95 is not None
    assert curve.auc_ci95[0] < curve.auc < curve.auc_ci95[1]
    copies = roc(np.repeat(warning, 5), np.repeat(failed, 5), patients=[p for p in patients for _ in range(5)])
    assert copies.auc == pytest.approx(curve.auc)
    assert copies.auc_ci95 == pytest.approx(curve.auc_ci95)


def test_cases_of_one_patient_have_no_interval() -> None:
    curve = roc([0.1, 0.2, 0.9], [False, False, True], patients=["a"] * 3)
    assert curve.to_json() == {"auc": 1.0, "auc_ci95": None, "failed": 1, "good": 2}


@pytest.mark.parametrize("failed", [[True, True], [False, False]], ids=["all-failed", "none-failed"])
def test_without_failures_or_without_good_cases_there_is_no_roc(failed: list[bool]) -> None:
    assert auc(np.array([1.0, 2.0]), np.array(failed)) is None
    with pytest.raises(DataError, match="at least one failed and one good case"):
        roc([1.0, 2.0], failed, patients=["a", "b"])
