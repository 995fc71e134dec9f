"""Windows' logits added up strip by strip: what no later window touches is handed on and its memory freed.

Along the slowest axis only the overlap of two rows of windows is kept for the whole cross-section, along the next only
one strip of windows: memory grows with classes x overlap x cross-section, never with the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from medseg.inference.plan import WindowPlan
from medseg.inference.restore import set_background

BLOCK_VALUES = 1 << 25
"""Sums of a block that is handed on in one piece."""


class Receiver(Protocol):
    """Takes finished blocks; their memory is used again for the next."""

    def start(self, classes: int) -> None:
        """The first block is about to come."""

    def put(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        """A block ``(C, *sizes)``, sharing its first layers with the last ones of the blocks before, and its place."""


class Counter(Protocol):
    """Looks at every voxel of the network's grid once."""

    def add(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        """Finished logits ``(C, *sizes)`` and their place."""


class Stream:
    """Weighted mean of overlapping windows, handed on in blocks.

    Parameters
    ----------
    plan
        The windows; they must come in the order of `windows`.
    axes
        Axes of the network's grid, the slowest first, two or three. Blocks have their axes in this order.
    weights
        Weight of a window's voxels, ``plan.roi_size``.
    receiver
        Gets the blocks, its `at` counted on the network's grid without the box: in the box.
    counters
        See each finished voxel once.
    """

    def __init__(
        self,
        plan: WindowPlan,
        *,
        axes: Sequence[int],
        weights: torch.Tensor,
        receiver: Receiver,
        counters: Sequence[Counter] = (),
    ) -> None:
        self.plan, self.axes, self.receiver, self.counters = plan, tuple(axes), receiver, tuple(counters)
        self.weights = self._inside(weights[None])[0]
        self._sizes = [plan.box_shape[axis] for axis in self.axes]
        self._rows = _rows(plan.starts[self.axes[0]])
        self._slow_starts = plan.starts[self.axes[0]]
        self._starts = [[row[0] for row in self._rows], *(plan.starts[axis] for axis in self.axes[1:])]
        self._depths = [row[-1] - row[0] + self.weights.shape[0] for row in self._rows]
        self._next = 0  # strips that are finished
        self._waiting = [0] * (len(self._rows) * len(self._starts[1]))  # windows of each strip that have not come
        for window in self.windows():
            self._waiting[self._strip_of(window)] += 1
        self._strip: torch.Tensor | None = None  # sums of this strip, and in its last rows of the next one
        self._begun = False
        self._classes = 0
        self._layers_rest: dict[int, torch.Tensor] = {}  # sums that the row of windows before left, by strip
        self._layers_edge: dict[int, torch.Tensor] = {}  # the last layer that was handed on, by strip
        self._row_edge: torch.Tensor | None = None  # the last rows that were handed on in this row of windows
        self._block: torch.Tensor | None = None  # memory of the last block, for the next

    def add(self, window: Sequence[int], logits: torch.Tensor) -> None:
        """Add the logits ``(C, *plan.roi_size)`` of the window with these indices into `plan.starts`."""
        if not self._classes:
            self._classes = logits.shape[0]
            self.receiver.start(self._classes)
        index = self._strip_of(window)
        self._finish_until(index)
        strip, part = self._begun_strip(), self._inside(logits)
        layer = self._slow_starts[window[self.axes[0]]] - self._starts[0][index // self._strips_in_a_row]
        strip = strip[:, layer : layer + part.shape[1]]
        if len(self.axes) == 3:
            start = self._starts[2][window[self.axes[2]]]
            strip = strip[..., start : start + part.shape[3]]
        for value in range(self._classes):  # a class at a time: no copy of the window is made
            strip[value].addcmul_(part[value].to(strip.dtype), self.weights)
        strip[self._classes] += self.weights
        self._waiting[index] -= 1

    def hand_on_finished(self) -> None:
        """Hand on the strips whose windows have all come, now rather than when the next window comes."""
        finished = self._next
        while finished < len(self._waiting) and self._classes and not self._waiting[finished]:
            finished += 1
        self._finish_until(finished)

    def finish(self, *, classes: int) -> None:
        """Hand on what is left; `classes` counts when no window was run."""
        if not self._classes:
            self._classes = classes
            self.receiver.start(classes)
        self._finish_until(len(self._waiting))

    def windows(self) -> list[tuple[int, ...]]:
        """Indices into `plan.starts` of the windows to run, in the order in which they must come: strip by strip."""
        return sorted(self.plan.windows(self.axes), key=self._strip_of)

    def _strip_of(self, window: Sequence[int]) -> int:
        start = self._slow_starts[window[self.axes[0]]]
        row = next(number for number, starts in enumerate(self._rows) if start in starts)
        return row * self._strips_in_a_row + window[self.axes[1]]

    @property
    def _strips_in_a_row(self) -> int:
        return len(self._starts[1])

    def _inside(self, window: torch.Tensor) -> torch.Tensor:
        """``(C, *roi_size)`` without the padding around the box, its axes in the order of `axes`."""
        for axis, (padding, size) in enumerate(zip(self.plan.padding, self.plan.box_shape, strict=True)):
            if window.shape[1 + axis] > size:
                window = window.narrow(1 + axis, padding, size)
        return window.permute(0, *(1 + axis for axis in self.axes))

    def _begun_strip(self) -> torch.Tensor:
        """Sums of the strip that is next to be finished, with what the row of windows before left for it."""
        if self._strip is None:
            sizes = (max(self._depths), self.weights.shape[1], *self._sizes[2:])
            self._strip = self._empty((self._classes + 1, *sizes)).zero_()
        if not self._begun:
            before = self._layers_rest.pop(self._next % self._strips_in_a_row, None)
            if before is not None:
                self._strip[:, : before.shape[1], : before.shape[2]] += before
            self._begun = True
        return self._strip

    def _empty(self, shape: Sequence[int]) -> torch.Tensor:
        """``(C, *sizes)``, in memory as the network's windows lie, so that adding runs along memory on both sides."""
        sizes = dict(zip(self.axes, shape[1:], strict=True))
        memory = torch.empty((shape[0], *(sizes[axis] for axis in sorted(sizes))), device=self.weights.device)
        return memory.permute(0, *(1 + axis for axis in self.axes))

    def _finish_until(self, index: int) -> None:
        while self._next < index:
            self._finish_strip(*divmod(self._next, self._strips_in_a_row))
            self._next += 1

    def _finish_strip(self, slow: int, middle: int) -> None:
        strip = self._begun_strip()
        rows = self._after(1, middle) - self._starts[1][middle]
        layers = self._after(0, slow) - self._starts[0][slow]
        if slow + 1 < len(self._rows):
            self._layers_rest[middle] = strip[:, layers : self._depths[slow], :rows].clone()
        self._hand_on(strip[:, :layers, :rows], slow, middle)
        if middle + 1 == self._strips_in_a_row:
            self._row_edge = None
            strip.zero_()
        else:
            _move_up(strip, rows)
        self._begun = False

    def _after(self, axis: int, index: int) -> int:
        """Where the windows after this one start."""
        starts = self._starts[axis]
        return starts[index + 1] if index + 1 < len(starts) else self._sizes[axis]

    def _hand_on(self, sums: torch.Tensor, slow: int, middle: int) -> None:
        """The means of a strip's finished part, in pieces of some rows."""
        before = self._layers_edge.get(middle)
        edge = self._empty((self._classes, 1, *sums.shape[2:]))
        per_row = sums[:, :, :1].numel()
        step = max(1, BLOCK_VALUES // per_row)
        for first in range(0, sums.shape[2], step):
            piece = slice(first, first + step)
            at = [self._starts[0][slow], self._starts[1][middle] + first]
            self._put(sums[:, :, piece], at, before[:, :, piece] if before is not None else None, edge[:, :, piece])
        self._layers_edge[middle] = edge

    def _put(self, sums: torch.Tensor, at: list[int], before: torch.Tensor | None, edge: torch.Tensor) -> None:
        """A block with the layer and the row before it, with which others end; `edge` gets its own last layer."""
        layers, rows, *rest = sums.shape[1:]
        more_layers, more_rows = int(before is not None), int(self._row_edge is not None)
        shape = (self._classes, layers + more_layers, rows + more_rows, *rest)
        if self._block is None or self._block.shape != shape:
            self._block = None  # freed first
            self._block = self._empty(shape)
        block = self._block
        own = block[:, more_layers:, more_rows:]
        _mean(sums, out=own)
        for counter in self.counters:
            counter.add(own, [*at, *[0] * len(rest)])
        if before is not None:
            block[:, :1, more_rows:] = before
        if self._row_edge is not None:
            block[:, :, :1] = self._row_edge
        edge.copy_(own[:, -1:])
        self._row_edge = block[:, :, -1:].clone()
        self.receiver.put(block, [at[0] - more_layers, at[1] - more_rows, *[0] * len(rest)])


def _rows(starts: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows of windows along the slowest axis by their starts.

    The last row lies where the volume ends, mostly close to the one before. Both are then run as one, a little deeper:
    otherwise nearly all that the one before has would have to be kept for the last.
    """
    if len(starts) > 2 and starts[-1] - starts[-2] < (starts[-2] - starts[-3]) / 2:
        return [*((start,) for start in starts[:-2]), (starts[-2], starts[-1])]
    return [(start,) for start in starts]


def _move_up(strip: torch.Tensor, rows: int) -> None:
    """Drop the first rows of ``(C, layers, rows, ...)`` and append empty ones, in the same memory."""
    kept = strip.shape[2] - rows
    for first in range(0, kept, rows):  # pieces that do not overlap what they overwrite
        last = min(first + rows, kept)
        strip[:, :, first:last] = strip[:, :, first + rows : last + rows]
    strip[:, :, kept:] = 0


def _mean(sums: torch.Tensor, *, out: torch.Tensor) -> None:
    """Sums over weights (the last of them); where no window was run it is background for certain."""
    weights = sums[-1]
    unseen = weights == 0
    if bool(unseen.any()):
        torch.div(sums[:-1], weights.masked_fill(unseen, 1.0), out=out)
        set_background(out, unseen)
    else:
        torch.div(sums[:-1], weights, out=out)
