"""The registry of scores: every column that is written stands in it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.evaluation import METRICS, LesionRule, ScorePlan, score_case
from medseg.evaluation.metrics import in_order, nsd_name

EVERYTHING = ScorePlan(
    tolerances_mm=[1, 2.5],
    tolerances_px=[1, 2.5],
    tubes=["region"],
    lesions={"region": LesionRule(iou_above=0.5)},
)


def columns(axes: int, *, known: bool = True) -> set[str]:
    mask = np.zeros((6, 6, 6)[:axes], dtype=np.uint8)
    mask[1:4, 1:4] = 1
    image = Image(mask, np.eye(4), Path("mask"), spacing_known=known)
    (row,) = score_case("case", image, image, {"region": [1]}, spatial_dims=axes, plan=EVERYTHING)
    return set(row.scores)


KINDS = {"volume": (3, True), "picture": (2, True), "picture without spacing": (2, False)}


@pytest.mark.parametrize(("axes", "known"), KINDS.values(), ids=KINDS)
def test_every_score_that_is_taken_is_registered(axes: int, known: bool) -> None:
    assert all(METRICS[name].name == name for name in columns(axes, known=known))


def test_every_registered_score_is_taken_of_some_image() -> None:
    taken = set().union(*(columns(axes, known=known) for axes, known in KINDS.values()))
    assert set(METRICS) - taken == set()


@pytest.mark.parametrize(("axes", "known"), KINDS.values(), ids=KINDS)
def test_lengths_and_sizes_are_in_one_unit(axes: int, known: bool) -> None:
    units = {METRICS[name].unit for name in columns(axes, known=known)} - {"1", "lesions"}
    assert units == ({"ml", "mm"} if axes == 3 else {"cm2", "mm"} if known else {"px"})


def test_a_tolerance_stands_in_the_name() -> None:
    metric = METRICS[nsd_name(2.5, "mm")]
    assert (metric.name, metric.title, metric.higher_is_better) == ("nsd_2.5mm", "NSD at 2.5 mm", True)
    assert METRICS[nsd_name(3.0, "px")].heading == "NSD at 3 px"
    assert [METRICS[nsd_name(t, "mm")].name for t in (1e-5, 2e6)] == ["nsd_0.00001mm", "nsd_2000000mm"]


@pytest.mark.parametrize("name", ["nsd", "nsd_mm", "nsd_2", "nsd_2cm", "hd96_mm", "Dice"])
def test_what_is_no_score_is_not_there(name: str) -> None:
    assert name not in METRICS
    with pytest.raises(KeyError):
        in_order({name})


def test_columns_stand_in_the_order_of_the_registry_tolerances_rising() -> None:
    assert in_order({"nsd_10mm", "cldice", "nsd_2mm", "hd_mm", "dice", "nsd_0.5mm", "nsd_3px"}) == [
        *("dice", "hd_mm", "nsd_0.5mm", "nsd_2mm", "nsd_10mm"),
        *("nsd_3px", "cldice"),
    ]


def test_headings_tell_the_unit() -> None:
    assert (METRICS["hd95_mm"].heading, METRICS["dice"].heading) == ("HD95 (mm)", "Dice")


def test_each_score_has_a_source_and_a_title_of_its_own_in_its_unit() -> None:
    assert all(metric.source for metric in METRICS.values())
    assert len({metric.heading for metric in METRICS.values()}) == len(METRICS)


def test_the_page_about_scores_has_every_column() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "scores.md").read_text(encoding="utf-8")
    undescribed = [name for name in METRICS if f"`{name}`" not in page and METRICS[name].unit != "px"]
    assert undescribed == ["nsd_1mm", "nsd_1px"]  # there for any tolerance, as `nsd_2mm`
