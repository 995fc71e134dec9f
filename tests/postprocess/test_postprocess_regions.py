"""Components and holes beside scipy's and MONAI's own, on masks of chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import FillHoles as MonaiFillHoles
from scipy import ndimage

from medseg.postprocess import FillHoles, KeepLargestComponents
from medseg.postprocess.regions import box_of, boxes_of, holes_of, regions_of

REACH = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A label map of 0, 1, 2 of any shape, order and density, and a connectivity for it."""
    axes = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(1, 9)] * axes))
    density = draw(st.floats(0, 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = (rng.random(shape) < density) * rng.integers(1, 3, shape)
    order = draw(st.permutations(range(axes)))
    stored = np.ascontiguousarray(labels.astype(np.uint8).transpose(order)).transpose(np.argsort(order))
    return stored, draw(st.sampled_from([4, 8] if axes == 2 else [6, 18, 26]))


def structure(axes: int, connectivity: int) -> np.ndarray:
    return ndimage.generate_binary_structure(axes, REACH[connectivity])


@given(masks())
@settings(max_examples=150, deadline=None)
def test_regions_are_those_of_scipy(drawn: tuple[np.ndarray, int]) -> None:
    labels, connectivity = drawn
    mask = labels > 0
    expected, count = ndimage.label(mask, structure(mask.ndim, connectivity))
    found = regions_of(mask, connectivity)
    assert found.count == count
    pairs = {(int(a), int(b)) for a, b in zip(expected.ravel(), found.numbers.ravel(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # the same but for the numbers


@given(masks())
@settings(max_examples=150, deadline=None)
def test_holes_are_those_of_scipy(drawn: tuple[np.ndarray, int]) -> None:
    labels, connectivity = drawn
    mask = labels > 0
    expected = ndimage.binary_fill_holes(mask, structure(mask.ndim, connectivity)) & ~mask
    holes = holes_of(mask, connectivity)
    np.testing.assert_array_equal(np.zeros_like(mask) if holes is None else holes, expected)


@given(masks())
@settings(max_examples=100, deadline=None)
def test_boxes_are_those_of_scipy(drawn: tuple[np.ndarray, int]) -> None:
    labels, _ = drawn
    expected = dict(enumerate(ndimage.find_objects(labels, max_label=2), start=1))
    present = {value: box for value, box in expected.items() if box is not None}
    assert boxes_of(labels, [1, 2]) == present
    assert boxes_of(labels, [*range(1, 9)]) == present  # many labels go another way
    whole = ndimage.find_objects((labels > 0).astype(int), max_label=1)
    assert box_of(labels > 0) == whole[0]


@given(masks(), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_the_largest_are_those_that_scipy_counts(drawn: tuple[np.ndarray, int], count: int) -> None:
    """Scipy numbers regions in the order of X, then Y, then Z, which is also the order of equally large ones."""
    labels, connectivity = drawn
    got = KeepLargestComponents(
        labels=[1, 2],
        connectivity=connectivity,  # type: ignore[arg-type]
        count=count,
    )(labels, np.eye(4))
    for value in (1, 2):
        regions, _ = ndimage.label(np.ascontiguousarray(labels == value), structure(labels.ndim, connectivity))
        sizes = np.bincount(regions.ravel())
        largest = sorted(range(1, len(sizes)), key=lambda number, sizes=sizes: -sizes[number])[:count]
        np.testing.assert_array_equal(got == value, np.isin(regions, largest))


@given(masks(), st.floats(0, 8))
@settings(max_examples=60, deadline=None)
def test_what_stays_by_volume_is_what_scipy_measures(drawn: tuple[np.ndarray, int], minimum_ml: float) -> None:
    labels, connectivity = drawn
    if labels.ndim == 2:
        return
    affine = np.diag([10.0, 10.0, 10.0, 1.0])  # 1 ml a voxel
    got = KeepLargestComponents(
        labels=[1],
        connectivity=connectivity,  # type: ignore[arg-type]
        count=None,
        minimum_ml=minimum_ml,
    )(labels, affine)
    regions, _ = ndimage.label(labels == 1, structure(3, connectivity))
    sizes = np.bincount(regions.ravel())
    np.testing.assert_array_equal(got == 1, (labels == 1) & (sizes[regions] >= minimum_ml))
    np.testing.assert_array_equal(got == 2, labels == 2)


@given(masks())
@settings(max_examples=80, deadline=None)
def test_a_single_label_is_filled_as_monai_fills_it(drawn: tuple[np.ndarray, int]) -> None:
    labels, connectivity = drawn
    single = (labels > 0).astype(np.uint8)
    monai = MonaiFillHoles(applied_labels=[1], connectivity=REACH[connectivity])
    expected = monai(torch.from_numpy(single.copy())[None])[0].numpy()
    got = FillHoles(labels=[1], connectivity=connectivity)(single, np.eye(4))  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 3, 3)], ids=["no voxels", "empty"])
def test_nothing_has_no_box(shape: Sequence[int]) -> None:
    assert box_of(np.zeros(shape, bool)) is None
    assert boxes_of(np.zeros(shape, np.uint8), [1, 2]) == {}
