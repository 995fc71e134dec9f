"""Labels between voxels: the class of the largest linearly interpolated logit.

Between voxels whose largest logit is of one class that class is the largest everywhere (a weighted mean of numbers,
each larger than its rivals', is larger than theirs), so only voxels near boundaries are interpolated: the labels are
those of the full-volume method at a fraction of its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

POINTS_AT_ONCE = 1 << 18
"""Boundary voxels interpolated at once: what is gathered for them stays in the processor's cache."""

ROWS_FROM_CLASSES = 8
"""From so many classes on a voxel's logits are laid side by side, so that one look-up fetches them all."""


def interpolated_labels(
    logits: torch.Tensor, lower: Sequence[torch.Tensor], weight: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The class of the largest interpolated logit, the first of equals, at the crossings of the given positions.

    Parameters
    ----------
    logits
        ``(C, *sizes)``.
    lower, weight
        For each axis the lower neighbours and the weights (0 to 1) of the upper ones, ``(n,)`` each.

    Returns
    -------
    integers ``(n_1, ..., n_k)``
    """
    coarse = largest(logits)
    mixed_value = logits.shape[0]
    cells = torch.where(_one_class(coarse), _cells(coarse), mixed_value)
    cells = cells.to(torch.uint8 if mixed_value < 256 else torch.int32)
    cells = _spread(cells, lower)
    flat = cells.view(-1)
    mixed = _where(flat == mixed_value)
    many = mixed_value >= ROWS_FROM_CLASSES
    values = logits.movedim(0, -1).contiguous() if many and len(mixed) else logits
    for points in mixed.split(max(1, POINTS_AT_ONCE * 4 // mixed_value) if many else POINTS_AT_ONCE):
        find = _labels_of_rows if many else _labels_at
        flat[points] = find(values, points, lower, weight).to(flat.dtype)
    return cells


def interpolate(logits: torch.Tensor, lower: Sequence[torch.Tensor], weight: Sequence[torch.Tensor]) -> torch.Tensor:
    """All interpolated logits ``(C, n_1, ..., n_k)``; parameters as for `interpolated_labels`."""
    for axis, (below, share) in enumerate(zip(lower, weight, strict=True), start=1):
        above = (below + 1).clamp(max=logits.shape[axis] - 1)
        share = along(share, axis, logits.ndim)
        logits = logits.index_select(axis, below).lerp(logits.index_select(axis, above), share)
    return logits


def largest(logits: torch.Tensor) -> torch.Tensor:
    """`logits.argmax(0)`, the first of equals, class by class: on a CPU four times as fast as along a strided axis."""
    best = logits[0]
    labels = torch.zeros(logits.shape[1:], dtype=torch.int16, device=logits.device)
    for value in range(1, logits.shape[0]):
        labels.masked_fill_(logits[value] > best, value)
        best = torch.maximum(best, logits[value])
    return labels


def along(values: torch.Tensor, axis: int, axes: int) -> torch.Tensor:
    """``(n,)`` as an array of so many axes that runs along one of them."""
    return values.reshape([-1 if each == axis else 1 for each in range(axes)])


def _cells(values: torch.Tensor) -> torch.Tensor:
    """The first corner of each cell between neighbouring voxels; a single layer is its own cell."""
    return values[tuple(slice(0, max(1, n - 1)) for n in values.shape)]


def _one_class(labels: torch.Tensor) -> torch.Tensor:
    """True for cells whose corners all have one label."""
    uniform = torch.ones_like(labels, dtype=torch.bool)
    for axis, size in enumerate(labels.shape):
        if size == 1:
            continue
        here, there = (slice(0, size - 1), slice(1, size))
        head = (slice(None),) * axis
        same = labels[(*head, here)] == labels[(*head, there)]
        uniform = uniform[(*head, here)] & uniform[(*head, there)] & same
        labels = labels[(*head, here)]
    return uniform


def _spread(cells: torch.Tensor, lower: Sequence[torch.Tensor]) -> torch.Tensor:
    """The cells at the crossings of `lower`, contiguous.

    Along the last axis values are fetched one by one, along the others in rows: so the last comes while there are few
    of them, after those axes only that get shorter.
    """
    last = cells.ndim - 1
    for axis in sorted(range(cells.ndim), key=lambda a: (len(lower[a]) >= cells.shape[a], a != last, -a)):
        cells = cells.index_select(axis, lower[axis])
    return cells


def _where(mask: torch.Tensor) -> torch.Tensor:
    """Where a mask ``(n,)`` is true, in order; on a CPU NumPy is twice as fast as torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.nonzero(mask).squeeze(1)


def _labels_at(
    logits: torch.Tensor, points: torch.Tensor, lower: Sequence[torch.Tensor], weight: Sequence[torch.Tensor]
) -> torch.Tensor:
    corners = _Corners.of(points, lower, weight, sizes=logits.shape[1:], strides=logits.stride()[1:])
    best = corners.interpolate(_memory_of(logits[0]))
    labels = torch.zeros_like(points)
    for value in range(1, logits.shape[0]):
        found = corners.interpolate(_memory_of(logits[value]))
        labels.masked_fill_(found > best, value)
        best = torch.maximum(best, found)
    return labels


def _labels_of_rows(
    rows: torch.Tensor, points: torch.Tensor, lower: Sequence[torch.Tensor], weight: Sequence[torch.Tensor]
) -> torch.Tensor:
    """As `_labels_at`, for contiguous logits ``(*sizes, C)``."""
    *sizes, classes = rows.shape
    strides = [stride // classes for stride in rows.stride()[:-1]]
    corners = _Corners.of(points, lower, weight, sizes=sizes, strides=strides)
    return corners.interpolate(rows.view(-1, classes)).argmax(dim=1)


@dataclass(frozen=True)
class _Corners:
    """The corners of the cells in which points lie.

    The first one's place in memory; along each axis the step to the next (0 where there is one layer) and its weight.
    """

    first: torch.Tensor
    steps: tuple[int, ...]
    weights: tuple[torch.Tensor, ...]

    @classmethod
    def of(
        cls,
        points: torch.Tensor,
        lower: Sequence[torch.Tensor],
        weight: Sequence[torch.Tensor],
        *,
        sizes: Sequence[int],
        strides: Sequence[int],
    ) -> _Corners:
        """Of points that are numbered along the axes, the last one fastest."""
        first, rest = torch.zeros_like(points), points
        weights: list[torch.Tensor] = []
        for axis in reversed(range(len(lower))):
            further = rest // len(lower[axis])
            position, rest = rest - further * len(lower[axis]), further
            first += lower[axis][position] * strides[axis]
            weights.insert(0, weight[axis][position])
        steps = tuple(stride if size > 1 else 0 for size, stride in zip(sizes, strides, strict=True))
        return cls(first, steps, tuple(weights))

    def interpolate(self, values: torch.Tensor) -> torch.Tensor:
        """At the points, of values ``(memory,)`` or ``(memory, C)``."""
        return self._along(values, self.first, 0)

    def _along(self, values: torch.Tensor, place: torch.Tensor, axis: int) -> torch.Tensor:
        if axis == len(self.steps):
            return values.take(place) if values.ndim == 1 else values.index_select(0, place)
        near = self._along(values, place, axis + 1)
        if self.steps[axis] == 0:
            return near
        weight = self.weights[axis]
        far = self._along(values, place + self.steps[axis], axis + 1)
        return near.lerp_(far, weight if values.ndim == 1 else weight[:, None])


def _memory_of(values: torch.Tensor) -> torch.Tensor:
    """The stretch of memory that holds `values`, in one row: voxel (i, j, k) is at i, j, k times its strides."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(values.shape, values.stride(), strict=True))
    return values.as_strided((extent,), (1,))
