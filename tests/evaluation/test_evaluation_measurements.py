"""Measurements of predicted against true masks; a missing one is counted, not averaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.evaluation.measurements import Measured, measurement_summary, write_measurements

ROWS = [
    Measured("a", "ratio", 0.50, 0.48),
    Measured("b", "ratio", 0.44, 0.50),
    Measured("c", "ratio", None, 0.50),
    Measured("d", "ratio", 0.50, None),
    Measured("e", "ratio", None, None),
    Measured("f", "ratio", None, None),
]
PATIENTS = {row.case: row.case for row in ROWS}


def test_errors_are_of_cases_that_have_both_and_the_others_are_counted() -> None:
    ratio = measurement_summary(ROWS, patients=PATIENTS)["ratio"]
    assert (ratio["cases"], ratio["missing"]) == (6, {"truth": 1, "prediction": 1, "both": 2})
    assert (ratio["error"]["n"], ratio["error"]["mean"]) == (2, pytest.approx((0.02 + 0.06) / 2))
    assert ratio["difference"]["mean"] == pytest.approx((0.02 - 0.06) / 2)


def test_nothing_to_average_is_told_as_null() -> None:
    ratio = measurement_summary(ROWS[2:], patients=PATIENTS)["ratio"]
    assert (ratio["error"], ratio["difference"], ratio["cases"]) == (None, None, 4)


def test_cases_of_one_patient_are_drawn_together() -> None:
    together = measurement_summary(ROWS, patients=dict.fromkeys(PATIENTS, "one"))["ratio"]["error"]
    assert together["mean_ci95"] is None  # of one patient


def test_a_missing_measurement_is_a_blank_cell(tmp_path: Path) -> None:
    write_measurements(ROWS[1:3], tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines() == [
        "case,measurement,predicted,truth",
        "b,ratio,0.44,0.5",
        "c,ratio,,0.5",
    ]
