"""Which windows of a volume the network has to see."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import BundleError

Box = tuple[slice, ...]

COARSE_VOXELS = 4
"""The body is looked for on means of this many voxels along each axis."""


@dataclass(frozen=True)
class Foreground:
    """Where there is something to segment: what is brighter than air, and what lies between such voxels.

    Attributes
    ----------
    above
        A voxel belongs to the body when the network's input is larger than this in any channel.
    margin
        Voxels of the network's grid that are kept around the body.
    smallest_part
        Separate pieces count when they have at least this fraction of the largest one's voxels (arms, legs).
    """

    above: float
    margin: int = 8
    smallest_part: float = 0.01

    def __post_init__(self) -> None:
        if self.margin < 0 or not 0 <= self.smallest_part <= 1:
            raise BundleError(
                "foreground", got=f"margin {self.margin}, smallest_part {self.smallest_part}", expected="from 0; 0 to 1"
            )


@dataclass(frozen=True)
class WindowPlan:
    """Windows over a box of a volume, in the order in which they are run: the last axis of `starts` changes fastest.

    Attributes
    ----------
    box
        The part of the volume ``(X, Y[, Z])`` that is covered.
    roi_size
        Size of a window; where the box is smaller, the window reaches over it by `padding` voxels in front.
    starts
        First voxels of the windows along each axis, counted in the box.
    padding
        Voxels of a window that lie in front of the box, per axis; 0 where the box is as large as a window.
    visited
        Which windows are run, ``(len(starts[0]), len(starts[1]), ...)``.
    """

    box: Box
    roi_size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    padding: tuple[int, ...]
    visited: NDArray[np.bool_]

    @property
    def box_shape(self) -> tuple[int, ...]:
        """Voxels of the box along each axis."""
        return tuple(part.stop - part.start for part in self.box)

    def windows(self, axes: Sequence[int]) -> list[tuple[int, ...]]:
        """Indices into `starts` of the windows to run; the first of `axes` changes slowest."""
        order = itertools.product(*(range(len(self.starts[axis])) for axis in axes))
        indices = [tuple(position[list(axes).index(axis)] for axis in range(len(axes))) for position in order]
        return [index for index in indices if self.visited[index]]


def plan_windows(
    shape: Sequence[int],
    *,
    roi_size: Sequence[int],
    overlap: Sequence[float] | float,
    body: NDArray[np.bool_] | None = None,
    margin: int = 0,
) -> WindowPlan:
    """The fewest windows that cover a volume, or the body in it, at a given overlap.

    Windows start every ``int(roi (1 - overlap))`` voxels, the last one ends with the box: the places that
    ``monai.inferers.sliding_window_inference`` takes.

    Parameters
    ----------
    shape
        (X, Y[, Z]) of the network's input.
    roi_size
        Size of a window; a value that is not positive takes the whole axis.
    overlap
        Fraction of a window shared with its neighbour, 0 to below 1, one for all axes or one each.
    body
        As `find_body` gives it; None to cover everything.
    margin
        Voxels kept around the body.
    """
    overlaps = _each_axis(overlap, len(shape))
    box = _bounding_box(body, shape, margin) if body is not None else tuple(slice(0, size) for size in shape)
    sizes = [part.stop - part.start for part in box]
    roi = tuple(wanted if wanted > 0 else size for wanted, size in zip(roi_size, sizes, strict=True))
    starts = tuple(_starts(size, r, o) for size, r, o in zip(sizes, roi, overlaps, strict=True))
    padding = tuple(max(r - size, 0) // 2 for r, size in zip(roi, sizes, strict=True))
    visited = np.ones(tuple(len(s) for s in starts), dtype=bool)
    if body is not None:
        visited = _windows_with_body(body, box, roi, starts, margin)
    return WindowPlan(box, roi, starts, padding, visited)


def find_body(inputs: torch.Tensor, foreground: Foreground) -> NDArray[np.bool_]:
    """The body and what it encloses, on means of 4 voxels along each axis: ``(ceil(X/4), ceil(Y/4)[, ceil(Z/4)])``.

    A voxel between two voxels of the body along any axis belongs to it: lungs and bowel gas are not air around it.
    Where nothing is bright enough all is body, so that nothing is ever left out by mistake.

    Parameters
    ----------
    inputs
        ``(C, X, Y[, Z])``, the network's input.
    """
    from scipy import ndimage

    dims = inputs.ndim - 1
    pool = torch.nn.functional.avg_pool3d if dims == 3 else torch.nn.functional.avg_pool2d
    sizes = [min(COARSE_VOXELS, size) for size in inputs.shape[1:]]
    means = pool(inputs[None].float(), sizes, stride=COARSE_VOXELS, ceil_mode=True, count_include_pad=False)[0]
    bright = (means > foreground.above).any(0).cpu().numpy()
    parts, count = ndimage.label(bright)
    if count == 0:
        return np.ones_like(bright)
    voxels = np.bincount(parts.ravel())
    voxels[0] = 0
    body: NDArray[np.bool_] = (voxels >= max(1, foreground.smallest_part * voxels.max()))[parts]
    return _between(body)


def _between(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    enclosed = body.copy()
    for axis in range(body.ndim):
        before = np.logical_or.accumulate(body, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(body, axis), axis=axis), axis)
        enclosed |= before & after
    return enclosed


def _bounding_box(body: NDArray[np.bool_], shape: Sequence[int], margin: int) -> Box:
    from scipy import ndimage

    (coarse,) = ndimage.find_objects(body.astype(np.uint8))
    return tuple(
        slice(max(0, part.start * COARSE_VOXELS - margin), min(size, part.stop * COARSE_VOXELS + margin))
        for part, size in zip(coarse, shape, strict=True)
    )


def _windows_with_body(
    body: NDArray[np.bool_],
    box: Box,
    roi: tuple[int, ...],
    starts: tuple[tuple[int, ...], ...],
    margin: int,
) -> NDArray[np.bool_]:
    visited = np.zeros(tuple(len(s) for s in starts), dtype=bool)
    for index in np.ndindex(visited.shape):
        covered = []
        for axis, i in enumerate(index):
            first = box[axis].start + starts[axis][i] - margin
            last = box[axis].start + starts[axis][i] + roi[axis] + margin
            covered.append(slice(max(0, first) // COARSE_VOXELS, math.ceil(last / COARSE_VOXELS)))
        visited[index] = bool(body[tuple(covered)].any())
    return visited


def _each_axis(overlap: Sequence[float] | float, axes: int) -> tuple[float, ...]:
    return (overlap,) * axes if isinstance(overlap, int | float) else tuple(overlap)


def _starts(size: int, roi: int, overlap: float) -> tuple[int, ...]:
    if size <= roi:
        return (0,)
    step = max(1, int(roi * (1 - overlap)))
    count = math.ceil((size - roi) / step) + 1
    return tuple(min(i * step, size - roi) for i in range(count))


def grown_window(
    shape: Sequence[int], *, roi_size: Sequence[int], overlap: Sequence[float] | float, at_most: int, multiple: int
) -> tuple[int, ...]:
    """The window, at least `roi_size`, with which a volume costs the network fewest voxels in all.

    Parameters
    ----------
    shape
        (X, Y[, Z]) to be covered.
    at_most
        Voxels of the largest window that memory allows.
    multiple
        Of which the network takes sizes.
    """
    overlaps = _each_axis(overlap, len(shape))
    roi = tuple(wanted if wanted > 0 else size for wanted, size in zip(roi_size, shape, strict=True))
    choices = []
    for size, r, o in zip(shape, roi, overlaps, strict=True):
        fewer = range(1, len(_starts(size, r, o)) + 1)
        larger = (multiple * math.ceil(size / (1 + (n - 1) * (1 - o)) / multiple) for n in fewer)
        choices.append(sorted({r, *(w for w in larger if w >= r)}))
    allowed = [w for w in itertools.product(*choices) if math.prod(w) <= at_most]

    def cost(window: tuple[int, ...]) -> tuple[int, int]:
        counts = [len(_starts(*axis)) for axis in zip(shape, window, overlaps, strict=True)]
        return math.prod(counts) * math.prod(window), math.prod(window)

    return min([roi, *allowed], key=cost)
