"""Components by runs against scipy's labelling, and the runs themselves by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.postprocess.runs import runs_of

CONNECTIVITIES = {4: (2, 1), 8: (2, 2), 6: (3, 1), 18: (3, 2), 26: (3, 3)}


def test_runs_of_a_picture_end_with_their_row():
    picture = np.array([[0, 1, 1], [1, 0, 2], [2, 2, 2]], dtype=np.uint8)
    runs = runs_of(picture, [1, 2])
    assert (runs[1].starts.tolist(), runs[1].lengths.tolist()) == ([1, 3], [2, 1])
    assert (runs[2].starts.tolist(), runs[2].lengths.tolist()) == ([5, 6], [1, 3])


def test_a_row_full_of_one_label_after_another_is_two_runs():
    runs = runs_of(np.ones((2, 3), dtype=np.uint8), [1])[1]
    assert (runs.starts.tolist(), runs.lengths.tolist()) == ([0, 3], [3, 3])
    assert runs.voxels(np.array([False, True])).tolist() == [3, 4, 5]
    assert runs.components(4).tolist() == [0, 0]


def test_the_end_of_a_row_does_not_touch_the_beginning_of_the_next():
    picture = np.zeros((3, 3), dtype=np.uint8)
    picture[0, 2] = picture[2, 0] = 1
    assert len(set(runs_of(picture, [1])[1].components(8).tolist())) == 2


def test_a_label_that_is_not_there_has_no_runs():
    runs = runs_of(np.zeros((2, 2, 2), dtype=np.uint8), [7])[7]
    assert runs.components(26).size == runs.voxels(np.zeros(0, dtype=bool)).size == 0


@pytest.mark.parametrize("connectivity", list(CONNECTIVITIES))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_scipy(connectivity, data, seed):
    axes, reach = CONNECTIVITIES[connectivity]
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(axes))
    labels = np.random.default_rng(seed).choice([0, 0, 1, 2], size=shape).astype(np.uint8)
    runs = runs_of(labels, [1, 2])
    for value in (1, 2):
        expected, count = ndimage.label(labels == value, ndimage.generate_binary_structure(axes, reach))
        numbers = np.repeat(runs[value].components(connectivity), runs[value].lengths)
        voxels = runs[value].voxels(np.ones(len(runs[value].starts), dtype=bool))
        assert voxels.tolist() == np.flatnonzero(labels == value).tolist()
        pairs = set(zip(expected.reshape(-1)[voxels].tolist(), numbers.tolist(), strict=True))
        assert len(pairs) == count == len({number for _, number in pairs})
