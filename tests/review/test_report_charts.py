"""The plots: their numbers by hand, their places on the page, and their few words."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from medseg.review.report import flagging
from medseg.review.report.charts import agreement, bland_altman, boxes, curves
from medseg.review.report.folders import Results
from medseg.review.report.svg import LEFT, RIGHT, WIDTH, Scale, around, fixed, nice_ticks, number

SVG = "{http://www.w3.org/2000/svg}"


def marks(svg: str, kind: str) -> list[dict[str, str]]:
    """Attributes of the marks whose class begins so."""
    return [one.attrib for one in Xml.fromstring(svg).iter() if one.attrib.get("class", "").startswith(kind)]


def test_limits_of_agreement_by_hand() -> None:
    # differences 1, 3, 5: mean 3, sd 2
    found = agreement([1.0, 3.0, 5.0])
    assert (found.bias, found.sd) == (3.0, 2.0)
    assert (found.low, found.high) == pytest.approx((3 - 3.92, 3 + 3.92))


def test_one_case_has_no_spread() -> None:
    assert agreement([2.0]).sd == 0.0
    assert "n 1" in bland_altman("Volume", [("a", 10.0, 12.0)], unit="ml").caption


def test_a_bland_altman_plot_tells_its_numbers_and_draws_every_case() -> None:
    figure = bland_altman("Volume", [("a", 10.0, 11.0), ("b", 20.0, 23.0), ("c", 30.0, 35.0)], unit="ml")
    assert figure.caption.startswith("Bias 3 ml, limits of agreement \N{MINUS SIGN}0.92 to 6.92 ml (n 3)")
    dots = marks(figure.svg, "dot")
    assert len(dots) == 3
    # means 10.5, 21.5, 32.5 lie evenly across, differences 1, 3, 5 evenly upwards
    x, y = ([float(dot[name]) for dot in dots] for name in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.11)
    assert (len(marks(figure.svg, "bias")), len(marks(figure.svg, "limit"))) == (1, 2)


def test_a_box_by_hand() -> None:
    # 0, 1, 2, 3, 10: quartiles 1, 2, 3; whiskers to 0 and 3, as 10 is beyond 3 + 1.5 * 2
    many = [(str(v), float(v)) for v in (0, 1, 2, 3, 10)]
    svg = boxes("Score", {"lung": many}, label="Score").svg
    scale = Scale(*around([0.0, 10.0]), RIGHT, WIDTH - RIGHT)
    (box,), (median,) = marks(svg, "box"), marks(svg, "median")
    assert float(box["x"]) == pytest.approx(scale(1), abs=0.06)
    assert float(box["width"]) == pytest.approx(scale(3) - scale(1), abs=0.06)
    assert float(median["x1"]) == pytest.approx(scale(2), abs=0.06)
    below, above = marks(svg, "whisker")
    assert (float(below["x1"]), float(below["x2"])) == pytest.approx((scale(0), scale(1)), abs=0.06)
    assert (float(above["x1"]), float(above["x2"])) == pytest.approx((scale(3), scale(3)), abs=0.06)
    assert len(marks(svg, "case-dot")) == 5


def test_of_very_many_cases_only_what_stands_out_is_drawn_and_said() -> None:
    many = [(str(i), i / 1000) for i in range(1000)] + [("far", 10.0)]
    figure = boxes("Score", {"lung": many}, label="Score")
    assert len(marks(figure.svg, "case-dot")) == 1
    assert figure.caption.startswith("Points are the cases beyond the whiskers")
    cloud = bland_altman("Volume", [(str(i), float(i), i + 1.0) for i in range(1000)], unit="ml")
    assert len(marks(cloud.svg, "dot")) == 334
    assert "one case of 3 is drawn" in cloud.caption


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5, 0.5], [0.0]], ids=["one", "equal", "zero"])
def test_curves_of_one_or_of_equal_values_can_be_drawn(values: list[float]) -> None:
    points = [(float(i), v) for i, v in enumerate(values, start=1)]
    assert len(marks(curves("Loss", {"loss": points}, y_label="loss").svg, "dot")) == len(values)


def test_names_from_files_are_text_in_a_plot() -> None:
    evil = '<script>"&'
    svg = boxes("Score", {evil: [(evil, 1.0), ("b", 2.0)]}, label="Score").svg
    assert "<script" not in svg
    assert evil in "".join(Xml.fromstring(svg).itertext())


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 12, [0, 5, 10]),
        (0.91, 0.99, [0.92, 0.94, 0.96, 0.98]),
        (1000, 36000, [10000, 20000, 30000]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_a_logarithmic_scale_puts_powers_of_ten_evenly() -> None:
    scale = Scale(1e-5, 1e-2, LEFT, WIDTH, log=True)
    assert scale.ticks() == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert scale(1e-3) - scale(1e-4) == pytest.approx(scale(1e-4) - scale(1e-5))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.95664, "0.9566"), (12345.6, "12,346"), (-1234.5, "\N{MINUS SIGN}1234"), (0, "0"), (1e-5, "1e\N{MINUS SIGN}5")],
)
def test_numbers_for_people(value: float, expected: str) -> None:
    assert number(value) == expected


def test_no_minus_zero() -> None:
    assert fixed(-0.0001, 2) == "0.00"
    assert fixed(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"


@pytest.mark.parametrize("failed", range(5))
def test_one_failed_case_has_a_roc_curve_whichever_it_is(failed: int) -> None:
    rows = [{"case": str(i), "region": "a", "dice": "0.1" if i == failed else "0.9"} for i in range(5)]
    manifests = {str(i): {"flag_excess": 2.0 if i == failed else 0.5, "predicted_dice": {}} for i in range(5)}
    summary = {"failure_flags": {"dice_below": 0.5, "roc": {"rules": {"auc": 1.0, "auc_ci95": [1.0, 1.0]}}}}
    (figure,) = flagging.plots(Results(Path(), "evaluation", {}, scores=rows, summary=summary, manifests=manifests))
    assert figure.caption == "A case failed where a region has a Dice below 0.5: 1 of 5."
