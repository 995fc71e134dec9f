"""How far confidence can be believed, on voxels counted by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.evaluation import Reliability, ReliabilityCounter, calibration_summary, write_reliability

NAMES = {0: "background", 1: "lesion"}


def logits(probability_of_1: list[float]) -> torch.Tensor:
    """Two classes, (2, 1, n), whose softmax gives these probabilities."""
    log_odds = [math.log(p / (1 - p)) for p in probability_of_1]
    return torch.tensor([[[0.0] * len(log_odds)], [log_odds]])


def count(probability_of_1: list[float], truth: list[int]) -> Reliability:
    counter = ReliabilityCounter(np.array([truth], dtype=np.uint8))
    counter.start(2, (1, len(truth)))
    counter.put((slice(0, 1), slice(0, len(truth))), logits(probability_of_1))
    counter.finish()
    return counter.counts


# Given 1 with confidence .95 (right), .85 (right), .85 (wrong), .65 (wrong); given 0 with .75 (right), .95 (wrong).
EXAMPLE = count([0.95, 0.85, 0.85, 0.65, 0.25, 0.05], [1, 1, 0, 0, 0, 1])


def test_voxels_are_counted_by_class_and_bin() -> None:
    voxels, correct = np.zeros((2, 10), int), np.zeros((2, 10), int)
    voxels[1, [9, 8, 6]], correct[1, [9, 8]] = [1, 2, 1], [1, 1]
    voxels[0, [7, 9]], correct[0, 7] = 1, 1
    np.testing.assert_array_equal(EXAMPLE.voxels, voxels)
    np.testing.assert_array_equal(EXAMPLE.correct, correct)
    assert EXAMPLE.confidence[1, 8] == pytest.approx(1.7)


def test_the_calibration_error_is_that_of_the_definition() -> None:
    # Lesion: bins .9-1: |1 - .95|, .8-.9: |1 - 1.7|, .6-.7: |0 - .65|; of 4 voxels.
    assert EXAMPLE.ece(1) == pytest.approx((0.05 + 0.7 + 0.65) / 4)
    assert EXAMPLE.ece(0) == pytest.approx((0.25 + 0.95) / 2)
    # All: the two voxels of .95 share a bin, one is right: |1 - 1.9|.
    assert EXAMPLE.ece() == pytest.approx((0.9 + 0.7 + 0.65 + 0.25) / 6)


@pytest.mark.parametrize(("confidence", "at"), [(0.6, 5), (0.6001, 6), (0.99999, 9)])
def test_a_bin_holds_its_upper_end(confidence: float, at: int) -> None:
    (row,) = np.flatnonzero(count([1 - confidence], [0]).voxels[0]).tolist()
    assert row == at


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    counter = ReliabilityCounter(np.zeros((1, 1), np.uint8))
    counter.start(2, (1, 1))
    counter.put((slice(None), slice(None)), torch.tensor([[[200.0]], [[-200.0]]]))
    assert counter.counts.voxels[0].tolist() == [0] * 9 + [1]
    assert counter.counts.ece() == 0.0


def test_blocks_add_up_and_a_new_start_forgets() -> None:
    values, truth = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1)), np.arange(20).reshape(4, 5) % 3
    whole, parts = ReliabilityCounter(truth), ReliabilityCounter(truth)
    whole.start(3, (4, 5))
    whole.put((slice(None), slice(None)), values)
    for _ in range(2):
        parts.start(3, (4, 5))
        for k in (4, 2, 0):
            parts.put((slice(None), slice(k, k + 2)), values[:, :, k : k + 2])
    np.testing.assert_array_equal(parts.counts.voxels, whole.counts.voxels)
    np.testing.assert_array_equal(parts.counts.correct, whole.counts.correct)
    np.testing.assert_allclose(parts.counts.confidence, whole.counts.confidence)
    np.testing.assert_allclose(parts.counts.squared_error, whole.counts.squared_error)
    assert whole.counts.voxels.sum() == 20


def test_cases_together_and_back_from_json() -> None:
    both = Reliability.of([EXAMPLE, Reliability.from_json(EXAMPLE.to_json())])
    np.testing.assert_array_equal(both.voxels, 2 * EXAMPLE.voxels)
    assert both.ece() == EXAMPLE.ece()
    assert both.brier() == pytest.approx(EXAMPLE.brier())


def test_the_brier_score_is_that_of_the_definition() -> None:
    # Probability of the lesion minus the truth: -.05, -.15, .85, .65, .25, -.95; with two classes each counts twice.
    squares = 0.05**2 + 0.15**2 + 0.85**2 + 0.65**2 + 0.25**2 + 0.95**2
    assert EXAMPLE.brier(1) == pytest.approx(squares / 6, rel=1e-5)
    assert EXAMPLE.brier(0) == pytest.approx(EXAMPLE.brier(1), rel=1e-5)
    assert EXAMPLE.brier() == pytest.approx(2 * squares / 6, rel=1e-5)


def test_the_brier_score_of_three_classes() -> None:
    counter = ReliabilityCounter(np.array([[2, 0]], dtype=np.uint8))
    counter.start(3, (1, 2))
    probabilities = torch.tensor([[0.5, 0.2], [0.3, 0.7], [0.2, 0.1]])  # (class, voxel)
    counter.put((slice(None), slice(None)), probabilities.log().reshape(3, 1, 2) + 4.0)
    first, second = 0.25 + 0.09 + 0.64, 0.64 + 0.49 + 0.01
    assert counter.counts.brier() == pytest.approx((first + second) / 2, rel=1e-5)
    assert counter.counts.brier(2) == pytest.approx((0.64 + 0.01) / 2, rel=1e-5)


def test_a_sure_and_right_network_has_a_brier_score_of_0_and_a_sure_and_wrong_one_of_2() -> None:
    for truth, expected in ((0, 0.0), (1, 2.0)):
        counter = ReliabilityCounter(np.full((1, 1), truth, np.uint8))
        counter.start(2, (1, 1))
        counter.put((slice(None), slice(None)), torch.tensor([[[200.0]], [[-200.0]]]))
        assert counter.counts.brier() == expected


def test_a_class_that_is_never_given_has_no_error() -> None:
    summary = calibration_summary(count([0.2, 0.1], [0, 0]), NAMES, cases=1)
    assert summary["classes"]["lesion"] == {"ece": None, "brier": pytest.approx((0.04 + 0.01) / 2), "voxels": 0}
    assert (summary["cases"], summary["bins"]) == (1, 10)
    assert summary["ece"] == summary["classes"]["background"]["ece"] == pytest.approx(0.15)


def test_the_table_has_a_row_for_each_class_and_bin(tmp_path: Path) -> None:
    write_reliability(EXAMPLE, NAMES, tmp_path / "reliability.csv")
    with (tmp_path / "reliability.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert rows[18] == {
        "label": "1",
        "name": "lesion",
        "above": "0.8",
        "up_to": "0.9",
        "voxels": "2",
        "correct": "1",
        "mean_confidence": "0.85",
        "accuracy": "0.5",
    }
    assert (rows[10]["voxels"], rows[10]["accuracy"]) == ("0", "")
