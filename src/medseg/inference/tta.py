"""Test-time augmentation: the mean over mirrored copies of a window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from medseg.errors import BundleError

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Mirror:
    """Along which axes an image may be mirrored, and which labels change places then.

    Attributes
    ----------
    axes
        Axes of the network's grid, 0 for X.
    swaps
        For an axis the pairs of labels that are each other's mirror image along it, e.g. ``{0: [[1, 2]]}`` where 1
        and 2 are the left and the right lung and X runs from left to right.
    """

    axes: Sequence[int]
    swaps: Mapping[int, Sequence[Sequence[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes = list(self.axes)
        if len(set(axes)) != len(axes) or any(axis not in (0, 1, 2) for axis in axes):
            raise BundleError("mirror: axes", got=axes, expected="different ones of 0, 1, 2")
        stray = sorted(set(self.swaps) - set(axes))
        if stray:
            raise BundleError("mirror: swaps of axes that are not mirrored", got=stray, expected=f"axes of {axes}")
        wrong = [list(pair) for pairs in self.swaps.values() for pair in pairs if len(pair) != 2 or min(pair) < 0]
        if wrong:
            raise BundleError("mirror: swaps", got=wrong, expected="pairs of labels, such as [1, 2]")

    @property
    def combinations(self) -> tuple[tuple[int, ...], ...]:
        """All sets of axes, the empty one first."""
        counts = range(len(self.axes) + 1)
        return tuple(itertools.chain.from_iterable(itertools.combinations(self.axes, n) for n in counts))


def mirrored(network: Network, mirror: Mirror, *, at_once: int) -> Network:
    """A network whose logits are the mean over all mirrored copies, each mirrored back.

    Parameters
    ----------
    network
        Gives logits ``(B, C, X, Y[, Z])``.
    at_once
        Copies that go through the network in one batch.
    """
    combinations = mirror.combinations

    def mean_of_copies(windows: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for first in range(0, len(combinations), at_once):
            chosen = combinations[first : first + at_once]
            copies = torch.cat([windows.flip([2 + axis for axis in axes]) for axes in chosen])
            for axes, logits in zip(chosen, network(copies).float().chunk(len(chosen)), strict=True):
                back = _swapped(logits.flip([2 + axis for axis in axes]), mirror, axes)
                total = back if total is None else total + back
        assert total is not None, "the unmirrored window is always among the copies"
        return total / len(combinations)

    return mean_of_copies


def _swapped(logits: torch.Tensor, mirror: Mirror, axes: Sequence[int]) -> torch.Tensor:
    order = list(range(logits.shape[1]))
    for axis in axes:
        for first, second in mirror.swaps.get(axis, ()):
            if max(first, second) >= len(order):
                raise BundleError("mirror: swaps", got=[first, second], expected=f"labels below {len(order)}")
            order[first], order[second] = order[second], order[first]
    return logits if order == sorted(order) else logits[:, order]
