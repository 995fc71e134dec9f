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


class Receiver(Protocol):
    """Takes finished blocks."""

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
        The windows; they must come in the order of `plan.windows(axes)`.
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
        self._starts = [plan.starts[axis] for axis in self.axes]
        self._extent = list(self.weights.shape)
        self._next = 0  # strips that are finished
        self._strip: torch.Tensor | None = None
        self._classes = 0
        self._row_rest: torch.Tensor | None = None  # of this row of windows, for the next strip
        self._row_edge: torch.Tensor | None = None  # the last layer that was handed on in this row
        self._layers_rest: dict[int, torch.Tensor] = {}  # of the row of windows before, by strip
        self._layers_edge: dict[int, torch.Tensor] = {}

    def add(self, window: Sequence[int], logits: torch.Tensor) -> None:
        """Add the logits ``(C, *plan.roi_size)`` of the window with these indices into `plan.starts`."""
        if not self._classes:
            self._classes = logits.shape[0]
            self.receiver.start(self._classes)
        slow, middle, *fast = (window[axis] for axis in self.axes)
        self._finish_until(slow * self._strips_in_a_row + middle)
        strip = self._strip if self._strip is not None else self._new_strip(logits)
        part = self._inside(logits)
        if fast:
            start = self._starts[2][fast[0]]
            strip = strip[..., start : start + part.shape[3]]
        for value in range(self._classes):  # a class at a time: no copy of the window is made
            strip[value].addcmul_(part[value].to(strip.dtype), self.weights)
        strip[self._classes] += self.weights

    def finish(self, *, classes: int) -> None:
        """Hand on what is left; `classes` counts when no window was run."""
        if not self._classes:
            self._classes = classes
            self.receiver.start(classes)
        self._finish_until(len(self._starts[0]) * self._strips_in_a_row)

    @property
    def _strips_in_a_row(self) -> int:
        return len(self._starts[1])

    def _inside(self, window: torch.Tensor) -> torch.Tensor:
        """``(C, *roi_size)`` without the padding around the box, its axes in the order of `axes`."""
        for axis, (padding, size) in enumerate(zip(self.plan.padding, self.plan.box_shape, strict=True)):
            if window.shape[1 + axis] > size:
                window = window.narrow(1 + axis, padding, size)
        return window.permute(0, *(1 + axis for axis in self.axes))

    def _new_strip(self, like: torch.Tensor) -> torch.Tensor:
        sizes = dict(zip(self.axes, (*self._extent[:2], *self._sizes[2:]), strict=True))
        shape = (self._classes + 1, *(sizes[axis] for axis in sorted(sizes)))
        # In memory as the network's windows lie, so that adding them up runs along memory on both sides.
        strip = torch.zeros(shape, dtype=torch.float32, device=like.device).permute(0, *(1 + a for a in self.axes))
        if self._row_rest is not None:
            strip[:, :, : self._row_rest.shape[2]] = self._row_rest
            self._row_rest = None
        self._strip = strip
        return strip

    def _finish_until(self, index: int) -> None:
        while self._next < index:
            self._finish_strip(*divmod(self._next, self._strips_in_a_row))
            self._next += 1

    def _finish_strip(self, slow: int, middle: int) -> None:
        strip = self._strip if self._strip is not None else self._new_strip(self.weights)
        self._strip = None
        rows = self._after(1, middle) - self._starts[1][middle]
        last_of_row = middle + 1 == self._strips_in_a_row
        self._row_rest = None if last_of_row else strip[:, :, rows:].clone()
        block = strip[:, :, :rows]
        before = self._layers_rest.pop(middle, None)
        if before is not None:
            block[:, : before.shape[1]] += before
        layers = self._after(0, slow) - self._starts[0][slow]
        if slow + 1 < len(self._starts[0]):
            self._layers_rest[middle] = block[:, layers:].clone()
        self._hand_on(_mean(block[:, :layers]), slow, middle)
        if last_of_row:
            self._row_edge = None

    def _after(self, axis: int, index: int) -> int:
        """Where the windows after this one start."""
        starts = self._starts[axis]
        return starts[index + 1] if index + 1 < len(starts) else self._sizes[axis]

    def _hand_on(self, logits: torch.Tensor, slow: int, middle: int) -> None:
        at = [self._starts[0][slow], self._starts[1][middle], *[0] * (len(self.axes) - 2)]
        for counter in self.counters:
            counter.add(logits, at)
        edge = self._layers_edge.get(middle)
        self._layers_edge[middle] = logits[:, -1:].clone()
        if edge is not None:
            logits, at[0] = torch.cat([edge, logits], dim=1), at[0] - 1
        edge = self._row_edge
        self._row_edge = logits[:, :, -1:].clone()
        if edge is not None:
            logits, at[1] = torch.cat([edge, logits], dim=2), at[1] - 1
        self.receiver.put(logits, at)


def _mean(block: torch.Tensor) -> torch.Tensor:
    """Sums over weights, in place; where no window was run it is background for certain."""
    logits, weights = block[:-1], block[-1]
    unseen = weights == 0
    if bool(unseen.any()):
        logits /= weights.masked_fill(unseen, 1.0)
        set_background(logits, unseen)
        return logits
    logits /= weights
    return logits
