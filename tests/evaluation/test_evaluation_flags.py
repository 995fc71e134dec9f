"""Failure flags: features counted by hand, limits and their share of alarms, the regression, made failures."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import BundleError, DataError
from medseg.evaluation.expected_dice import FEATURES, DicePredictor, fit_regression, regression_inputs
from medseg.evaluation.features import CaseFeatures, intensity_features, region_features
from medseg.evaluation.flag_record import (
    FlagRecord,
    Judgement,
    read_flag_record,
    write_flag_record,
    write_flags,
)
from medseg.evaluation.flag_summary import confidence_against_dice, flag_summary, worst_dice
from medseg.evaluation.flags import LARGEST_EXCESS, Limits, make_limits
from medseg.evaluation.made_failures import KINDS, spoilt
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.table import CaseRecord


@dataclass(frozen=True)
class Sure:
    value: int
    mean_confidence: float
    mean_entropy: float


def labels(array, *, spacing=(10.0, 10.0, 10.0)) -> Image:
    return Image(np.asarray(array, dtype=np.uint8), np.diag([*spacing, 1.0]), Path("m.nii.gz"))


def test_features_of_a_volume_by_hand() -> None:
    array = np.zeros((5, 5, 5), np.uint8)
    array[0:2, 2, 2] = 1  # two voxels of 1 ml, one of them on the border
    raw = array.copy()
    raw[4, 4, 4] = 1  # a stray piece that postprocessing dropped
    found = region_features(
        labels(array), raw=raw, names={0: "background", 1: "lung", 2: "heart"}, sure=[Sure(1, 0.9, 0.2)]
    )
    assert found["lung"] == {
        "volume_ml": pytest.approx(2.0),
        "border_share": 0.5,
        "centre_right": 0.125,  # x 0 and 1 of 0 to 4
        "centre_anterior": 0.5,
        "centre_superior": 0.5,
        "fragments": 2.0,
        "largest_share": pytest.approx(2 / 3),
        "confidence": 0.9,
        "entropy": 0.2,
    }
    assert found["heart"] == {"volume_ml": 0.0, "fragments": 0.0}


def test_pieces_that_touch_by_a_corner_are_one() -> None:
    raw = np.zeros((4, 4, 4), np.uint8)
    raw[1, 1, 1] = raw[2, 2, 2] = 1
    assert region_features(labels(raw), raw=raw, names={1: "lung"})["lung"]["fragments"] == 1


def test_the_centre_is_the_patients_however_the_file_is_stored() -> None:
    array = np.zeros((5, 6, 7), np.uint8)
    array[0, 1, 5] = 1
    image = labels(array)
    flipped = Image(array[::-1, ::-1], np.diag([-10.0, -10.0, 10.0, 1.0]), Path("f.nii.gz"))
    turned = Image(array.transpose(2, 0, 1), image.affine[:, [2, 0, 1, 3]], Path("t.nii.gz"))
    expected = region_features(image, raw=image.array, names={1: "x"})["x"]
    for other in (flipped, turned):
        assert region_features(other, raw=other.array, names={1: "x"})["x"] == pytest.approx(expected)


def test_features_of_a_picture_by_hand() -> None:
    array = np.zeros((4, 5), np.uint8)
    array[1, 0:2] = 1
    image = Image(array, np.eye(4), Path("m.png"), None, False)
    assert region_features(image, raw=array, names={1: "lung"})["lung"] == {
        "area_share": 0.1,
        "border_share": 0.5,
        "centre_across": pytest.approx(1 / 3),
        "centre_down": 0.125,
        "fragments": 1.0,
        "largest_share": 1.0,
    }


def test_intensities_by_hand_and_by_channel() -> None:
    values = np.array([[[0.0, 1.0], [2.0, 3.0]]])  # steps of 2 along the first axis, of 1 along the second
    found = intensity_features(values, np.eye(4))
    assert (found["mean"], found["p50"]) == (1.5, 1.5)
    assert found["sd"] == pytest.approx(math.sqrt(1.25))
    assert found["roughness"] == pytest.approx(1.5 / math.sqrt(1.25))
    two = intensity_features(np.concatenate([values, 10 * values]), np.eye(4))
    assert (two["mean_0"], two["mean_1"]) == (1.5, 15.0)
    assert two["roughness_1"] == pytest.approx(two["roughness_0"])
    assert intensity_features(np.ones((1, 3, 3)), np.eye(4))["roughness"] == 0.0


def test_where_bright_parts_lie_by_hand_and_however_the_file_is_stored() -> None:
    """A body over 4 to 15 of 20 columns, its bright tenth in 14 and 15: 5 of 19 steps from the body's middle."""
    picture = np.zeros((1, 20, 5))
    picture[:, 4:16], picture[:, 14:16] = 2, 3
    found = intensity_features(picture, np.eye(4))
    assert (found["bright_across"], found["bright_down"]) == (pytest.approx(5 / 19), 0.0)
    assert intensity_features(picture[:, ::-1], np.eye(4))["bright_across"] == pytest.approx(-5 / 19)
    volume = np.repeat(picture[..., None], 4, axis=3)
    stored = [intensity_features(volume, np.eye(4)), intensity_features(volume[:, ::-1], np.diag([-1.0, 1, 1, 1]))]
    stored.append(intensity_features(volume.transpose(0, 3, 1, 2), np.eye(4)[:, [2, 0, 1, 3]]))
    for one in stored:
        towards = one["bright_right"], one["bright_anterior"], one["bright_superior"]
        assert towards == pytest.approx((5 / 19, 0.0, 0.0))


def test_a_patient_turned_by_half_a_turn_is_flagged() -> None:
    """As a prone patient under a supine header: the spine lies in front, each number of the whole is as usual."""
    rng = np.random.default_rng(3)
    chests = []
    for _ in range(40):
        chest = np.zeros((1, 30, 24, 10))
        chest[:, 4:26, 4:20] = 1 + 0.2 * rng.random((1, 22, 16, 10))
        chest[:, 13:17, rng.integers(5, 7) : 9] = 3
        chests.append(chest)
    drawn = [CaseFeatures(intensity_features(chest, np.eye(4)), case(20.0).regions) for chest in chests]
    limits = make_limits(drawn, drawn, share_flagged=0.05)
    assert sum(bool(limits.flags(one)) for one in drawn) <= 2
    turned = CaseFeatures(intensity_features(chests[0][:, ::-1, ::-1], np.eye(4)), case(20.0).regions)
    (flag,) = limits.flags(turned)
    assert (flag.rule, flag.region) == ("turned", "")
    assert flag.text.startswith("turned? bright parts lie towards the front by 0.")


def test_a_large_image_is_looked_at_on_a_coarser_grid() -> None:
    values = np.random.default_rng(0).normal(5, 2, (1, 160, 160, 160)).astype(np.float32)
    found = intensity_features(values, np.eye(4))
    assert found["mean"] == pytest.approx(5, abs=0.02)
    assert found["sd"] == pytest.approx(2, abs=0.02)


def case(volume: float, *, entropy: float = 0.1, centre: float = 0.5, mean: float = 1.0) -> CaseFeatures:
    numbers = {"volume_ml": volume, "border_share": 0.0, "centre_right": centre, "fragments": 1.0, "largest_share": 1.0}
    return CaseFeatures({"mean": mean}, {"lung": {**numbers, "confidence": 1 - entropy, "entropy": entropy}})


def population(n: int, seed: int) -> list[CaseFeatures]:
    rng = np.random.default_rng(seed)
    return [
        case(
            math.exp(rng.normal(3, 0.2)),
            entropy=rng.uniform(0.05, 0.15),
            centre=rng.normal(0.5, 0.05),
            mean=rng.normal(1, 0.1),
        )
        for _ in range(n)
    ]


@pytest.fixture(scope="module")
def limits() -> Limits:
    return make_limits(population(400, 0), population(400, 1), share_flagged=0.05)


def rules(found: list) -> set[tuple[str, str]]:
    return {(flag.rule, flag.region) for flag in found}


def test_about_the_share_of_good_cases_that_was_asked_for_is_flagged(limits: Limits) -> None:
    share = np.mean([bool(limits.flags(one)) for one in population(2000, 2)])
    assert 0.02 < share < 0.09
    wider = make_limits(population(400, 0), population(400, 1), share_flagged=0.3)
    assert np.mean([bool(wider.flags(one)) for one in population(2000, 2)]) > 0.15


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"volume": 100.0}, ("volume", "lung")),
        ({"volume": 4.0}, ("volume", "lung")),
        ({"entropy": 0.5}, ("entropy", "lung")),
        ({"centre": 0.95}, ("position", "lung")),
        ({"mean": 3.0}, ("intensity", "")),
    ],
    ids=["too-large", "too-small", "unsure", "elsewhere", "too-bright"],
)
def test_each_rule_is_broken_by_its_own_number(
    limits: Limits, changed: dict[str, float], rule: tuple[str, str]
) -> None:
    good = case(20.0)
    assert limits.flags(good) == []
    assert limits.excess(good) < 1
    bad = case(**{"volume": 20.0, **changed})
    assert rules(limits.flags(bad)) == {rule}
    assert limits.excess(bad) > 1


@pytest.mark.parametrize(
    ("feature", "value", "rule"),
    [("fragments", 9.0, "fragments"), ("largest_share", 0.4, "fragments"), ("border_share", 0.3, "border")],
)
def test_what_was_never_seen_has_limits_too(limits: Limits, feature: str, value: float, rule: str) -> None:
    good = case(20.0)
    bad = CaseFeatures(good.intensity, {"lung": {**good.regions["lung"], feature: value}})
    (flag,) = limits.flags(bad)
    assert (flag.rule, flag.region, flag.value) == (rule, "lung", value)


def test_the_worst_comes_first_and_each_rule_once_a_region(limits: Limits) -> None:
    good = case(20.0)
    numbers = {**good.regions["lung"], "fragments": 4.5, "largest_share": 0.2, "entropy": 0.25}
    found = limits.flags(CaseFeatures(good.intensity, {"lung": numbers}))
    assert [(flag.rule, flag.value) for flag in found] == [("fragments", 0.2), ("entropy", 0.25)]


def test_a_sure_network_is_no_reason_to_look(limits: Limits) -> None:
    assert limits.flags(case(20.0, entropy=0.0)) == []


def test_a_region_that_is_not_found_is_flagged_once(limits: Limits) -> None:
    lost = CaseFeatures({"mean": 1.0}, {"lung": {"volume_ml": 0.0, "fragments": 0.0}})
    (flag,) = limits.flags(lost)
    assert (flag.rule, flag.region) == ("missing", "lung")
    assert limits.excess(lost) == LARGEST_EXCESS


def test_a_region_that_training_cases_lack_may_be_missing() -> None:
    none = CaseFeatures({"mean": 1.0}, {"lung": {"volume_ml": 0.0, "fragments": 0.0}})
    found = make_limits([*population(50, 0), none], population(50, 1), share_flagged=0.05)
    assert found.always == ()
    assert found.flags(none) == []


def test_a_flag_says_value_limit_and_what_was_seen(limits: Limits) -> None:
    (flag,) = limits.flags(case(100.0))
    assert (flag.rule, flag.region, flag.value) == ("volume", "lung", 100.0)
    assert 25 < flag.limit < 60
    assert flag.text.startswith("lung: volume 100 ml, above ")
    assert "(seen: " in flag.text


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="a share between 0 and 1"):
        make_limits(population(5, 0), population(5, 1), share_flagged=share)
    with pytest.raises(DataError, match="at least one case"):
        make_limits([], population(5, 1), share_flagged=0.05)


def examples(n: int, limits: Limits) -> tuple[list[CaseFeatures], list[float], list[str]]:
    """Cases whose Dice falls with their entropy, two of each patient."""
    rng = np.random.default_rng(7)
    entropy = rng.uniform(0, 0.6, n)
    dice = 1 / (1 + np.exp(-(3 - 8 * entropy))) + rng.normal(0, 0.02, n)
    return [case(20.0, entropy=e) for e in entropy], dice.clip(0, 1).tolist(), [str(i // 2) for i in range(n)]


def test_the_regression_finds_what_the_dice_depends_on(limits: Limits) -> None:
    cases, dice, patients = examples(120, limits)
    inputs = [regression_inputs(one, limits)["lung"] for one in cases]
    assert tuple(inputs[0]) == FEATURES
    fitted, held_out = fit_regression(inputs, dice, patients=patients)
    assert (fitted.cases, fitted.patients, fitted.error["folds"]) == (120, 60, 5)
    assert fitted.error["mae"] < 0.05
    assert fitted.error["mae"] == pytest.approx(np.abs(held_out - dice).mean(), abs=1e-6)
    assert fitted.error["r2"] > 0.9
    new = regression_inputs(case(20.0, entropy=0.3), limits)["lung"]
    assert fitted(new) == pytest.approx(1 / (1 + math.exp(-0.6)), abs=0.06)
    highest = fitted.seen["entropy"][1]  # nothing is extrapolated beyond what was seen
    assert fitted({**new, "entropy": 50.0}) == fitted({**new, "entropy": highest})


def test_the_error_is_of_patients_that_the_regression_did_not_see(limits: Limits) -> None:
    """Dice that depends on nothing but the patient cannot be told for new patients."""
    rng = np.random.default_rng(1)
    of_patient = rng.uniform(0.2, 0.9, 30)
    cases = [case(20.0 * math.exp(rng.normal(0, 0.1)), entropy=rng.uniform(0, 0.2)) for _ in range(60)]
    inputs = [regression_inputs(one, limits)["lung"] for one in cases]
    fitted, _ = fit_regression(inputs, np.repeat(of_patient, 2), patients=[str(i // 2) for i in range(60)])
    assert fitted.error["r2"] < 0.1


def test_importance_counts_like_copies(limits: Limits) -> None:
    cases, dice, patients = examples(40, limits)
    inputs = [regression_inputs(one, limits)["lung"] for one in cases]
    twice, _ = fit_regression([*inputs, *inputs], [*dice, *dice], patients=[*patients, *patients])
    weighted, _ = fit_regression(
        [*inputs, *inputs[:20], *inputs[:20]],
        [*dice, *dice[:20], *dice[:20]],
        patients=[*patients, *patients[:20], *patients[:20]],
        importance=[2.0 / 3 if i < 20 or i >= 40 else 2.0 for i in range(80)],
    )
    probe = inputs[25]
    assert weighted(probe) == pytest.approx(twice(probe), abs=1e-6)


def test_too_few_cases_or_patients_make_no_regression(limits: Limits) -> None:
    cases, dice, patients = examples(20, limits)
    inputs = [regression_inputs(one, limits)["lung"] for one in cases]
    with pytest.raises(DataError, match="at least 10 cases of several patients"):
        fit_regression(inputs[:9], dice[:9], patients=patients[:9])
    with pytest.raises(DataError, match="20 cases of 1 patients"):
        fit_regression(inputs, dice, patients=["p"] * 20)


@pytest.fixture(scope="module")
def record(limits: Limits) -> FlagRecord:
    cases, dice, patients = examples(120, limits)
    inputs = [regression_inputs(one, limits)["lung"] for one in cases]
    fitted, _ = fit_regression(inputs, dice, patients=patients)
    return FlagRecord("f00", limits, DicePredictor(0.8, {"lung": fitted}), {"data": "made"})


def test_a_record_is_read_as_it_was_written_and_judges_the_same(record: FlagRecord, tmp_path: Path) -> None:
    write_flag_record(record, tmp_path / "flags.json")
    read = read_flag_record(tmp_path / "flags.json")
    assert read is not None
    assert (read.weights_sha256, read.about) == ("f00", {"data": "made"})
    for one in (case(20.0), case(100.0), case(20.0, entropy=0.55)):
        ours, theirs = record.judge(one), read.judge(one)
        assert rules(list(ours.flags)) == rules(list(theirs.flags))
        assert theirs.predicted_dice == pytest.approx(ours.predicted_dice, abs=1e-4)
    assert read_flag_record(tmp_path / "none.json") is None


def test_a_limit_that_six_digits_do_not_tell_from_the_median_is_passed_by_all_beyond_it(tmp_path: Path) -> None:
    white = [CaseFeatures({"p95": 65535.0}, {})] * 3
    write_flag_record(FlagRecord("f00", make_limits(white, white, share_flagged=0.05)), tmp_path / "flags.json")
    read = read_flag_record(tmp_path / "flags.json")
    assert read is not None
    assert [read.limits.excess(CaseFeatures({"p95": value}, {})) for value in (65535.0, 65000.0)] == [0.0, 5.0]


@pytest.mark.parametrize("grows", [1, -1], ids=["most are small", "most are large"])
def test_limits_that_no_number_holds_are_the_widest_that_one_does(grows: int, tmp_path: Path) -> None:
    """One image of 30 is blank: w is about 200, and sizes within four decades have limits beyond e to the 709."""
    logarithms = [grows * one for one in np.concatenate([np.linspace(-3, -2, 20), np.linspace(-2, 5, 10)])]
    cases = [
        CaseFeatures({"roughness": 0.0 if i == 0 else 0.3 + 0.01 * (i % 5)}, {"lesion": {"volume_ml": math.exp(log)}})
        for i, log in enumerate(logarithms)
    ]
    write_flag_record(FlagRecord("f00", make_limits(cases, cases, share_flagged=0.05)), tmp_path / "flags.json")
    read = read_flag_record(tmp_path / "flags.json")
    assert read is not None
    assert read.limits.widening["image"] > 150
    for volume_ml in (1e-6, 1e6):
        assert 0 < read.limits.excess(CaseFeatures({}, {"lesion": {"volume_ml": volume_ml}})) < 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights_sha256": "x", "limits": {}, "predictor": null}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "flags.json").write_text(text)
    with pytest.raises(BundleError, match=r"no record of failure flags.*medseg flags limits"):
        read_flag_record(tmp_path / "flags.json")


def test_a_probably_failed_region_is_flagged_by_its_predicted_dice(record: FlagRecord, tmp_path: Path) -> None:
    good, bad = record.judge(case(20.0, entropy=0.02)), record.judge(case(20.0, entropy=0.5))
    assert good.flags == ()
    assert good.predicted_dice["lung"] > 0.85
    assert ("predicted_dice", "lung") in rules(list(bad.flags))
    assert bad.predicted_dice["lung"] < 0.5
    again = Judgement.from_json(json.loads(json.dumps(bad.to_json())))
    assert (again.flags, again.excess, again.predicted_dice) == (bad.flags, bad.excess, bad.predicted_dice)
    write_flags([("a", good), ("b", bad)], tmp_path / "flags.csv")
    with (tmp_path / "flags.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["case"] for row in table} == {"b"}
    assert {row["rule"] for row in table} == {flag.rule for flag in bad.flags}


def test_of_regions_that_probably_failed_the_worst_comes_first() -> None:
    flags = DicePredictor(0.8, {}).flags({"left lung": 0.5, "right lung": 0.9, "heart": 0.2})
    assert [flag.region for flag in flags] == ["heart", "left lung"]


def test_the_summary_counts_failures_and_tells_how_well_they_were_told(record: FlagRecord) -> None:
    dice = {"a": 0.95, "b": 0.9, "c": 0.3, "d": 0.79}
    judged = {name: record.judge(case(20.0, entropy=e)) for name, e in zip(dice, (0.02, 0.05, 0.5, 0.05), strict=True)}
    rows = [CaseScore(name, "lung", {"dice": value}, "none") for name, value in dice.items()]
    rows += [CaseScore(name, "heart", {"dice": 1.0}, "none") for name in dice]
    assert worst_dice(rows) == dice
    summary = flag_summary(judged, rows, record, patients={name: name for name in dice})
    assert (summary["cases"], summary["flagged"], summary["failed"], summary["failed_and_flagged"]) == (4, 1, 2, 1)
    # Of the pairs of a failed and a good case: c is above both, d ties with b and is above a.
    assert summary["roc"]["predicted_dice"]["auc"] == pytest.approx((2 + 0.5 + 1) / 4)
    fine = flag_summary({"a": judged["a"]}, rows, record, patients={"a": "a"})
    assert fine["roc"] == {"rules": None, "predicted_dice": None}


def test_confidence_of_cases_against_their_dice() -> None:
    rows = [CaseScore(name, "lung", {"dice": d}, "none") for name, d in zip("abcd", (0.2, 0.5, 0.7, 0.9), strict=True)]
    records = [CaseRecord(name, name, "", c) for name, c in zip("abcd", (0.6, 0.7, 0.9, 0.8), strict=True)]
    found = confidence_against_dice(records, rows)
    # Ranks 1 2 3 4 against 1 2 4 3: 1 - 6 * 2 / (4 * 15).
    assert found["spearman_with_worst_dice"] == pytest.approx(0.8)
    assert (found["cases"], found["mean"]) == (4, pytest.approx(0.75))
    assert confidence_against_dice(records[:2], rows)["spearman_with_worst_dice"] is None
    unknown = [CaseRecord("a", "a"), *records[1:]]
    assert confidence_against_dice(unknown, rows)["cases"] == 3


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("shape", [(12, 10), (8, 9, 10)], ids=["picture", "volume"])
def test_made_failures_keep_the_grid_and_change_the_image(kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image, truth = rng.integers(0, 200, (1, *shape)).astype(np.int16), rng.integers(0, 3, shape).astype(np.uint8)
    before = image.copy(), truth.copy()
    changed, expected = spoilt(image, truth, kind=kind, seed=1)
    assert changed.shape == image.shape
    assert changed.dtype == np.float32
    assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(truth, before[1])
    again, _ = spoilt(image, truth, kind=kind, seed=1)
    np.testing.assert_array_equal(again, changed)
    if kind.startswith("flipped"):
        axis = 0 if "first" in kind else 1
        np.testing.assert_array_equal(expected, np.flip(truth, axis))
        np.testing.assert_array_equal(changed[0], np.flip(image[0], axis))
    elif "cropped" in kind:
        assert (expected == truth).sum() < truth.size
        assert set(np.unique(changed[0][(truth > 0) & (expected == 0)]).tolist()) == {float(image.min())}
    else:
        np.testing.assert_array_equal(expected, truth)
