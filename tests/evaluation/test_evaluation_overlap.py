"""Overlap scores against counts made by hand; empty masks included."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation import overlap, overlap_by_region


def mask(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


@pytest.mark.parametrize(
    ("prediction", "truth", "expected", "empty"),
    [
        pytest.param("0110", "0110", (1, 1, 1, 1, 1), "none", id="equal"),
        # TP 1, FP 1, FN 2, TN 1: Dice 2/5, IoU 1/4, precision 1/2, recall 1/3, specificity 1/2
        pytest.param("11000", "10110", (2 / 5, 1 / 4, 1 / 2, 1 / 3, 1 / 2), "none", id="partial"),
        pytest.param("1100", "0011", (0, 0, 0, 0, 0), "none", id="apart"),
        pytest.param("0000", "0000", (1, 1, 1, 1, 1), "both", id="both-empty"),
        pytest.param("0100", "0000", (0, 0, 0, 0, 3 / 4), "truth", id="truth-empty"),
        pytest.param("0000", "0100", (0, 0, 0, 0, 1), "prediction", id="prediction-empty"),
    ],
)
def test_scores_of_two_masks(prediction, truth, expected, empty) -> None:
    score = overlap(mask(prediction), mask(truth))
    fractions = (score.dice, score.iou, score.precision, score.recall, score.specificity)
    assert fractions == pytest.approx(expected)
    assert (score.predicted_voxels, score.truth_voxels) == (prediction.count("1"), truth.count("1"))
    assert score.empty == empty


def test_specificity_of_a_truth_that_fills_the_image_is_one() -> None:
    assert overlap(mask("1011"), mask("1111")).specificity == 1.0


def test_regions_may_overlap_and_other_labels_count_as_outside() -> None:
    truth = np.array([[1, 1, 2, 2], [3, 3, 0, 9]], dtype=np.uint8)
    prediction = np.array([[1, 2, 2, 0], [3, 0, 9, 3]], dtype=np.int16)
    scores = overlap_by_region(prediction, truth, {"left": [1], "right": [2], "lungs": [1, 2], "heart": [3]})
    assert scores["left"].dice == pytest.approx(2 * 1 / (1 + 2))
    assert scores["right"].dice == pytest.approx(2 * 1 / (2 + 2))
    assert scores["lungs"].dice == pytest.approx(2 * 3 / (3 + 4))  # left and right exchanged still is lung
    assert scores["heart"].dice == pytest.approx(2 * 1 / (2 + 2))


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_histogram_gives_what_a_mask_per_label_gives(order) -> None:
    rng = np.random.default_rng(3)
    truth, prediction = (np.asarray(rng.integers(0, 6, (7, 6, 5), dtype=np.uint16), order=order) for _ in range(2))
    regions = {"a": [1], "b": [2, 4], "none": [700], "c": [0, 5]}
    scores = overlap_by_region(prediction, truth, regions)
    for name, members in regions.items():
        assert scores[name] == overlap(np.isin(prediction, members), np.isin(truth, members))
