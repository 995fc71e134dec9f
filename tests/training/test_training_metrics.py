"""Validation scores, derived by hand on four pixels, and the same as those of `medseg.evaluation`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medseg.case import Image
from medseg.errors import BundleError
from medseg.evaluation import ScorePlan, score_case
from medseg.training import OverlapMetric, SurfaceMetric

LABELS = {"0": "background", "1": "left", "2": "right"}


def scores(*cases: tuple[list[list[int]], list[list[int]]]) -> dict[str, float]:
    """The metrics of an engine that has seen the (prediction, truth) label maps of `cases`, one a batch."""
    engine = Engine(lambda _, pair: {"pred": logits(pair[0]), "label": torch.tensor(pair[1])[None, None]})
    OverlapMetric(labels=LABELS).attach(engine, "val_mean_dice")
    return dict(engine.run(cases).metrics)


def logits(labels: list[list[int]]) -> torch.Tensor:
    """``(1, C, X, Y)`` whose largest channel is the label."""
    return torch.nn.functional.one_hot(torch.tensor(labels), 3).permute(2, 0, 1)[None].float() * 7 - 3


CASES = {
    # prediction, truth: Dice and IoU of left and right
    "all right": (([[1, 1], [2, 0]], [[1, 1], [2, 0]]), (1, 1, 1, 1)),
    "half of left": (([[1, 0], [2, 0]], [[1, 1], [2, 0]]), (2 / 3, 1, 1 / 2, 1)),
    "one taken for the other": (([[2, 1], [2, 0]], [[1, 1], [2, 0]]), (2 / 3, 2 / 3, 1 / 2, 1 / 2)),
    "right in neither": (([[1, 1], [0, 0]], [[1, 1], [0, 0]]), (1, 1, 1, 1)),
    "right in the prediction only": (([[1, 1], [2, 0]], [[1, 1], [0, 0]]), (1, 0, 1, 0)),
    "right in the truth only": (([[1, 1], [0, 0]], [[1, 1], [2, 0]]), (1, 0, 1, 0)),
    "nothing found": (([[0, 0], [0, 0]], [[1, 1], [2, 0]]), (0, 0, 0, 0)),
    "nothing there, nothing found": (([[0, 0], [0, 0]], [[0, 0], [0, 0]]), (1, 1, 1, 1)),
}


@pytest.mark.parametrize(("case", "expected"), CASES.values(), ids=CASES)
def test_one_case(case: tuple[list[list[int]], list[list[int]]], expected: tuple[float, ...]) -> None:
    found = scores(case)
    names = ("val_dice/left", "val_dice/right", "val_iou/left", "val_iou/right")
    assert [found[name] for name in names] == pytest.approx(expected)
    assert found["val_mean_dice"] == pytest.approx((expected[0] + expected[1]) / 2)


@pytest.mark.parametrize("case", [case for case, _ in CASES.values()], ids=CASES)
def test_one_case_as_evaluation_scores_it(case: tuple[list[list[int]], list[list[int]]]) -> None:
    prediction, truth = (Image(np.array(labels), np.eye(4), Path("mask")) for labels in case)
    table = {
        score.region: score
        for score in score_case("case", prediction, truth, {"left": [1], "right": [2]}, spatial_dims=2)
    }
    found = scores(case)
    for name in ("left", "right"):
        assert found[f"val_dice/{name}"] == pytest.approx(table[name].scores["dice"])
        assert found[f"val_iou/{name}"] == pytest.approx(table[name].scores["iou"])


def test_a_mean_counts_every_case_the_empty_ones_too() -> None:
    found = scores(CASES["half of left"][0], CASES["right in the prediction only"][0], CASES["all right"][0])
    assert found["val_dice/left"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["val_dice/right"] == pytest.approx((1 + 0 + 1) / 3)
    assert found["val_mean_dice"] == pytest.approx((2 / 3 + 1 + 1 + 1 + 0 + 1) / 6)


def test_a_batch_of_two_is_two_cases() -> None:
    metric = OverlapMetric(labels=LABELS)
    pairs = [CASES["half of left"][0], CASES["nothing found"][0]]
    metric.update((torch.cat([logits(pair[0]) for pair in pairs]), torch.tensor([pair[1] for pair in pairs])[:, None]))
    assert metric.compute() == pytest.approx((2 / 3 + 1 + 0 + 0) / 4)


def test_a_second_validation_starts_anew() -> None:
    metric = OverlapMetric(labels=LABELS)
    for case, mean in ((CASES["nothing found"][0], 0.0), (CASES["all right"][0], 1.0)):
        metric.reset()
        metric.update((logits(case[0]), torch.tensor(case[1])[None, None].to(torch.uint8)))
        assert metric.compute() == mean


def surface_scores(*cases: tuple[list[list[int]], list[list[int]]]) -> dict[str, float]:
    """The surface metrics of an engine that has seen these (prediction, truth) label maps, of pixels of 2 x 1 mm."""
    engine = Engine(lambda _, pair: {"pred": logits(pair[0]), "label": torch.tensor(pair[1])[None, None]})
    metric = SurfaceMetric(labels=LABELS, spacing_mm=[2.0, 1.0], tolerances_mm=[1.0, 2.0])
    metric.attach(engine, "val_mean_nsd")
    return dict(engine.run(cases).metrics)


def test_surfaces_are_those_of_evaluation() -> None:
    case = ([[1, 0], [1, 2], [0, 2]], [[1, 1], [0, 2], [0, 2]])
    found = surface_scores(case)
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    prediction, truth = (Image(np.array(labels), affine, Path("mask")) for labels in case)
    plan = ScorePlan(tolerances_mm=[1.0, 2.0])
    regions = {"left": [1], "right": [2]}
    table = {row.region: row.scores for row in score_case("c", prediction, truth, regions, spatial_dims=2, plan=plan)}
    for label, scores in table.items():
        for name in ("hd95_mm", "nsd_1mm", "nsd_2mm"):
            assert found[f"val_{name}/{label}"] == pytest.approx(scores[name])
    assert found["val_mean_nsd"] == pytest.approx((table["left"]["nsd_1mm"] + table["right"]["nsd_1mm"]) / 2)


def test_a_missed_label_never_looks_like_a_perfect_one() -> None:
    # MONAI's HD95 of these two cases is 0.0: it leaves out the case in which nothing was found
    found = surface_scores(CASES["nothing found"][0], CASES["all right"][0])
    diagonal = (4.0**2 + 2.0**2) ** 0.5
    assert found["val_hd95_mm/left"] == pytest.approx((diagonal + 0.0) / 2)
    assert (found["val_nsd_1mm/left"], found["val_mean_nsd"]) == (0.5, 0.5)


def test_nothing_there_and_nothing_found_is_perfect() -> None:
    found = surface_scores(CASES["nothing there, nothing found"][0])
    assert (found["val_hd95_mm/right"], found["val_mean_nsd"]) == (0.0, 1.0)


@pytest.mark.parametrize("tolerances", [[], [0.0], [float("nan")]], ids=["none", "zero", "nan"])
def test_a_surface_metric_needs_tolerances(tolerances: list[float]) -> None:
    with pytest.raises(BundleError, match="tolerances_mm"):
        SurfaceMetric(labels=LABELS, spacing_mm=[1.0, 1.0], tolerances_mm=tolerances)
