"""Two models on the same cases: tests against scipy and full enumeration, wins by hand, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from medseg.errors import DataError
from medseg.evaluation import CaseScore
from medseg.evaluation.comparison import compare_scores, holm, sign_flip_p, write_comparison, write_differences

CASES = [f"c{i}" for i in range(6)]
OWN = {case: case for case in CASES}


def rows(dice: list[float], hd95: list[float] | None = None, *, region: str = "lung") -> list[CaseScore]:
    distances = hd95 or [1.0] * len(dice)
    return [
        CaseScore(case, region, {"dice": d, "hd95_mm": h, "truth_ml": 5.0}, "none")
        for case, d, h in zip(CASES, dice, distances, strict=False)
    ]


A = rows([0.80, 0.70, 0.90, 0.60, 0.85, 0.75], [5, 4, 3, 9, 2, 2])
B = rows([0.85, 0.72, 0.91, 0.75, 0.84, 0.75], [4, 4, 2, 3, 3, 2])


def test_means_wins_and_the_cases_that_differ_most_by_hand() -> None:
    dice, hd95 = compare_scores(A, B, patients=OWN)
    assert (dice.metric, hd95.metric) == ("dice", "hd95_mm")  # sizes are neither better nor worse
    assert dice.mean_difference == pytest.approx((0.05 + 0.02 + 0.01 + 0.15 - 0.01) / 6)
    assert (dice.wins, dice.losses, dice.ties, dice.better) == (4, 1, 1, "B")
    assert [one["case"] for one in dice.most_different[:2]] == ["c3", "c0"]
    assert dice.most_different[0] == {
        "case": "c3",
        "a": 0.6,
        "b": 0.75,
        "difference": pytest.approx(0.15),
    }
    # Of distances the smaller one wins: 4 < 5, 2 < 3, 3 < 9; 3 > 2.
    assert (hd95.wins, hd95.losses, hd95.ties, hd95.better) == (3, 1, 2, "B")
    assert hd95.mean_difference == pytest.approx(-7 / 6)
    assert len(dice.most_different) == 5  # a tie is no difference


def test_the_other_way_round_wins_are_losses() -> None:
    forth, back = compare_scores(A, B, patients=OWN)[0], compare_scores(B, A, patients=OWN)[0]
    assert (back.wins, back.losses, back.better) == (forth.losses, forth.wins, "A")
    assert back.mean_difference == pytest.approx(-forth.mean_difference)
    assert back.p_permutation == pytest.approx(forth.p_permutation)


def test_p_values_are_those_of_scipy() -> None:
    dice = compare_scores(A, B, patients=OWN, metrics=["dice"])[0]
    d = np.round([b.scores["dice"] - a.scores["dice"] for a, b in zip(A, B, strict=True)], 12)
    assert dice.p_wilcoxon == pytest.approx(scipy.stats.wilcoxon(d, zero_method="pratt").pvalue)
    exact = scipy.stats.permutation_test(
        (d, np.zeros_like(d)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=1000,
    )
    assert dice.p_permutation == pytest.approx(exact.pvalue)


def test_sign_flips_by_hand() -> None:
    # Of the eight sign patterns of 1, 2, 3 two have a sum of 6 or -6, four of 4 or more.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flip_p(np.array([-1.0, 2.0, 3.0])) == 4 / 8
    assert sign_flip_p(np.zeros(3)) == 1.0


def test_many_patients_get_random_patterns_close_to_the_exact_value() -> None:
    d = np.random.default_rng(2).normal(0.4, 1.0, 17)
    bits = (np.arange(1 << 17)[:, None] >> np.arange(17)) & 1
    exact = (np.abs((1 - 2 * bits) @ d) >= abs(d.sum()) - 1e-9).mean()
    assert sign_flip_p(d) == pytest.approx(exact, abs=0.015)


def test_cases_of_one_patient_count_once_in_the_tests() -> None:
    one_patient = dict.fromkeys(CASES, "p")
    dice = compare_scores(A, B, patients=one_patient, metrics=["dice"])[0]
    assert (dice.patients, dice.cases) == (1, 6)
    assert dice.p_permutation == 1.0  # one pair tells nothing
    assert dice.difference_ci95 is None


def test_models_that_are_alike_have_p_1() -> None:
    dice, hd95 = compare_scores(A, A, patients=OWN)
    for one in (dice, hd95):
        assert (one.p_wilcoxon, one.p_permutation, one.p_wilcoxon_holm) == (1.0, 1.0, 1.0)
        assert (one.wins, one.losses, one.ties, one.better, one.most_different) == (0, 0, 6, "", ())


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 * .01; 2 * .03; .04, not below the one before
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
    ids=["three", "never-above-1", "one", "none"],
)
def test_holm_by_hand(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected)


def test_the_correction_counts_all_that_is_compared() -> None:
    all_of_them, dice_alone = compare_scores(A, B, patients=OWN), compare_scores(A, B, patients=OWN, metrics=["dice"])
    assert dice_alone[0].p_permutation_holm == pytest.approx(dice_alone[0].p_permutation)
    assert all_of_them[0].p_permutation_holm > dice_alone[0].p_permutation_holm


def test_other_cases_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"the same cases.*only A has c5"):
        compare_scores(A, B[:5], patients=OWN)
    with pytest.raises(DataError, match=r"the same regions.*only A has lung.*only B has heart"):
        compare_scores(A, rows([0.5] * 6, region="heart"), patients=OWN)
    lost = [*rows([0.5] * 6, region="heart")[:5], *A]
    with pytest.raises(DataError, match="one row each for every case and region; got c5, heart"):
        compare_scores([*rows([0.5] * 6, region="heart"), *A], lost, patients=OWN)


@pytest.mark.parametrize("metric", ["truth_ml", "cldice", "nonsense"])
def test_a_score_that_cannot_be_compared_is_refused(metric: str) -> None:
    with pytest.raises(DataError, match=f"got {metric}; expected some of dice, hd95_mm"):
        compare_scores(A, B, patients=OWN, metrics=[metric])


def test_a_score_that_some_cases_lack_is_compared_on_the_others() -> None:
    shorter = [CaseScore(a.case, a.region, {"dice": a.scores["dice"]}, "none") if a.case == "c0" else a for a in A]
    dice, hd95 = compare_scores(shorter, B, patients=OWN)
    assert (dice.cases, hd95.cases) == (6, 5)


def test_the_tables_hold_every_comparison_and_every_case(tmp_path: Path) -> None:
    found = compare_scores(A, B, patients=OWN)
    write_comparison(found, tmp_path / "comparison.csv")
    write_differences(A, B, found, tmp_path / "differences.csv")
    with (tmp_path / "comparison.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["metric"] for row in table] == ["dice", "hd95_mm"]
    assert (
        float(table[0]["difference_low95"]) < float(table[0]["mean_difference"]) < float(table[0]["difference_high95"])
    )
    with (tmp_path / "differences.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 12
    assert pairs[0] == {
        "case": "c0",
        "region": "lung",
        "metric": "dice",
        "a": "0.8",
        "b": "0.85",
        "difference": "0.05",
    }
