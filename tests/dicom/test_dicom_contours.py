"""Masks to contours and back: the area stays, holes are holes for every rule of filling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.dicom.contours import Points, contours_of, fill


def _mask(*rows: str) -> np.ndarray:
    """(X, Y) from rows of a picture, "#" set."""
    return np.array([[c == "#" for c in row] for row in rows]).T


def _area(points: Points) -> float:
    """Shoelace formula."""
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _crossings_rule(contours: list[Points], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd by its definition: a ray from each pixel's centre to the right, edge by edge."""
    filled = np.zeros(shape, bool)
    for i in range(shape[0]):
        for j in range(shape[1]):
            count = 0
            for points in contours:
                for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                    if (y0 > j) != (y1 > j) and i < x0 + (j - y0) * (x1 - x0) / (y1 - y0):
                        count += 1
            filled[i, j] = count % 2
    return filled


SHAPES = {
    "empty": (_mask("...", "..."), 0),
    "pixel": (_mask("...", ".#.", "..."), 1),
    "full": (_mask("##", "##"), 1),
    "hole": (_mask("###", "#.#", "###"), 1),
    "two_holes": (_mask("#####", "#.#.#", "#####"), 1),
    "holes_below_each_other": (_mask("###", "#.#", "###", "#.#", "###"), 1),
    "island_in_hole": (_mask("#####", "#...#", "#.#.#", "#...#", "#####"), 2),
    "corner_touch": (_mask("#.", ".#"), 2),
    "hole_touches_outside_at_corner": (_mask("##.", "#.#", "###"), 1),
    "at_every_border": (_mask("#.#", "...", "#.#"), 4),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_mask_and_its_contours_are_one_shape(name: str) -> None:
    mask, count = SHAPES[name]
    contours = contours_of(mask)
    assert len(contours) == count, "one contour for each part, holes joined to it"
    assert sum(map(_area, contours)) == mask.sum(), "holes run the other way round"
    np.testing.assert_array_equal(_crossings_rule(contours, mask.shape), mask)
    np.testing.assert_array_equal(fill(contours, mask.shape), mask)


@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_comes_back_by_even_odd_and_by_union(mask: np.ndarray) -> None:
    contours = contours_of(mask)
    np.testing.assert_array_equal(fill(contours, mask.shape), mask)
    union = np.zeros(mask.shape, bool)
    for points in contours:
        union |= fill([points], mask.shape)
    np.testing.assert_array_equal(union, mask)
    assert sum(map(_area, contours)) == pytest.approx(mask.sum())


def test_a_square_has_four_points() -> None:
    (points,) = contours_of(np.ones((3, 2), bool))
    assert sorted(map(tuple, points.tolist())) == [(-0.5, -0.5), (-0.5, 1.5), (2.5, -0.5), (2.5, 1.5)]


FILLED = {
    "triangle": ([[[-0.1, -0.5], [3.6, -0.5], [-0.1, 3.2]]], _mask("####", "###.", "##..")),
    "inner_contour_is_a_hole": (
        [[[-0.5, -0.5], [4.5, -0.5], [4.5, 4.5], [-0.5, 4.5]], [[0.5, 0.5], [3.5, 0.5], [3.5, 3.5], [0.5, 3.5]]],
        _mask("#####", "#...#", "#...#", "#...#", "#####"),
    ),
    "reaches_outside": ([[[-9, -9], [1.5, -9], [1.5, 9], [-9, 9]]], _mask("##..", "##..")),
    "wholly_outside": ([[[7, 0], [9, 0], [9, 1.5], [7, 1.5]]], _mask("....", "....")),
    "point_given_twice": ([[[-0.5, -0.5], [1.5, -0.5], [1.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]]], _mask("##.", "...")),
}


@pytest.mark.parametrize("name", FILLED)
def test_contours_drawn_by_others_are_filled(name: str) -> None:
    contours, expected = FILLED[name]
    np.testing.assert_array_equal(fill([np.array(c, float) for c in contours], expected.shape), expected)
