"""Components that are kept and dropped, drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import BundleError
from medseg.postprocess import KeepLargestComponents

ONE_ML = np.diag([10.0, 10.0, 10.0, 1.0])
CORNERS = {2: 8, 3: 26}


def drawn(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], dtype=np.uint8)


def keep(before: np.ndarray, affine: np.ndarray = ONE_ML, **options: object) -> np.ndarray:
    return KeepLargestComponents(**{"labels": [1], "connectivity": CORNERS[before.ndim], **options})(before, affine)


def test_the_largest_piece_of_each_label_stays() -> None:
    before = drawn(
        "1100200",
        "1100002",
        "0000022",
        "0100001",
    )
    after = keep(before, labels=[1, 2])
    np.testing.assert_array_equal(
        after,
        drawn(
            "1100000",
            "1100002",
            "0000022",
            "0000000",
        ),
    )


def test_corners_join_or_do_not() -> None:
    before = drawn("110000", "001100", "000000", "000111")
    np.testing.assert_array_equal(keep(before), drawn("110000", "001100", "000000", "000000"))
    np.testing.assert_array_equal(keep(before, connectivity=4), drawn("000000", "000000", "000000", "000111"))


def test_voxels_of_a_volume_that_touch_by_a_corner() -> None:
    before = np.zeros((4, 4, 4), np.uint8)
    before[0, 0, 0] = before[1, 1, 1] = 1
    before[3, 3, 3] = 1
    after = keep(before)
    assert np.argwhere(after).tolist() == [[0, 0, 0], [1, 1, 1]]
    by_faces = keep(before, connectivity=6, count=3)
    assert np.count_nonzero(by_faces) == 3
    assert np.argwhere(keep(before, connectivity=6)).tolist() == [[0, 0, 0]]  # equal sizes: the first


def test_edges_join_in_18_and_26_and_corners_in_26_alone() -> None:
    before = np.zeros((3, 3, 5), np.uint8)
    before[0, 0, 0] = before[0, 1, 1] = 1  # share an edge
    before[1, 2, 2] = 1  # shares a corner with the second
    sizes = {c: int(keep(before, connectivity=c).sum()) for c in (6, 18, 26)}
    assert sizes == {6: 1, 18: 2, 26: 3}


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_equal_pieces_the_first_counts_as_the_largest_whatever_the_memorys_order(order: str) -> None:
    before = np.zeros((3, 3, 9), np.uint8, order=order)  # type: ignore[call-overload]
    before[0, 0, 6] = before[0, 2, 0] = before[1, 0, 2] = before[2, 1, 4] = 1
    assert np.argwhere(keep(before)).tolist() == [[0, 0, 6]]
    assert np.argwhere(keep(before, count=2)).tolist() == [[0, 0, 6], [0, 2, 0]]
    assert np.argwhere(keep(before, count=3)).tolist() == [[0, 0, 6], [0, 2, 0], [1, 0, 2]]


def test_without_a_count_all_that_are_large_enough_stay() -> None:
    before = np.zeros((9, 1, 1), np.uint8)
    before[[0, 1, 3, 5, 6, 8], 0, 0] = 1  # 2, 1, 2 and 1 voxels of 1 ml
    assert np.argwhere(keep(before, count=None, minimum_ml=2.0))[:, 0].tolist() == [0, 1, 5, 6]
    np.testing.assert_array_equal(keep(before, count=None), before)


def test_count_keeps_so_many() -> None:
    before = drawn("1011011100111100")
    assert keep(before, count=2).tolist() == drawn("0000011100111100").tolist()
    assert keep(before, count=3).tolist() == drawn("0011011100111100").tolist()
    assert keep(before, count=9).tolist() == before.tolist()


def test_minimum_volume_drops_even_the_largest_and_knows_the_spacing() -> None:
    before = np.zeros((9, 1, 1), np.uint8)
    before[[0, 1, 2, 5, 6, 8], 0, 0] = 1  # 3, 2 and 1 voxels
    kept = {ml: int(keep(before, count=3, minimum_ml=ml).sum()) for ml in (0.0, 1.0, 1.5, 2.0, 2.1, 3.0, 3.1)}
    assert kept == {0.0: 6, 1.0: 6, 1.5: 5, 2.0: 5, 2.1: 3, 3.0: 3, 3.1: 0}
    half = np.diag([10.0, 5.0, 10.0, 1.0])  # 0.5 ml a voxel
    assert keep(before, half, count=3, minimum_ml=1.5).sum() == 3
    flipped = np.diag([-10.0, 5.0, 10.0, 1.0])
    assert keep(before, flipped, count=3, minimum_ml=1.5).sum() == 3


def test_pieces_of_other_labels_are_left_as_they_are() -> None:
    before = drawn("1020301", "0000000", "1120203")
    assert keep(before, labels=[1]).tolist() == drawn("0020300", "0000000", "1120203").tolist()


def test_a_touching_label_is_no_bridge() -> None:
    before = drawn("1112111122")
    assert keep(before, labels=[1, 2]).tolist() == drawn("0000111122").tolist()


@pytest.mark.parametrize("labels", [[1], [1, 2, 7], [7]], ids=str)
def test_absent_labels_and_the_empty_map_change_nothing(labels: list[int]) -> None:
    empty = np.zeros((3, 4, 2), np.uint8)
    np.testing.assert_array_equal(keep(empty, labels=labels), empty)
    other = empty + np.uint8(3)
    np.testing.assert_array_equal(keep(other, labels=labels), other)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_the_input_is_not_written_to_and_the_type_stays(dtype: type) -> None:
    before = drawn("1011").astype(dtype)
    before.setflags(write=False)
    after = keep(before)
    assert before.tolist() == [[1, 0, 1, 1]]
    assert after.tolist() == [[0, 0, 1, 1]]
    assert after.dtype == dtype


def test_a_flipped_view_is_cleaned_as_its_copy() -> None:
    rng = np.random.default_rng(0)
    before = (rng.random((9, 8, 7)) > 0.7).astype(np.uint8).transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(keep(before), keep(np.ascontiguousarray(before)))


def test_every_label_of_a_uint16_map_can_be_cleaned() -> None:
    before = drawn("1011").astype(np.uint16) * np.uint16(300)
    assert keep(before, labels=[300]).tolist() == [[0, 0, 300, 300]]


@pytest.mark.parametrize(
    "options",
    [
        {"labels": []},
        {"labels": [0, 1]},
        {"labels": [-1]},
        {"labels": ["1"]},
        {"count": 0},
        {"minimum_ml": -1.0},
        {"connectivity": 1},
    ],
    ids=str,
)
def test_settings_without_a_meaning_are_refused(options: dict) -> None:
    with pytest.raises(BundleError, match="KeepLargestComponents"):
        KeepLargestComponents(**{"labels": [1], "connectivity": 26, **options})


@pytest.mark.parametrize(("before", "connectivity"), [(drawn("11"), 26), (np.ones((2, 2, 2), np.uint8), 8)], ids=str)
def test_the_connectivity_of_another_number_of_axes_is_refused(before: np.ndarray, connectivity: int) -> None:
    with pytest.raises(BundleError, match=f"connectivity {connectivity} for a label map of {before.ndim} axes"):
        keep(before, connectivity=connectivity)


def test_a_picture_has_no_volume() -> None:
    with pytest.raises(BundleError, match=r"a picture has no volume; got minimum_ml 0\.5"):
        keep(drawn("11"), minimum_ml=0.5)
