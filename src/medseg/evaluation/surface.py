"""Distances between the surfaces of two masks: Hausdorff distance, HD95, mean distance, normalised surface Dice.

What a surface is
-----------------
The grid of the voxels' corners is looked at: a corner lies on the surface where its 2x2x2 voxels (2x2 pixels) are
neither all inside nor all outside; beyond the image everything is outside. Each such corner is one surface element. It
stands for the area (mm2) of the piece of surface that marching cubes lays through those voxels, or for the length (mm)
of the contour in pictures. An element's distance is that to the nearest element of the other surface. So a surface
does not weigh more where its voxels are small. This is the definition of Nikolov et al. (J Med Internet Res
2021;23:e26151) and of their package surface-distance, whose figures these are.

With a, b the elements of the surfaces A and B, |a| the area of one and d(a, B) its distance to the nearest of B
(formulas as in Metrics Reloaded, Maier-Hein et al., Nat Methods 2024;21:195-212, with areas for counts):

=====  =================================================================  ==========  ==============
score  formula                                                            both empty  one of them
=====  =================================================================  ==========  ==============
HD     max(max d(a, B), max d(b, A))                                      0           image diagonal
HD95   max(P95 d(a, B), P95 d(b, A)), P95 by area                         0           image diagonal
ASSD   (sum |a| d(a, B) + sum |b| d(b, A)) / (sum |a| + sum |b|)          0           image diagonal
NSD    (area with d(a, B) <= t + area with d(b, A) <= t) / (|A| + |B|)    1           0
=====  =================================================================  ==========  ==============

P95 is the smallest distance within which at least 95 % of the area of a surface lies; it is taken of each direction,
not of both together. No two surfaces in an image are further apart than its diagonal, so an empty mask is never better
than a wrong one, and every mean of distances stays finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.overlap import Empty
from medseg.postprocess.regions import box_of, memory_order

Mask: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Vector: TypeAlias = tuple[float, ...]

ROUNDING = 1e-9
"""Relative: a distance of three voxels of 0.1 mm is 0.30000000000000004 and yet within 0.3 mm."""

_CROWDED = 2_000_000
"""Elements of a surface above which a distance map of the whole box takes less memory than a tree of the elements."""

_PICTURE: dict[int, tuple[Vector, ...]] = {
    0b0001: ((1 / 2, 1 / 2),),
    0b0011: ((1, 0),),
    0b0110: ((1 / 2, 1 / 2), (1 / 2, 1 / 2)),
}
"""As `_VOLUME`, for the 2x2 pixels round a corner."""

_A, _B, _C = (1 / 8, 1 / 8, 1 / 8), (1 / 4, 1 / 4, 1 / 4), (3 / 8, 3 / 8, 3 / 8)
_VOLUME: dict[int, tuple[Vector, ...]] = {
    0b00000001: (_A,),
    0b00000011: ((1 / 4, 1 / 4, 0), (1 / 4, 1 / 4, 0)),
    0b00000110: (_A, _A),
    0b00000111: (_A, _B, (1 / 2, 0, 0)),
    0b00001111: ((1 / 2, 0, 0), (1 / 2, 0, 0)),
    0b00010110: (_A, _A, _A),
    0b00010111: (_A, _A, _B, _B),
    0b00011000: (_A, _A),
    0b00011001: (_A, (0, 1 / 4, 1 / 4), (0, 1 / 4, 1 / 4)),
    0b00011011: (_A, _C, (0, 1 / 4, 1 / 4), (1 / 4, 0, 1 / 4)),
    0b00011110: (_A, _A, _B, (1 / 2, 0, 0)),
    0b00111100: ((1 / 4, 1 / 4, 0),) * 4,
    0b01101001: (_A,) * 4,
}
"""The 2x2x2 voxels round a corner, as bits, to the triangles of the surface there: for each the size of its normal
along each axis, as a share of the area of a voxel's face. One of each kind: the others are its mirror images, turns,
and the same with inside and outside exchanged. Table of surface-distance (DeepMind, Apache-2.0), by symmetry."""


@dataclass(frozen=True)
class SurfaceDistances:
    """How far apart two surfaces are, element by element; the module's docstring defines the scores.

    Attributes
    ----------
    truth, prediction
        Distance of each element of this surface to the other surface, in the unit of the spacing; empty where the mask
        is, and where the other one is.
    truth_area, prediction_area
        Of the same elements: their area, in pictures their length.
    empty
        Which mask holds no voxel.
    diagonal
        Of the image, in the unit of the spacing: the distance where only one mask is empty.
    """

    truth: Floats
    prediction: Floats
    truth_area: Floats
    prediction_area: Floats
    empty: Empty
    diagonal: float

    def hausdorff(self, percent: float = 100.0) -> float:
        """HD at 100, HD95 at 95: max(P d(a, B), P d(b, A)), P the distance within which `percent` of the area lies.

        In the unit of the spacing, mm or pixels; Metrics Reloaded, with elements and areas as in Nikolov et al. 2021.
        """
        if self.empty != "none":
            return self._of_empty
        directed = ((self.truth, self.truth_area), (self.prediction, self.prediction_area))
        return max(_percentile(distance, area, percent) for distance, area in directed)

    def mean(self) -> float:
        """The average symmetric surface distance: (sum |a| d(a, B) + sum |b| d(b, A)) / (sum |a| + sum |b|).

        In the unit of the spacing, mm or pixels; ASSD of Metrics Reloaded, with areas as in Nikolov et al. 2021.
        """
        if self.empty != "none":
            return self._of_empty
        total = self.truth @ self.truth_area + self.prediction @ self.prediction_area
        return float(total / (self.truth_area.sum() + self.prediction_area.sum()))

    def nsd(self, tolerance: float) -> float:
        """The normalised surface Dice: (|a with d(a, B) <= t| + |b with d(b, A) <= t|) / (|A| + |B|), |...| areas.

        A fraction of both surfaces; `tolerance` t is in the unit of the spacing, mm or pixels; Nikolov et al. 2021.
        """
        if self.empty != "none":
            return float(self.empty == "both")
        most = tolerance * (1 + ROUNDING)
        near = self.truth_area[self.truth <= most].sum() + self.prediction_area[self.prediction <= most].sum()
        return float(near / (self.truth_area.sum() + self.prediction_area.sum()))

    @property
    def _of_empty(self) -> float:
        return 0.0 if self.empty == "both" else self.diagonal


def image_diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """From one outer corner of an image of this shape to the opposite one, in the unit of the spacing."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))


def surface_distances(
    prediction: Mask, truth: Mask, *, spacing: Sequence[float], diagonal: float, workers: int = -1
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    Parameters
    ----------
    prediction, truth
        ``(X, Y, Z)`` or ``(X, Y)``, of one shape; they may be cut out of the image as long as nothing is cut off.
    spacing
        Of the voxels along each axis, in mm, or 1 for pixels.
    diagonal
        `image_diagonal` of the whole image, in the same unit.
    workers
        Threads of the search; -1 takes every core.
    """
    box = box_of(prediction | truth)
    nothing = np.empty(0)
    if box is None:
        return SurfaceDistances(nothing, nothing, nothing, nothing, "both", diagonal)
    if not (truth[box].any() and prediction[box].any()):
        empty: Empty = "prediction" if truth[box].any() else "truth"
        return SurfaceDistances(nothing, nothing, nothing, nothing, empty, diagonal)
    order = memory_order(truth.view(np.uint8))
    steps = tuple(float(spacing[axis]) for axis in order)
    codes = [_codes(mask[box].transpose(order)) for mask in (truth, prediction)]
    on_surface = [_on_surface(code) for code in codes]
    places = [np.flatnonzero(on) for on in on_surface]
    areas = element_areas(steps)
    truth_area, prediction_area = (areas[code.reshape(-1)[place]] for code, place in zip(codes, places, strict=True))
    to_prediction = _nearest(places[0], on_surface[1], steps, workers)
    to_truth = _nearest(places[1], on_surface[0], steps, workers)
    return SurfaceDistances(to_prediction, to_truth, truth_area, prediction_area, "none", diagonal)


def element_areas(spacing: Sequence[float]) -> Floats:
    """Area (length) of the surface element of each of the 256 (16) ways in which voxels round a corner can be inside.

    The area of a triangle is the length of its normal, whose part along an axis is that share of a voxel's face across
    this axis.
    """
    faces = np.prod(spacing) / np.asarray(spacing, dtype=np.float64)
    return np.array([sum(float(np.linalg.norm(faces * normal)) for normal in kind) for kind in _kinds(len(spacing))])


@lru_cache(maxsize=2)
def _kinds(axes: int) -> tuple[tuple[Vector, ...], ...]:
    """The triangles' normals for each code, from the base table by its symmetry."""
    bits = 2**axes
    found: dict[int, tuple[Vector, ...]] = {0: (), 2**bits - 1: ()}
    for code, normals in (_PICTURE if axes == 2 else _VOLUME).items():
        inside = np.array([code >> (bits - 1 - corner) & 1 for corner in range(bits)]).reshape((2,) * axes)
        for order, mirrored in product(permutations(range(axes)), product((1, -1), repeat=axes)):
            turned = inside.transpose(order)[tuple(slice(None, None, step) for step in mirrored)]
            image = int("".join(map(str, turned.ravel())), 2)
            same = tuple(tuple(normal[axis] for axis in order) for normal in normals)
            found[image] = found[2**bits - 1 - image] = same
    return tuple(found[code] for code in range(2**bits))


def _codes(mask: Mask) -> NDArray[np.uint8]:
    """For each corner of the voxels which of those round it are inside, as bits; with a rim of one corner of nothing.

    Of the shape of the mask and three more along each axis.
    """
    codes = np.zeros(tuple(n + 3 for n in mask.shape), dtype=np.uint8)
    codes[tuple(slice(1, n + 1) for n in mask.shape)] = mask
    for axis in range(mask.ndim):
        along = np.moveaxis(codes, axis, 0)
        before = along[:-1] << (1 << (mask.ndim - 1 - axis))
        along[1:] |= before
    return codes


def _on_surface(codes: NDArray[np.uint8]) -> Mask:
    """Corners whose voxels are neither all inside nor all outside."""
    inside = (1 << 2**codes.ndim) - 1
    return (codes != 0) & (codes != inside)


def _nearest(these: NDArray[np.intp], surface: Mask, spacing: Vector, workers: int) -> Floats:
    """Distance of each of `these` corners, as places in the flat grid, to the nearest corner of the other `surface`.

    Most lie on it or next to it, which a look at the neighbours tells, nearest first. The others search.
    """
    distances = np.empty(len(these))
    left, places = np.arange(len(these)), these
    flat = surface.reshape(-1)
    for step, distance in _steps(surface.shape, spacing):
        found = flat[places + step]
        distances[left[found]] = distance
        left, places = left[~found], places[~found]
    if len(left):
        distances[left] = _searched(places, surface, spacing, workers)
    return distances


def _steps(shape: tuple[int, ...], spacing: Vector) -> list[tuple[int, float]]:
    """Steps in the flat grid to a corner and those next to it, and how long they are, the shortest first.

    Only those that are shorter than any step to a corner further away.
    """
    neighbours = np.array(list(product((-1, 0, 1), repeat=len(shape))))
    lengths = np.linalg.norm(neighbours * spacing, axis=1)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    steps = sorted(zip(lengths.tolist(), (neighbours @ strides).tolist(), strict=True))
    return [(step, length) for length, step in steps if length < 2 * min(spacing)]


def _searched(these: NDArray[np.intp], surface: Mask, spacing: Vector, workers: int) -> Floats:
    """As `_nearest`, by a search tree of the surface, or by a map of distances where the tree would be huge."""
    from scipy import ndimage, spatial

    others = np.flatnonzero(surface)
    if max(len(these), len(others)) > _CROWDED:
        return np.asarray(ndimage.distance_transform_edt(~surface, sampling=spacing).reshape(-1)[these])
    points = [np.stack(np.unravel_index(some, surface.shape), axis=1) * spacing for some in (these, others)]
    tree = spatial.cKDTree(points[1], leafsize=32, compact_nodes=False, balanced_tree=False)
    return np.asarray(tree.query(points[0], workers=workers)[0])


def _percentile(distances: Floats, areas: Floats, percent: float) -> float:
    """The smallest distance within which at least `percent` of the area lies."""
    if percent >= 100.0:
        return float(distances.max())
    order = np.argsort(distances)
    within: Floats = np.cumsum(areas[order])
    at = int(np.searchsorted(within, within[-1] * percent / 100.0))
    return float(distances[order[min(at, len(order) - 1)]])
