"""What a plan asks for, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import BundleError
from medseg.evaluation import LesionRule, ScorePlan, score_case


def scored(truth: list[int], prediction: list[int], plan: ScorePlan) -> dict[str, dict[str, float]]:
    """Scores by region of a row of voxels of 2 mm along X."""
    masks = [
        Image(np.array(values, dtype=np.uint8).reshape(-1, 1, 1), np.diag([2.0, 1.0, 1.0, 1.0]), Path("mask"))
        for values in (prediction, truth)
    ]
    rows = score_case("case", *masks, {"tumour": [1], "airway": [2], "both": [1, 2]}, spatial_dims=3, plan=plan)
    return {row.region: dict(row.scores) for row in rows}


def test_tolerances_of_every_region_or_of_some() -> None:
    alike = scored([1, 2], [1, 2], ScorePlan(tolerances_mm=[3, 1.5]))
    assert all({"nsd_1.5mm", "nsd_3mm"} <= set(scores) for scores in alike.values())
    some = scored([1, 2], [1, 2], ScorePlan(tolerances_mm={"tumour": [2]}))
    assert {region: [name for name in scores if "nsd" in name] for region, scores in some.items()} == {
        "tumour": ["nsd_2mm"],
        "airway": [],
        "both": [],
    }


def test_tubes_and_lesions_are_scored_where_they_are_declared() -> None:
    plan = ScorePlan(tubes=["airway"], lesions={"tumour": LesionRule(iou_above=0.5)})
    found = scored([1, 0, 1, 2, 2], [1, 0, 0, 2, 0], plan)
    assert (found["tumour"]["lesions_truth"], found["tumour"]["lesion_f1"]) == (2, pytest.approx(2 / 3))
    assert found["airway"]["cldice"] == pytest.approx(2 / 3)
    assert "cldice" not in found["tumour"]
    assert "lesion_f1" not in found["airway"]


def test_distances_are_in_millimetres_of_the_whole_image() -> None:
    # the tumour is missed: the diagonal of 5 voxels of 2 x 1 x 1 mm
    found = scored([1, 0, 0, 2, 2], [0, 0, 0, 2, 2], ScorePlan())
    assert found["tumour"]["hd95_mm"] == found["tumour"]["assd_mm"] == pytest.approx((100 + 1 + 1) ** 0.5)
    assert found["airway"]["hd_mm"] == 0.0
    assert found["both"]["hd_mm"] == 6.0  # from the lost voxel's outer corners to the first ones of the rest


def test_without_distances_there_are_none() -> None:
    assert not [name for name in scored([1], [1], ScorePlan(distances=False))["tumour"] if name.endswith("_mm")]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"tolerances_mm": [0]}, id="zero"),
        pytest.param({"tolerances_mm": {"tumour": [1, -2]}}, id="negative"),
        pytest.param({"tolerances_px": [float("inf")]}, id="endless"),
        pytest.param({"tolerances_px": ["2"]}, id="text"),
        pytest.param({"tolerances_mm": [1], "distances": False}, id="without-distances"),
    ],
)
def test_tolerances_that_are_none_are_refused(settings) -> None:
    with pytest.raises(BundleError, match="ScorePlan: tolerances"):
        ScorePlan(**settings)


def test_a_region_that_is_not_there_is_refused_with_those_that_are() -> None:
    plan = ScorePlan(tubes=["vessel"], tolerances_mm={"heart": [2]}, lesions={"tumor": LesionRule(iou_above=0.5)})
    with pytest.raises(BundleError, match=r"heart, tumor, vessel.*tumour, airway"):
        plan.check(["tumour", "airway"])
    ScorePlan(tubes=["airway"]).check(["tumour", "airway"])
