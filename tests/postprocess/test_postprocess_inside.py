"""A tumour (2) in its organ (1), drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.errors import BundleError
from medseg.postprocess import KeepInside


def drawn(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], dtype=np.uint8)


def keep(before: np.ndarray, **options: Any) -> np.ndarray:
    return KeepInside(**{"labels": [2], "within": [1], "connectivity": 4, **options})(before, np.eye(4))


ORGAN = drawn(
    "0111100020",
    "0112120000",
    "0111100022",
    "2000000022",
)


def test_what_touches_the_organ_stays() -> None:
    np.testing.assert_array_equal(keep(ORGAN), drawn("0111100000", "0112120000", "0111100000", "0000000000"))


def test_corners_touch_where_they_are_said_to() -> None:
    assert keep(ORGAN, connectivity=8)[3, 0] == 2
    assert keep(ORGAN, connectivity=8)[3, 8] == 0


def test_only_what_is_enclosed_stays_if_asked() -> None:
    expected = drawn("0111100000", "0112100000", "0111100000", "0000000000")
    np.testing.assert_array_equal(keep(ORGAN, enclosed=True), expected)


def test_a_necrosis_that_touches_the_tumour_alone_is_in_the_organ() -> None:
    before = drawn("1112300", "0000003")
    assert keep(before, labels=[2, 3]).tolist() == drawn("1112300", "0000000").tolist()
    assert keep(before, labels=[3]).tolist() == drawn("1112000", "0000000").tolist()


def test_several_organs_hold_their_tumours() -> None:
    before = drawn("1204002033")
    assert keep(before, within=[1, 3]).tolist() == drawn("1204000033").tolist()
    assert keep(drawn("2301"), within=[1, 3]).tolist() == drawn("2301").tolist()


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("enclosed", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_volumes(connectivity: int, enclosed: bool, order: str) -> None:
    before = np.zeros((5, 5, 9), np.uint8, order=order)  # type: ignore[call-overload]
    before[:, :, :5] = 1
    before[2, 2, 2], before[0, 0, 4], before[4, 4, 8] = 2, 2, 2
    before.setflags(write=False)
    after = keep(before, connectivity=connectivity, enclosed=enclosed)
    places = [[2, 2, 2]] if enclosed else [[0, 0, 4], [2, 2, 2]]
    assert np.argwhere(after == 2).tolist() == places
    np.testing.assert_array_equal(after == 1, before == 1)


@pytest.mark.parametrize("enclosed", [False, True])
def test_empty_maps(enclosed: bool) -> None:
    for before in (drawn("000", "000"), drawn("110", "000")):
        assert keep(before, enclosed=enclosed).tolist() == before.tolist()
    assert not keep(drawn("022", "000"), enclosed=enclosed).any()  # no organ: nothing is inside it


@pytest.mark.parametrize(
    "options",
    [{"labels": []}, {"within": []}, {"labels": [0]}, {"within": [2]}, {"connectivity": 5}],
    ids=str,
)
def test_settings_without_a_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="KeepInside"):
        keep(ORGAN, **options)
