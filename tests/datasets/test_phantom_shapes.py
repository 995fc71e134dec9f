"""Distances and partial volume against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.datasets.phantom.scan import rotation
from medseg.datasets.phantom.shapes import (
    Grid,
    Wobble,
    capsule,
    ellipsoid,
    make_grid,
    oval,
    smooth_max,
    smooth_min,
    smooth_noise,
    tube,
)

STILL = Wobble(np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3)))


def _grid(n: int = 21, step_mm: float = 1.0, wobble: Wobble = STILL) -> Grid:
    axis = (np.arange(n) - n // 2) * step_mm
    return make_grid((axis, axis, axis), np.eye(3), wobble, step_mm)


def test_sphere_distance_on_an_axis() -> None:
    found = ellipsoid(_grid(), (0, 0, 0), (4, 4, 4), reach_mm=5)
    assert found is not None
    box, distance = found
    start = box[0].start
    centre = 10 - start
    np.testing.assert_allclose(distance[centre + 4, centre, centre], 0, atol=1e-4)
    np.testing.assert_allclose(distance[centre + 6, centre, centre], 2, atol=1e-4)


def test_sphere_volume_from_partial_volume() -> None:
    grid = _grid(41, 0.5)
    found = ellipsoid(grid, (0.1, -0.2, 0.3), (6, 6, 6), reach_mm=2)
    assert found is not None
    volume = grid.cover(found[1]).sum() * 0.125
    assert volume == pytest.approx(4 / 3 * np.pi * 216, rel=0.01)


def test_a_long_ellipsoid_in_a_turned_patient_keeps_its_ends() -> None:
    """A rod along the patient's z, turned by 30 degrees about x: its middle line runs along (0, -sin, cos)."""
    axis = np.arange(-40.0, 41.0)
    grid = make_grid((axis, axis, axis), rotation((0, 30, 0)), STILL, 1.0)
    found = ellipsoid(grid, (0, 0, 0), (3, 3, 36), reach_mm=2)
    assert found is not None
    box, distance = found
    inside = np.zeros(grid.shape, bool)
    inside[box] = distance < 0
    along = (-38, -34, -20, 0, 20, 34, 38)
    assert [mm for mm in along if inside[40, 40 + round(-0.5 * mm), 40 + round(0.866 * mm)]] == [-34, -20, 0, 20, 34]
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 3 * 3 * 36, rel=0.05)  # voxels of a rod 6 voxels wide


def test_capsule_is_a_cylinder_with_round_ends() -> None:
    found = capsule(_grid(), np.array([-3.0, 0, 0]), np.array([3.0, 0, 0]), 2.0, reach_mm=4)
    assert found is not None
    box, distance = found
    at = [10 - s.start for s in box]
    assert distance[at[0], at[1] + 2, at[2]] == pytest.approx(0, abs=1e-5)
    assert distance[at[0] + 5, at[1], at[2]] == pytest.approx(0, abs=1e-5)
    assert distance[at[0] + 6, at[1], at[2]] == pytest.approx(1, abs=1e-5)


def test_off_the_grid_is_none() -> None:
    assert ellipsoid(_grid(), (100, 0, 0), (4, 4, 4)) is None
    assert capsule(_grid(), np.full(3, 90.0), np.full(3, 99.0), 1.0, reach_mm=1) is None


def test_oval_is_zero_on_its_axes() -> None:
    x, y = np.array([3.0, 0.0, 6.0], np.float32), np.array([0.0, 2.0, 0.0], np.float32)
    np.testing.assert_allclose(oval(x, y, 3.0, 2.0, 0.0), [0, 0, 3], atol=1e-4)


def test_squarer_oval_reaches_further_into_the_corner() -> None:
    corner = np.array([2.2], np.float32)
    assert oval(corner, corner, 3.0, 3.0, 0.0)[0] > 0 > oval(corner, corner, 3.0, 3.0, 2.0)[0]


def test_smooth_max_rounds_only_near_the_edge() -> None:
    a, b = np.array([0.0, 0.0], np.float32), np.array([0.0, 5.0], np.float32)
    np.testing.assert_allclose(smooth_max(a, b, 4.0), [1.0, 5.0])
    np.testing.assert_allclose(smooth_min(a, b, 4.0), [-1.0, 0.0])


def test_wobble_on_grid_is_wobble_at_points() -> None:
    rng = np.random.default_rng(0)
    wobble = Wobble(rng.normal(size=(4, 3)), rng.uniform(0.01, 0.1, (4, 3)), rng.uniform(0, 6, (4, 3)))
    grid = _grid(7, 3.0, wobble)
    point = np.array([[grid.axes[0][1], grid.axes[1][5], grid.axes[2][2]]])
    expected = point + wobble.at(point)
    np.testing.assert_allclose([[grid.x[1, 5, 2], grid.y[1, 5, 2], grid.z[1, 5, 2]]], expected, atol=1e-4)
    np.testing.assert_allclose(grid.to_scanner(expected), point, atol=0.05)


def test_tube_passes_through_its_points() -> None:
    points = [(0.0, 0.0, 0.0), (1.0, 2.0, 3.0), (4.0, 0.0, 3.0)]
    np.testing.assert_allclose(tube(points, 4)[::2], points, atol=1e-12)


def test_smooth_noise_is_centred_and_changes_slowly() -> None:
    noise = smooth_noise(np.random.default_rng(0), _grid(61), 6.0)
    assert abs(float(noise.mean())) < 0.2
    assert 0.5 < noise.std() < 1.5
    assert np.abs(np.diff(noise, axis=0)).max() < 2.0
