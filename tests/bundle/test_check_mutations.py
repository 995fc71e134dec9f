"""Hundreds of single mistakes, planted one by one in the bundles that ship: nearly all are found where they stand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from check_mutations import BUNDLES, KINDS, Mistake, missed, misspell, mistakes

from medseg.bundle import find_bundle
from medseg.bundle.check import check_static
from medseg.bundle.check.index import Index

INDEX = Index()


def told(bundle: Path) -> list[tuple[str, int | None]]:
    return [(Path(finding.file).name, finding.line) for finding in check_static(bundle, index=INDEX)]


@pytest.fixture(scope="module")
def planted() -> list[Mistake]:
    return mistakes(find_bundle(BUNDLES[0]).parent)


def test_at_least_200_different_mistakes_of_every_kind_are_planted(planted: list[Mistake]):
    assert len({(one.bundle, one.file, one.text) for one in planted}) == len(planted) >= 200
    assert set(Counter(one.kind for one in planted)) == set(KINDS)
    assert all(count >= 8 for count in Counter(one.kind for one in planted).values())


def test_nothing_is_told_of_the_bundles_as_they_are():
    assert {name: told(find_bundle(name)) for name in BUNDLES} == {key: [] for key in BUNDLES}


def test_at_least_95_percent_are_found_in_the_right_line(planted: list[Mistake]):
    left = missed(find_bundle(BUNDLES[0]).parent, planted, told)
    assert len(left) <= 0.05 * len(planted), "\n".join(map(str, left))


def test_a_check_that_finds_nothing_is_seen_to_find_nothing(planted: list[Mistake]):
    few = planted[:5]
    assert missed(find_bundle(BUNDLES[0]).parent, few, lambda _: []) == few
    assert missed(find_bundle(BUNDLES[0]).parent, few, lambda _: [("elsewhere.yaml", 1)]) == few


def test_a_slip_of_the_fingers_changes_a_word():
    import random

    assert all(misspell("prob", random.Random(seed)) != "prob" for seed in range(100))
