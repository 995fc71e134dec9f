"""Lesions matched one to one, counted by hand on rows of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import BundleError
from medseg.evaluation import LesionRule, LesionScores, lesion_scores

HALF, ANY = LesionRule(iou_above=0.5), LesionRule(iou_above=0.0)


def row(text: str) -> np.ndarray:
    """A picture of one row."""
    return np.array([[c == "1" for c in text]])


def scored(prediction: str, truth: str, rule: LesionRule = HALF, spacing: tuple[float, float] = (1.0, 1.0)):
    return lesion_scores(row(prediction), row(truth), rule=rule, spacing=spacing)


@pytest.mark.parametrize(
    ("prediction", "truth", "rule", "expected"),
    [
        pytest.param("1110011", "1110011", HALF, LesionScores(2, 2, 2, 2.0), id="both-found"),
        pytest.param("1100011", "1110011", HALF, LesionScores(2, 2, 2, 2 / 3 + 1), id="one-of-them-too-small"),
        pytest.param("1100000", "1110011", HALF, LesionScores(2, 1, 1, 2 / 3), id="one-missed"),
        pytest.param("1110101", "1110000", HALF, LesionScores(1, 3, 1, 1.0), id="two-false-ones"),
        pytest.param("1000", "1100", HALF, LesionScores(1, 1, 0, 0.0), id="half-is-not-above-half"),
        pytest.param("1000", "1100", ANY, LesionScores(1, 1, 1, 0.5), id="any-voxel"),
        pytest.param("1010", "0101", ANY, LesionScores(2, 2, 0, 0.0), id="apart"),
        # one prediction over two lesions is one match: the better one, IoU 3/7 before 2/7
        pytest.param("1111111", "1110011", ANY, LesionScores(2, 1, 1, 3 / 7), id="one-over-two"),
        pytest.param("0000", "0000", HALF, LesionScores(0, 0, 0, 0.0), id="both-empty"),
        pytest.param("0101", "0000", HALF, LesionScores(0, 2, 0, 0.0), id="truth-empty"),
        pytest.param("0000", "0110", HALF, LesionScores(1, 0, 0, 0.0), id="prediction-empty"),
    ],
)
def test_lesions_are_counted(prediction, truth, rule, expected) -> None:
    assert scored(prediction, truth, rule) == expected


@pytest.mark.parametrize(
    ("counts", "precision", "recall", "f1", "quality"),
    [
        # TP 2, FP 1, FN 2, IoU sum 1.2: F1 4 / 7, PQ 1.2 / 3.5
        pytest.param(LesionScores(4, 3, 2, 1.2), 2 / 3, 2 / 4, 4 / 7, 1.2 / 3.5, id="some"),
        pytest.param(LesionScores(0, 0, 0, 0.0), 1, 1, 1, 1, id="both-empty"),
        pytest.param(LesionScores(0, 3, 0, 0.0), 0, 0, 0, 0, id="truth-empty"),
        pytest.param(LesionScores(3, 0, 0, 0.0), 0, 0, 0, 0, id="prediction-empty"),
    ],
)
def test_scores_of_the_counts(counts, precision, recall, f1, quality) -> None:
    found = (counts.precision, counts.recall, counts.f1, counts.panoptic_quality)
    assert found == pytest.approx((precision, recall, f1, quality))


def test_most_pairs_are_matched_and_then_the_best() -> None:
    # Truth 5 + 4 pixels, prediction 3 + 4: the second prediction shares 2 pixels with the first lesion (IoU 2/7) and 1
    # with the second (1/7), the first prediction 2 with the first lesion (2/6). Taking its best for each would leave
    # the second lesion alone.
    found = scored("1110111100", "0111110111", LesionRule(iou_above=0.0))
    assert (found.truth, found.predicted, found.matched) == (2, 2, 2)
    assert found.iou_sum == pytest.approx(2 / 6 + 1 / 6)


@pytest.mark.parametrize(
    ("within", "matched"), [(2.9, 0), (3.0, 1), (100.0, 1)], ids=["too-near", "as-far", "far-enough"]
)
def test_by_distance_the_centres_count_in_millimetres(within: float, matched: int) -> None:
    # centres at 1 and 3 pixels, of 1.5 mm; they share nothing, so their IoU is 0
    found = scored("00010", "01000", LesionRule(centres_within=within), (1.0, 1.5))
    assert (found.matched, found.iou_sum, found.f1) == (matched, 0.0, float(matched))


def test_by_distance_the_nearest_are_matched_and_their_overlap_counts() -> None:
    # truth centres 1, 6; prediction centres 2, 6.5: pairs 1-2 and 6-6.5, with IoU 2/4 and 1/2
    found = scored("011100110", "111000100", LesionRule(centres_within=2.0))
    assert found == LesionScores(2, 2, 2, pytest.approx(2 / 4 + 1 / 2))


def test_a_lesion_of_the_same_place_is_no_distance_away() -> None:
    assert scored("0110", "0110", LesionRule(centres_within=1.0)) == LesionScores(1, 1, 1, 1.0)


@pytest.mark.parametrize(
    ("connectivity", "lesions"),
    [pytest.param(None, 1, id="default"), pytest.param(8, 1, id="corners"), pytest.param(4, 2, id="edges")],
)
def test_connectivity_says_what_one_lesion_is(connectivity, lesions) -> None:
    diagonal = np.eye(2, dtype=bool)
    rule = LesionRule(iou_above=0.5, connectivity=connectivity)
    assert lesion_scores(diagonal, diagonal, rule=rule, spacing=(1.0, 1.0)).truth == lesions


def test_volumes_join_by_corners_too() -> None:
    ends = np.zeros((2, 2, 2), dtype=bool)
    ends[0, 0, 0] = ends[1, 1, 1] = True
    assert lesion_scores(ends, ends, rule=HALF, spacing=(1.0,) * 3) == LesionScores(1, 1, 1, 1.0)


def test_ten_thousand_specks_are_matched_in_no_time() -> None:
    specks = np.zeros((200, 200), dtype=bool)
    specks[::2, ::2] = True
    found = lesion_scores(specks, specks, rule=HALF, spacing=(1.0, 1.0))
    assert (found.truth, found.matched, found.panoptic_quality) == (10_000, 10_000, 1.0)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="no-rule"),
        pytest.param({"iou_above": 0.5, "centres_within": 3.0}, id="two-rules"),
        pytest.param({"iou_above": 1.0}, id="iou-of-one"),
        pytest.param({"iou_above": -0.1}, id="negative-iou"),
        pytest.param({"centres_within": 0.0}, id="no-distance"),
        pytest.param({"iou_above": 0.5, "connectivity": 7}, id="no-such-connectivity"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(settings) -> None:
    with pytest.raises(BundleError, match="LesionRule"):
        LesionRule(**settings)


def test_a_connectivity_of_volumes_is_refused_for_pictures() -> None:
    with pytest.raises(BundleError, match="connectivity 26"):
        scored("01", "01", LesionRule(iou_above=0.5, connectivity=26))


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_above_half_is_that_of_monai(seed: int) -> None:
    import torch
    from monai.metrics import compute_panoptic_quality
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    truth = ndimage.binary_opening(ndimage.gaussian_filter(rng.normal(size=(60, 60)), 2) > 0.08)
    prediction = ndimage.binary_erosion(truth) if seed % 2 else np.roll(truth, 1, axis=0)
    ours = lesion_scores(prediction, truth, rule=LesionRule(iou_above=0.5, connectivity=8), spacing=(1.0, 1.0))
    instances = [torch.from_numpy(ndimage.label(mask, np.ones((3, 3)))[0]) for mask in (prediction, truth)]
    theirs = compute_panoptic_quality(*instances, metric_name="pq", match_iou_threshold=0.5, smooth_numerator=0.0)
    assert 0 < ours.panoptic_quality < 1
    assert ours.panoptic_quality == pytest.approx(float(theirs), rel=1e-6)
