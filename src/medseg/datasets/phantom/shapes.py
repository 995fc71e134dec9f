"""Signed distances (mm, negative inside), smooth noise, and where they lie on the sampling grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from medseg.case import FloatArray

Box = tuple[slice, slice, slice]
Scalar: TypeAlias = float | np.floating[Any]


@dataclass(frozen=True)
class Wobble:
    """A smooth displacement in mm: a sum of products of sines, cheap on a grid and exact at a point.

    Attributes
    ----------
    amplitude_mm
        (modes, 3) for the x, y, z component.
    frequency_per_mm, phase
        (modes, 3) along x, y, z.
    """

    amplitude_mm: FloatArray
    frequency_per_mm: FloatArray
    phase: FloatArray

    def on_grid(self, axes: Sequence[FloatArray], component: int) -> FloatArray:
        """One component (X, Y, Z) on the grid spanned by three axes in mm."""
        total = np.zeros(tuple(a.size for a in axes), np.float32)
        for mode in range(len(self.phase)):
            x, y, z = (
                np.sin(self.frequency_per_mm[mode, i] * axes[i] + self.phase[mode, i]).astype(np.float32)
                for i in range(3)
            )
            plane = np.float32(self.amplitude_mm[mode, component]) * x[:, None] * y[None, :]
            total += plane[:, :, None] * z
        return total

    def at(self, points: FloatArray) -> FloatArray:
        """Displacement (N, 3) at points (N, 3) in mm."""
        waves = np.sin(self.frequency_per_mm[:, None] * points[None] + self.phase[:, None]).prod(axis=2)
        return np.asarray(np.einsum("mn,mc->nc", waves, self.amplitude_mm))


@dataclass(frozen=True)
class Grid:
    """The sampling grid in scanner millimetres, and the anatomical place of every voxel.

    Attributes
    ----------
    axes
        Voxel centres along X, Y, Z in scanner mm (1-D each).
    x, y, z
        (X, Y, Z) anatomical mm.
    rotation
        (3, 3) anatomical to scanner.
    wobble
        Added to the rotated scanner position.
    softness_mm
        Width of the edge that partial volume gives every surface.
    """

    axes: tuple[FloatArray, FloatArray, FloatArray]
    x: FloatArray
    y: FloatArray
    z: FloatArray
    rotation: FloatArray
    wobble: Wobble
    softness_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        return self.axes[0].size, self.axes[1].size, self.axes[2].size

    @property
    def whole(self) -> Box:
        """All voxels."""
        return slice(None), slice(None), slice(None)

    def to_scanner(self, points: FloatArray) -> FloatArray:
        """Anatomical points (N, 3) in scanner mm: inverts the wobble by fixed-point steps."""
        place = points @ self.rotation.T
        for _ in range(3):
            place = (points - self.wobble.at(place)) @ self.rotation.T
        return place

    def box(self, low: FloatArray, high: FloatArray) -> Box | None:
        """The voxels between two corners in scanner mm, None when there are none."""
        starts = [int(np.searchsorted(a, v)) for a, v in zip(self.axes, low, strict=True)]
        stops = [int(np.searchsorted(a, v)) for a, v in zip(self.axes, high, strict=True)]
        if any(a >= b for a, b in zip(starts, stops, strict=True)):
            return None
        return slice(starts[0], stops[0]), slice(starts[1], stops[1]), slice(starts[2], stops[2])

    def offsets(self, box: Box, centre: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Scanner mm from a point, broadcastable over the box."""
        x, y, z = ((a[s] - c).astype(np.float32) for a, s, c in zip(self.axes, box, centre, strict=True))
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def cover(self, distance_mm: FloatArray) -> FloatArray:
        """Share of a voxel inside a surface at this signed distance, 0 to 1: partial volume."""
        return np.clip(0.5 - distance_mm / np.float32(self.softness_mm), 0, 1)


def make_grid(
    axes: tuple[FloatArray, FloatArray, FloatArray], rotation: FloatArray, wobble: Wobble, softness_mm: float
) -> Grid:
    """Work out the anatomical place of every voxel: inverse rotation, then the wobble."""
    flat = [np.asarray(a, np.float32) for a in axes]
    x, y, z = flat[0][:, None, None], flat[1][None, :, None], flat[2][None, None, :]
    inverse = rotation.T.astype(np.float32)
    places = [(inverse[i, 0] * x + inverse[i, 1] * y) + inverse[i, 2] * z + wobble.on_grid(flat, i) for i in range(3)]
    return Grid(axes, places[0], places[1], places[2], rotation, wobble, softness_mm)


def smooth_max(a: FloatArray, b: FloatArray, radius_mm: float) -> FloatArray:
    """Intersection of two shapes with a rounded edge (polynomial smooth maximum)."""
    h = np.maximum(np.float32(radius_mm) - np.abs(a - b), 0)
    return np.maximum(a, b) + h * h * np.float32(0.25 / radius_mm)


def smooth_min(a: FloatArray, b: FloatArray, radius_mm: float) -> FloatArray:
    """Union of two shapes with a filled corner."""
    return -smooth_max(-a, -b, radius_mm)


def oval(x: FloatArray, y: FloatArray, a: FloatArray | Scalar, b: FloatArray | Scalar, squareness: float) -> FloatArray:
    """Distance to a rounded rectangle with half axes a, b: x^4 + y^4 + k x^2 y^2 = 1, an ellipse for squareness 0.

    Distance along the ray from the centre; `squareness` runs from 0 (ellipse) to 2 (squircle).
    """
    u, v = np.square(x / a), np.square(y / b)
    scale = np.sqrt(np.sqrt(u * u + v * v + np.float32(2.0 - squareness) * u * v) + np.float32(1e-9))
    return np.sqrt(x * x + y * y) * (1 - 1 / np.maximum(scale, np.float32(0.05)))


def ellipsoid(
    grid: Grid,
    centre: Sequence[float],
    radii_mm: Sequence[float],
    *,
    turn: FloatArray | None = None,
    reach_mm: float = 10.0,
) -> tuple[Box, FloatArray] | None:
    """Voxels near an ellipsoid placed in anatomical mm, and their distance; None when off the grid."""
    place = grid.to_scanner(np.asarray(centre, float)[None])[0]
    radii = np.asarray(radii_mm)
    lying = np.linalg.norm(grid.rotation * radii, axis=1)  # half widths in the scanner, where the patient is turned
    extent = max(radii_mm) + reach_mm if turn is not None else np.maximum(1.15 * radii, lying) + reach_mm
    box = grid.box(place - extent, place + extent)
    if box is None:
        return None
    offsets = grid.offsets(box, place)
    matrix = (np.eye(3) if turn is None else turn) @ grid.rotation.T
    m = (matrix / radii[:, None]).astype(np.float32)
    squares = sum(np.square(m[i, 0] * offsets[0] + m[i, 1] * offsets[1] + m[i, 2] * offsets[2]) for i in range(3))
    scale = np.sqrt(squares + np.float32(1e-6))
    return box, (scale - 1) * np.float32(_effective_radius(radii_mm))


def _effective_radius(radii_mm: Sequence[float]) -> float:
    return float(3.0 / sum(1.0 / r for r in radii_mm))


def capsule(
    grid: Grid, start: FloatArray, end: FloatArray, radius_mm: float, *, reach_mm: float
) -> tuple[Box, FloatArray] | None:
    """Voxels near a straight tube between two scanner points, and their distance; None when off the grid."""
    pad = radius_mm + reach_mm
    box = grid.box(np.minimum(start, end) - pad, np.maximum(start, end) + pad)
    if box is None:
        return None
    x, y, z = grid.offsets(box, start)
    along = (end - start).astype(np.float32)
    length2 = max(float(along @ along), 1e-6)
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / np.float32(length2), 0, 1)
    gap = np.square(x - t * along[0]) + np.square(y - t * along[1]) + np.square(z - t * along[2])
    return box, np.sqrt(gap) - np.float32(radius_mm)


def tube(points: Sequence[Sequence[float]], steps: int) -> FloatArray:
    """A smooth curve (steps + 1, 3) through anatomical points (Catmull-Rom)."""
    p = np.asarray(points, float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    s = np.linspace(0, len(points) - 1, steps + 1)
    i = np.minimum(s.astype(int), len(points) - 2)
    t = (s - i)[:, None]
    a, b, c, e = p[i], p[i + 1], p[i + 2], p[i + 3]
    return np.asarray(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - e) * t**2 + (3 * b - a - 3 * c + e) * t**3))


def smooth_noise(rng: np.random.Generator, grid: Grid, cell_mm: float) -> FloatArray:
    """Noise (X, Y, Z) of about unit variance, correlated over `cell_mm`: random values joined smoothly."""
    axes = grid.axes
    cells = [max(2, int((a[-1] - a[0]) / cell_mm) + 2) for a in axes]
    value: FloatArray = rng.standard_normal(cells, dtype=np.float32)
    for axis, points in enumerate(axes):
        at = (points - points[0]) / cell_mm
        i = np.minimum(at.astype(int), cells[axis] - 2)
        t = np.clip(at - i, 0, 1)
        t = (t * t * (3 - 2 * t)).astype(np.float32)
        t = t.reshape([-1 if k == axis else 1 for k in range(3)])
        low = np.take(value, i, axis)
        value = low + t * (np.take(value, i + 1, axis) - low)
    return np.asarray(value * np.float32(1.7))
