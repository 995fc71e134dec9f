"""Masks to closed contours along pixel borders, holes joined as keyholes, and back by the even-odd rule.

A contour runs along the borders of pixels, so it encloses exactly the area of the mask, and filling it again gives the
same mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.case import Array

Points: TypeAlias = NDArray[np.float64]
"""(N, 2): x, y in pixels, of which (i, j) covers i - 0.5 to i + 0.5 and j - 0.5 to j + 0.5; the first stands once."""

Edge: TypeAlias = tuple[int, int, int]
"""(x, y) of its start and its direction, an index of `_TURNS`."""

_TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Directions +x, +y, -x, -y. With the pixel on the side of the next one, an outer border runs with increasing angle."""


def contours_of(mask: Array) -> list[Points]:
    """The contours of a mask ``(X, Y)``, one for each 4-connected part, its holes joined to it by keyholes.

    A keyhole is a bridge that is walked twice, out and back: readers that fill by even-odd, by winding or by union
    of contours all get the same mask.
    """
    from scipy import ndimage

    boxes = ndimage.find_objects(np.asarray(mask != 0, dtype=np.uint8))
    if not boxes:
        return []
    parts, _ = ndimage.label(mask[boxes[0]])
    loops: dict[int, list[Array]] = {}
    for part, loop in _loops(np.pad(parts, 1)):
        loops.setdefault(part, []).append(loop)
    corner = np.array([side.start for side in boxes[0]]) - 1.5  # of the padded box, in pixels of the mask
    return [_joined(found) + corner for found in loops.values()]


def fill(contours: Sequence[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels ``(X, Y)`` whose centres lie within an odd number of `contours`; what lies outside `shape` is cut off.

    Parameters
    ----------
    contours
        Each ``(N, 2)``, closed from its last to its first point, in pixels (0 is the centre of the first pixel).
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), dtype=np.uint8)
    for points in contours:
        _cross(crossings, points)
    return np.asarray(np.bitwise_xor.accumulate(crossings, axis=0)[:-1].astype(bool))


def _cross(crossings: Array, points: Points) -> None:
    """Turn the bit of the first pixel behind each crossing of an edge with a row of pixel centres."""
    start, end = points, np.roll(points, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(low), 0, crossings.shape[1]).astype(np.int64)
    stop = np.clip(np.ceil(high), 0, crossings.shape[1]).astype(np.int64)  # half open: a shared end counts once
    edge = np.repeat(np.arange(len(points)), stop - first)
    if not edge.size:
        return
    row = np.arange(edge.size) - np.repeat(np.cumsum(stop - first) - (stop - first), stop - first) + first[edge]
    slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + (row - start[edge, 1]) * slope
    column = np.clip(np.ceil(x), 0, crossings.shape[0] - 1).astype(np.int64)
    np.bitwise_xor.at(crossings, (column, row), 1)


def _loops(parts: Array) -> list[tuple[int, Array]]:
    """(part, corners (N, 2)) of every closed border: outer borders and holes, corners only where it turns.

    `parts` ``(X, Y)`` holds 0 or the number of a 4-connected part, with a rim of 0. Pixel (i, j) has the corners (i, j)
    to (i + 1, j + 1).
    """
    ahead, loops = _border_edges(parts), []
    while ahead:
        start = next(iter(ahead))
        loops.append((ahead[start], _walk(ahead, start)))
    return loops


def _border_edges(parts: Array) -> dict[Edge, int]:
    """Every edge between a part and the background, with its part, which lies on the +90 degree side."""
    edges: dict[Edge, int] = {}
    inside = parts[1:-1, 1:-1]
    neighbours = (parts[1:-1, :-2], parts[2:, 1:-1], parts[1:-1, 2:], parts[:-2, 1:-1])  # at y - 1, x + 1, y + 1, x - 1
    for direction, neighbour in enumerate(neighbours):
        shift_x, shift_y = ((0, 0), (1, 0), (1, 1), (0, 1))[direction]
        for x, y in np.argwhere((inside > 0) & (neighbour == 0)).tolist():
            edges[x + 1 + shift_x, y + 1 + shift_y, direction] = int(inside[x, y])
    return edges


def _walk(ahead: dict[Edge, int], start: Edge) -> Array:
    """Follow a border from `start` until it closes, taking its edges out of `ahead`; the corners where it turns."""
    corners = []
    x, y, direction = start
    while True:
        del ahead[x, y, direction]
        x, y = x + _TURNS[direction][0], y + _TURNS[direction][1]
        # first the turn round the same pixel, so that pixels that touch at a corner stay apart
        turns = ((direction + turn) % 4 for turn in (1, 0, 3))
        following = next(turn for turn in turns if (x, y, turn) == start or (x, y, turn) in ahead)
        if following != direction:
            corners.append((x, y))
        direction = following
        if (x, y, direction) == start:
            return np.array(corners, dtype=np.float64)


def _joined(loops: Sequence[Array]) -> Points:
    """The outer border with each hole joined by a bridge to what lies left of it."""
    outer = max(loops, key=lambda loop: np.ptp(loop[:, 0]) * np.ptp(loop[:, 1]))
    holes = sorted((loop for loop in loops if loop is not outer), key=lambda loop: float(loop[:, 0].min()))
    for hole in holes:
        outer = _bridged(outer, hole)
    return outer


def _bridged(outer: Points, hole: Points) -> Points:
    """`outer` with `hole` spliced in, along the row of the hole's leftmost corner."""
    begin = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
    hole = np.roll(hole, -begin, axis=0)
    x, y = hole[0]
    ends = np.roll(outer, -1, axis=0)
    low, high = np.minimum(outer[:, 1], ends[:, 1]), np.maximum(outer[:, 1], ends[:, 1])
    met = (outer[:, 0] == ends[:, 0]) & (outer[:, 0] <= x) & (low <= y) & (y < high)
    edge = int(np.flatnonzero(met)[np.argmax(outer[met, 0])])
    post = np.array([[outer[edge, 0], y]])
    return np.concatenate([outer[: edge + 1], post, hole, hole[:1], post, outer[edge + 1 :]])
