"""Rows per case, their table, and their summary."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import DataError, GeometryError, LabelError
from medseg.evaluation import (
    METRICS,
    CaseScore,
    label_values,
    score_case,
    spread,
    summarise,
    write_scores,
    write_summary,
)


def labels(array, *, spacing=(1.0, 1.0, 1.0), known=True) -> Image:
    return Image(np.asarray(array, dtype=np.uint8), np.diag([*spacing, 1.0]), Path("a.nii.gz"), None, known)


def row(case: str, dice: float, *, region: str = "lung", empty: str = "none") -> CaseScore:
    return CaseScore(case, region, {"dice": dice, "iou": dice}, empty)


@pytest.mark.parametrize(
    ("spacing", "known", "voxel", "kind", "unit"),
    [
        pytest.param((10, 10, 5), True, 0.5, "volume", "ml", id="volume"),
        pytest.param((10, 5), True, 0.5, "area", "cm2", id="picture"),
        pytest.param((1, 1), False, 1, "area", "px", id="picture-without-spacing"),
    ],
)
def test_sizes_have_the_unit_that_the_spacing_allows(spacing, known, voxel, kind, unit) -> None:
    shape = (4, 1, 1)[: len(spacing)]
    truth, prediction = (np.reshape(values, shape) for values in ([1, 1, 0, 0], [0, 1, 1, 1]))
    masks = [labels(mask, spacing=(*spacing, 1)[:3], known=known) for mask in (prediction, truth)]
    (row,) = score_case("a", *masks, {"lung": [1]}, spatial_dims=len(shape))
    sizes = {name: value for name, value in row.scores.items() if METRICS[name].unit == unit or "relative" in name}
    sizes = {name: value for name, value in sizes.items() if not name.startswith(("hd", "assd"))}
    assert sizes == pytest.approx(
        {
            f"truth_{unit}": 2 * voxel,
            f"predicted_{unit}": 3 * voxel,
            f"{kind}_difference_{unit}": voxel,
            f"{kind}_error_{unit}": voxel,
            f"{kind}_error_relative": 0.5,
        }
    )


@pytest.mark.parametrize(
    ("truth", "prediction", "difference", "relative"),
    [
        pytest.param([1, 1, 0], [1, 0, 0], -1, 0.5, id="too-small"),
        pytest.param([1, 0, 0], [1, 1, 1], 2, 2.0, id="thrice-the-truth"),
        pytest.param([0, 0, 0], [0, 1, 1], 2, 1.0, id="truth-empty"),
        pytest.param([1, 1, 0], [0, 0, 0], -2, 1.0, id="prediction-empty"),
        pytest.param([0, 0, 0], [0, 0, 0], 0, 0.0, id="both-empty"),
    ],
)
def test_the_error_of_the_volume_is_defined_for_empty_masks(truth, prediction, difference, relative) -> None:
    masks = [labels(np.reshape(mask, (3, 1, 1)), spacing=(10, 10, 10)) for mask in (prediction, truth)]
    (row,) = score_case("a", *masks, {"lung": [1]}, spatial_dims=3)
    assert row.scores["volume_difference_ml"] == pytest.approx(difference)
    assert row.scores["volume_error_ml"] == pytest.approx(abs(difference))
    assert row.scores["volume_error_relative"] == pytest.approx(relative)


def test_masks_on_different_grids_are_refused_with_both_values() -> None:
    truth, prediction = labels(np.ones((2, 2, 2)), spacing=(1, 1, 2)), labels(np.ones((2, 2, 2)))
    with pytest.raises(GeometryError, match=r"case 0042.*spacing \(1, 1, 1\) mm against \(1, 1, 2\) mm"):
        score_case("0042", prediction, truth, {"lung": [1]}, spatial_dims=3)


def test_a_region_of_background_is_refused() -> None:
    image = labels(np.ones((2, 2, 2)))
    with pytest.raises(LabelError, match="rest"):
        score_case("a", image, image, {"lung": [1], "rest": [0, 2]}, spatial_dims=3)


@pytest.mark.parametrize("order", ["C", "F"])
def test_many_labels_are_scored_as_one_by_one(order) -> None:
    rng = np.random.default_rng(5)
    arrays = [np.pad(rng.integers(0, 9, (4, 5, 6)), ((0, 2), (1, 0), (3, 1))) for _ in range(2)]
    prediction, truth = (labels(np.asarray(a, order=order), spacing=(1.0, 2.0, 0.5)) for a in arrays)
    regions = {str(value): [value] for value in range(1, 10)} | {"some": [2, 5, 7]}
    for row in score_case("a", prediction, truth, regions, spatial_dims=3):
        masks = [labels(np.isin(array, regions[row.region]), spacing=(1.0, 2.0, 0.5)) for array in arrays]
        (alone,) = score_case("a", *masks, {row.region: [1]}, spatial_dims=3)
        assert row.empty == alone.empty
        assert row.scores == pytest.approx(alone.scores)


def test_labels_as_high_as_a_file_may_hold_them_take_no_table_of_that_length() -> None:
    values = [*range(1, 8), 2_000_000_000]
    truth = np.array([0, *values], dtype=np.int32).reshape(3, 3, 1)
    prediction = np.where(truth == 7, 6, np.where(truth == 0, 1, truth))
    assert label_values(truth) == [0, *values]
    regions = {str(value): [value] for value in values}
    pair = [replace(labels(truth > 0), array=array) for array in (prediction, truth)]
    rows = score_case("a", *pair, regions, spatial_dims=3)
    dice = {row.region: row.scores["dice"] for row in rows}
    assert dice == pytest.approx({**dict.fromkeys(regions, 1.0), "1": 2 / 3, "6": 2 / 3, "7": 0.0})
    assert [row.scores["hd_mm"] for row in rows if row.region in ("5", "2000000000")] == [0.0, 0.0]


def test_table_holds_one_line_per_case_and_region(tmp_path: Path) -> None:
    truth, prediction = labels([[[1], [1], [2]]]), labels([[[1], [0], [2]]])
    rows = score_case("a,b", prediction, truth, {"left": [1], "right": [2]}, spatial_dims=3)
    write_scores(rows, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [(r["case"], r["region"], r["dice"]) for r in read] == [("a,b", "left", "0.666667"), ("a,b", "right", "1")]
    assert (read[0]["recall"], read[0]["truth_ml"], read[0]["empty"]) == ("0.5", "0.002", "none")


def test_spread_by_hand() -> None:
    got = spread([1.0, 2.0, 3.0, 4.0, 10.0])
    # squares of the distances from the mean 4: 9 + 4 + 1 + 0 + 36 = 50, divided by n - 1 = 4
    assert (got["n"], got["mean"], got["median"], got["sd"]) == (5, 4.0, 3.0, pytest.approx(12.5**0.5))
    assert (got["min"], got["q1"], got["q3"], got["max"]) == (1.0, 2.0, 4.0, 10.0)
    low, high = got["mean_ci95"]
    assert 1.0 <= low < 4.0 < high <= 10.0


def test_interval_of_the_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = spread(values)["mean_ci95"]
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.015),
        pytest.approx(values.mean() + half, abs=0.015),
    )


def test_one_case_has_no_spread_and_no_case_is_refused() -> None:
    one = spread([0.9])
    assert (one["sd"], one["mean_ci95"]) == (0.0, None)
    with pytest.raises(DataError, match="no case"):
        spread([])


def test_empty_masks_stay_in_the_mean_and_are_counted() -> None:
    rows = [row("a", 0.0, empty="prediction"), row("b", 1.0), row("c", 1.0, empty="both"), row("d", 0.0, empty="truth")]
    lung = summarise(rows)["regions"]["lung"]
    assert (lung["dice"]["n"], lung["dice"]["mean"]) == (4, 0.5)
    assert lung["empty"] == {"truth": 1, "prediction": 1, "both": 1}


def test_worst_cases_come_lowest_first_with_their_values() -> None:
    rows = [row(f"case{i}", i / 10) for i in range(9, 0, -1)]
    worst = summarise(rows)["regions"]["lung"]["worst"]
    assert worst == [{"case": f"case{i}", "dice": i / 10} for i in range(1, 6)]


def test_mean_over_regions_is_by_case() -> None:
    rows = [row("a", 0.8), row("a", 0.6, region="heart"), row("b", 0.9), row("b", 0.9, region="heart")]
    summary = summarise(rows)
    assert summary["cases"] == 2
    assert summary["mean_over_regions"]["dice"]["mean"] == pytest.approx((0.7 + 0.9) / 2)
    assert summary["mean_over_regions"]["dice"]["min"] == pytest.approx(0.7)


def test_summary_is_reproducible_and_plain_json(tmp_path: Path) -> None:
    rows = [row(f"c{i}", i / 7) for i in range(7)]
    write_summary(summarise(rows), tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == summarise(rows)
