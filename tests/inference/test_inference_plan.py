"""Which windows are run: MONAI's places, the body's box, larger windows where they save work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices

from medseg.errors import BundleError
from medseg.inference import Foreground
from medseg.inference.plan import find_body, grown_window, plan_windows


@st.composite
def sizes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    dims = draw(st.sampled_from([2, 3]))
    numbers = st.tuples(*[st.integers(1, 40)] * dims)
    return draw(numbers), draw(numbers), draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.99]))


@given(sizes())
@settings(max_examples=150, deadline=None)
def test_windows_lie_where_monai_puts_them(case: tuple[tuple[int, ...], tuple[int, ...], float]) -> None:
    shape, roi, overlap = case
    plan = plan_windows(shape, roi_size=roi, overlap=overlap)
    padded = [max(size, r) for size, r in zip(shape, roi, strict=True)]
    steps = [r if r == size else max(1, int(r * (1 - overlap))) for r, size in zip(roi, padded, strict=True)]
    theirs = [tuple(part.start for part in window) for window in dense_patch_slices(padded, roi, steps)]
    axes = list(range(len(shape)))
    ours = [tuple(plan.starts[axis][i] for axis, i in enumerate(w)) for w in plan.windows(axes)]
    assert ours == theirs
    assert plan.padding == tuple((p - size) // 2 for p, size in zip(padded, shape, strict=True))


def test_the_slowest_axis_is_the_callers_choice() -> None:
    plan = plan_windows((4, 6), roi_size=(2, 2), overlap=0.0)
    assert plan.windows((1, 0)) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]


def test_a_window_that_is_not_positive_takes_the_axis() -> None:
    plan = plan_windows((7, 30, 9), roi_size=(-1, 10, 0), overlap=0.5)
    assert plan.roi_size == (7, 10, 9)
    assert plan.starts == ((0,), (0, 5, 10, 15, 20), (0,))


def body_of(inputs: torch.Tensor, **others: float) -> np.ndarray:
    return find_body(inputs, Foreground(above=0.5, **others))


def test_the_box_holds_the_body_and_what_it_encloses() -> None:
    """A hollow tube of 8..32 in x and y over the whole z of 16, walls 4 thick; margin 2."""
    inputs = torch.zeros(1, 64, 64, 16)
    inputs[:, 8:32, 8:32] = 1
    inputs[:, 12:28, 12:28] = 0
    body = body_of(inputs)
    assert body.shape == (16, 16, 4)
    assert body[2:8, 2:8].all()
    assert body.sum() == 6 * 6 * 4
    plan = plan_windows(inputs.shape[1:], roi_size=(8, 8, 8), overlap=0.0, body=body, margin=2)
    assert plan.box == (slice(6, 34), slice(6, 34), slice(0, 16))
    assert plan.visited.all()


def test_windows_without_body_are_not_visited() -> None:
    """Two columns far from each other: the box holds both, the windows between them are empty."""
    inputs = torch.zeros(1, 64, 64)
    inputs[:, 0:8, 0:8] = 1
    inputs[:, 56:64, 56:64] = 1
    plan = plan_windows((64, 64), roi_size=(16, 16), overlap=0.0, body=body_of(inputs))
    assert plan.box == (slice(0, 64), slice(0, 64))
    assert plan.windows((0, 1)) == [(0, 0), (3, 3)]


def test_small_separate_pieces_are_dust_and_large_ones_are_limbs() -> None:
    inputs = torch.zeros(1, 80, 80)
    inputs[:, 0:40, 0:40] = 1  # 100 coarse voxels
    inputs[:, 60:64, 60:64] = 1  # one
    assert body_of(inputs, smallest_part=0.02).sum() == 100
    assert body_of(inputs, smallest_part=0.01).sum() == 101


def test_where_nothing_is_bright_everything_is_run() -> None:
    assert body_of(torch.zeros(1, 9, 7, 5)).all()


@pytest.mark.parametrize("wrong", [{"margin": -1}, {"smallest_part": 1.5}], ids=str)
def test_a_foreground_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BundleError, match="foreground"):
        Foreground(above=0, **wrong)  # type: ignore[arg-type]


def test_larger_windows_by_hand() -> None:
    """100 voxels, windows of 32 at half overlap: 6 windows (192). One of 112 costs 112, two of 80 cost 160."""
    grown = lambda at_most: grown_window([100], roi_size=[32], overlap=0.5, at_most=at_most, multiple=16)  # noqa: E731
    assert grown(112) == (112,)
    assert grown(111) == (80,)
    assert grown(10) == (32,)


@given(sizes(), st.integers(1, 50_000))
@settings(max_examples=100, deadline=None)
def test_larger_windows_never_cost_more_nor_break_the_bound(
    case: tuple[tuple[int, ...], tuple[int, ...], float], at_most: int
) -> None:
    shape, roi, overlap = case
    grown = grown_window(shape, roi_size=roi, overlap=overlap, at_most=at_most, multiple=8)
    plans = [plan_windows(shape, roi_size=size, overlap=overlap) for size in (roi, grown)]
    before, after = (plan.visited.size * math.prod(plan.roi_size) for plan in plans)
    assert after <= before
    assert grown == roi or math.prod(grown) <= at_most
    assert all(g >= r for g, r in zip(grown, roi, strict=True))
