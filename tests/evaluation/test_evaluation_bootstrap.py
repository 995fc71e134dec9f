"""Intervals by patient, against what can be counted out and against another implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from medseg.errors import DataError
from medseg.evaluation import spread
from medseg.evaluation.bootstrap import groups, mean_interval, percentiles, resampled, resampled_means


def test_patients_are_numbered_as_they_come() -> None:
    assert groups(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_cases_of_a_patient_come_and_go_together() -> None:
    # Two patients, three cases: draws are AA, AB, BA, BB, with means (0 + 1) / 2, (0 + 1 + 5) / 3 and 5.
    means = resampled_means([0.0, 1.0, 5.0], patients=["a", "a", "b"], resamples=4000)
    found, counts = np.unique(means.round(9), return_counts=True)
    assert found.tolist() == [0.5, 2.0, 5.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_all_draws_of_a_small_set_have_the_percentiles_that_are_found() -> None:
    values, patients = [1.0, 2.0, 4.0, 8.0, 9.0], ["a", "a", "b", "c", "c"]
    sums, sizes = {"a": 3.0, "b": 4.0, "c": 17.0}, {"a": 2, "b": 1, "c": 2}
    draws = [sum(sums[p] for p in d) / sum(sizes[p] for p in d) for d in itertools.product("abc", repeat=3)]
    expected = np.percentile(draws, [2.5, 97.5], method="inverted_cdf")
    assert mean_interval(values, patients=patients, resamples=20000) == pytest.approx(expected)


def test_without_patients_it_is_the_bootstrap_of_the_cases() -> None:
    values = np.random.default_rng(3).normal(0.8, 0.1, 60)
    scipys = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert mean_interval(values, resamples=5000) == pytest.approx([scipys.low, scipys.high], abs=0.004)


def test_cases_that_repeat_a_patient_do_not_make_the_mean_surer() -> None:
    values = np.random.default_rng(5).normal(0.8, 0.1, 20)
    once = mean_interval(values)
    copies, patients = np.repeat(values, 10), [str(i) for i in np.repeat(np.arange(20), 10)]
    assert mean_interval(copies, patients=patients) == pytest.approx(once)
    low, high = mean_interval(copies)
    assert high - low < 0.5 * (once[1] - once[0])  # what drawing cases would wrongly tell


def test_any_statistic_over_the_same_draws() -> None:
    values, patients = np.array([0.0, 1.0, 5.0]), ["a", "a", "b"]
    medians = resampled(lambda drawn: float(np.median(values[drawn])), patients=patients, resamples=50)
    assert set(medians.tolist()) <= {0.5, 1.0, 5.0}
    none = resampled(lambda drawn: None if 2 in drawn else 1.0, patients=patients, resamples=200)
    assert 0 < len(none) < 200
    assert percentiles(np.array([1.0, 1.0])) == [1.0, 1.0]


def test_the_spread_of_a_score_is_by_patient() -> None:
    got = spread([0.0, 1.0, 5.0], patients=["a", "a", "b"])
    assert got["mean"] == 2.0
    assert got["mean_ci95"] == [0.5, 5.0]
    assert (got["n"], got["median"]) == (3, 1.0)


@pytest.mark.parametrize("patients", [["a"], ["a", "b", "c"]], ids=["fewer", "more"])
def test_as_many_patients_as_cases_or_none(patients: list[str]) -> None:
    with pytest.raises(DataError, match="one for each of 2 cases"):
        mean_interval([1.0, 2.0], patients=patients)


def test_no_case_has_no_interval() -> None:
    with pytest.raises(DataError, match="at least one case"):
        mean_interval([])
