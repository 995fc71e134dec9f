"""Holes that are filled and not, drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import BundleError
from medseg.postprocess import FillHoles


def drawn(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], dtype=np.uint8)


def fill(before: np.ndarray, *labels: int, connectivity: int = 4) -> np.ndarray:
    return FillHoles(labels=labels or [1], connectivity=connectivity)(before, np.eye(4))  # type: ignore[arg-type]


def test_what_is_enclosed_is_filled_and_a_bay_is_not() -> None:
    before = drawn("111000", "101011", "111010", "000011")
    np.testing.assert_array_equal(fill(before), drawn("111000", "111011", "111010", "000011"))


def test_a_hole_may_leak_through_a_corner_or_not() -> None:
    before = drawn("0110", "1011", "1111")
    assert fill(before, connectivity=4)[1, 1] == 1
    assert fill(before, connectivity=8)[1, 1] == 0


def test_other_labels_in_a_hole_stay() -> None:
    before = drawn("11111", "10201", "11111")
    assert fill(before).tolist() == drawn("11111", "11211", "11111").tolist()
    assert fill(before, 2).tolist() == before.tolist()


def test_a_ring_of_two_labels_is_a_hole_of_neither() -> None:
    before = drawn("1112", "1002", "1222")
    assert fill(before, 1, 2).tolist() == before.tolist()


def test_labels_are_filled_in_their_order() -> None:
    nested = drawn("1111111", "1000001", "1022201", "1020201", "1022201", "1000001", "1111111")
    assert fill(nested, 1, 2)[3, 3] == 1
    assert fill(nested, 2, 1)[3, 3] == 2
    assert np.count_nonzero(fill(nested, 1, 2)) == nested.size


def test_a_volume_is_filled_as_a_whole() -> None:
    before = np.ones((3, 3, 3), np.uint8)
    before[1, 1, 1] = 0
    assert fill(before, connectivity=6).all()
    before[1, 1, 2] = 0  # a tunnel to the outside, though each slice of it is a ring
    np.testing.assert_array_equal(fill(before, connectivity=6), before)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_the_empty_map_and_absent_labels_change_nothing(connectivity: int) -> None:
    empty = np.zeros((3, 4, 5), np.uint8)
    np.testing.assert_array_equal(fill(empty, 1, 300, connectivity=connectivity), empty)
    full = empty + np.uint8(1)
    np.testing.assert_array_equal(fill(full, 1, 2, connectivity=connectivity), full)


def test_the_input_is_not_written_to_and_its_type_and_order_stay() -> None:
    before = np.asfortranarray(np.pad(np.zeros((1, 1, 1), np.uint16), 1, constant_values=1))
    before.setflags(write=False)
    after = fill(before, connectivity=26)
    assert after.all()
    assert not before.all()
    assert (after.dtype, after.flags.f_contiguous) == (np.uint16, True)


@pytest.mark.parametrize("options", [{"labels": []}, {"labels": [0]}, {"connectivity": 2}], ids=str)
def test_settings_without_a_meaning_are_refused(options: dict) -> None:
    with pytest.raises(BundleError, match="FillHoles"):
        FillHoles(**{"labels": [1], "connectivity": 6, **options})


def test_the_connectivity_of_a_picture_is_refused_for_a_volume() -> None:
    with pytest.raises(BundleError, match="FillHoles: connectivity 4 for a label map of 3 axes"):
        fill(np.ones((2, 2, 2), np.uint8))
