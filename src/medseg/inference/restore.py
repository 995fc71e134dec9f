"""From logits on the network's grid back to labels on the grid of the image as it was stored.

How the two grids lie to each other, block after block; `medseg.inference.interpolation` says which label is where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from medseg.case import Affine, LabelArray
from medseg.errors import BundleError, GeometryError
from medseg.inference.interpolation import along, interpolate, interpolated_labels, largest

LARGEST_DRIFT_VOXELS = 0.25
"""Axes count as parallel while no voxel strays further from its row on the network's grid (rounded affines do)."""

BLOCK_VALUES = 1 << 24
"""Logits of a block that are restored at once: what is computed for them stays small beside the block itself."""

DENSE_VALUES = 1 << 25
"""Interpolated logits held at once for a sink."""

CERTAIN = 20.0
"""Logit of the background, and minus that of all others, where the network was not run."""


class Sink(Protocol):
    """Takes the logits of a case on its native grid, block after block."""

    def start(self, classes: int, shape: tuple[int, ...]) -> None:
        """A case begins, or begins anew: classes and native shape ``(X, Y[, Z])``."""

    def put(self, where: tuple[slice, ...], logits: torch.Tensor) -> None:
        """Logits ``(C, x, y[, z])`` of the native voxels `where`; each voxel comes once."""

    def finish(self) -> None:
        """All voxels have come."""


@dataclass(frozen=True)
class _AxisMap:
    """Where the voxels of one native axis lie on an axis of the network's grid: the lower neighbour and a weight."""

    available: int
    lower: torch.Tensor
    weight: torch.Tensor
    inside: torch.Tensor

    def owned(self, start: int, count: int) -> slice:
        """Native voxels whose two neighbours both lie in the network's voxels `start` to `start + count`."""
        stop = start + count - 1 if self.available > 1 else 1
        found = torch.nonzero((self.lower >= start) & (self.lower < stop))
        return slice(int(found.min()), int(found.max()) + 1) if len(found) else slice(0, 0)


class Restoration:
    """The label map of one case, filled block by block.

    The two affines alone say how the grids lie to each other, so any chain of reorientation, resampling, cropping
    and padding is undone without being recorded. Voxels that the network's grid does not touch are background.

    Parameters
    ----------
    affine, native_affine
        Voxel to mm of the network's and of the native grid, (4, 4).
    shape, native_shape
        ``(X, Y[, Z])`` of the network's grid and of the image as stored.
    sinks
        Get all logits on the native grid; then every voxel is interpolated.
    threshold
        Of two classes: the probability from which a voxel is foreground; None: the larger one wins. Sinks get the
        network's logits all the same.

    Raises
    ------
    GeometryError
        When the grids are turned against each other by other than quarter turns, or one of them is sheared.
    BundleError
        From `start`: a threshold for more than two classes.

    Attributes
    ----------
    axes
        The network's axes that run along the native Z, Y, X (pictures: Y, X): blocks are given in this order.
    """

    def __init__(
        self,
        *,
        affine: Affine,
        native_affine: Affine,
        shape: Sequence[int],
        native_shape: Sequence[int],
        device: torch.device | str = "cpu",
        sinks: Sequence[Sink] = (),
        threshold: float | None = None,
    ) -> None:
        order, scale, shift = _axis_relation(affine, native_affine, native_shape)
        dims, self.sinks, self.native_shape = len(native_shape), tuple(sinks), tuple(native_shape)
        self._threshold = threshold
        self._handicap = 0.0 if threshold is None else math.log(threshold / (1 - threshold))
        self.axes = tuple(reversed(order))
        self._maps = [
            _axis_map(native_shape[i], shape[order[i]], scale[i], shift[i], torch.device(device))
            for i in reversed(range(dims))
        ]
        self._labels: torch.Tensor | None = None

    @property
    def labels(self) -> LabelArray:
        """uint8 (uint16 from 256 classes on) ``native_shape``, X fastest in memory as files have it."""
        assert self._labels is not None, "no block was put"
        return np.asarray(self._labels.numpy().T)

    def start(self, classes: int) -> None:
        """Begin, or begin anew, with this many classes."""
        if self._threshold is not None and classes != 2:
            raise BundleError(
                f"a threshold of {self._threshold} for {classes} classes",
                expected="background and one foreground: of several classes the largest probability decides",
                next_step="leave inferer::threshold out",
            )
        self._labels = torch.zeros(self.native_shape[::-1], dtype=_label_dtype(classes))
        for sink in self.sinks:
            sink.start(classes, self.native_shape)

    def put(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        """Label the native voxels between the voxels of a block.

        Parameters
        ----------
        logits
            ``(C, *sizes)`` with the axes in the order of `axes`. Neighbouring blocks share one layer of voxels.
        at
            First voxel of the block on the network's grid along each of `axes`.
        """
        layers = max(1, BLOCK_VALUES // max(1, logits[:, 0].numel()))
        for first in range(0, max(1, logits.shape[1] - 1), layers):
            self._put_layers(logits[:, first : first + layers + 1], [at[0] + first, *at[1:]])

    def _put_layers(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        assert self._labels is not None, "start comes before put"
        where = [m.owned(a, n) for m, a, n in zip(self._maps, at, logits.shape[1:], strict=True)]
        if any(part.start == part.stop for part in where):
            return
        lower = [m.lower[part] - a for m, part, a in zip(self._maps, where, at, strict=True)]
        weight = [m.weight[part] for m, part in zip(self._maps, where, strict=True)]
        inside = [m.inside[part] for m, part in zip(self._maps, where, strict=True)]
        if self.sinks:
            labels = self._put_dense(logits, lower, weight, inside, where)
        else:
            labels = interpolated_labels(self._decided(logits), lower, weight)
        for axis, mask in enumerate(inside):
            if not bool(mask.all()):
                labels.masked_fill_(~along(mask, axis, len(inside)), 0)
        self._labels[tuple(where)] = labels.to("cpu", self._labels.dtype)

    def finish(self) -> LabelArray:
        """Tell the sinks that all is there; the label map."""
        for sink in self.sinks:
            sink.finish()
        return self.labels

    def _put_dense(
        self,
        logits: torch.Tensor,
        lower: Sequence[torch.Tensor],
        weight: Sequence[torch.Tensor],
        inside: Sequence[torch.Tensor],
        where: Sequence[slice],
    ) -> torch.Tensor:
        per_layer = logits.shape[0] * int(np.prod([len(index) for index in lower[1:]]))
        step = max(1, DENSE_VALUES // max(1, per_layer))
        parts = []
        for start in range(0, len(lower[0]), step):
            chosen = slice(start, start + step)
            dense = interpolate(logits, [lower[0][chosen], *lower[1:]], [weight[0][chosen], *weight[1:]])
            for axis, mask in enumerate([inside[0][chosen], *inside[1:]]):
                if not bool(mask.all()):
                    set_background(dense, ~along(mask, axis, len(inside)))
            first = where[0].start + start
            place = (slice(first, first + dense.shape[1]), *where[1:])
            for sink in self.sinks:
                sink.put(tuple(reversed(place)), dense.permute(0, *range(dense.ndim - 1, 0, -1)))
            parts.append(largest(self._decided(dense)))
        return torch.cat(parts)

    def _decided(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits whose largest one decides: p > threshold where the foreground exceeds the background by its logit."""
        if self._handicap == 0.0:
            return logits
        return torch.cat([logits[:1] + self._handicap, logits[1:]])


def restore_labels(
    logits: torch.Tensor,
    *,
    affine: Affine,
    native_affine: Affine,
    native_shape: Sequence[int],
    sinks: Sequence[Sink] = (),
) -> LabelArray:
    """Labels on the native grid of logits ``(C, X, Y[, Z])`` that are there as a whole; see `Restoration`."""
    restoration = Restoration(
        affine=affine,
        native_affine=native_affine,
        shape=logits.shape[1:],
        native_shape=native_shape,
        device=logits.device,
        sinks=sinks,
    )
    restoration.start(logits.shape[0])
    restoration.put(logits.permute(0, *(1 + axis for axis in restoration.axes)), (0,) * len(native_shape))
    return restoration.finish()


def two_classes(logits: torch.Tensor) -> torch.Tensor:
    """A single logit is that of the foreground against 0 of the background (softmax of both is its sigmoid)."""
    return torch.cat([torch.zeros_like(logits), logits]) if logits.shape[0] == 1 else logits


def set_background(logits: torch.Tensor, where: torch.Tensor) -> None:
    """Make the background certain where `where`, which broadcasts to ``(*sizes)``, of logits ``(C, *sizes)``."""
    logits[1:].masked_fill_(where, -CERTAIN)
    logits[0].masked_fill_(where, CERTAIN)


def _label_dtype(classes: int) -> torch.dtype:
    return torch.uint8 if classes <= 256 else torch.uint16


def _axis_relation(
    affine: Affine, native_affine: Affine, native_shape: Sequence[int]
) -> tuple[list[int], list[float], list[float]]:
    """For each native axis: the network's axis that runs along it, voxels of it per native voxel, and its offset."""
    dims = len(native_shape)
    matrix = np.linalg.inv(affine) @ native_affine
    linear, offset = matrix[:dims, :dims], matrix[:dims, 3]
    order = [int(np.argmax(np.abs(linear[:, i]))) for i in range(dims)]
    rest = linear.copy()
    for native_axis, axis in enumerate(order):
        rest[axis, native_axis] = 0.0
    drift_voxels = float((np.abs(rest) @ (np.asarray(native_shape) - 1)).max())
    if sorted(order) != list(range(dims)) or drift_voxels > LARGEST_DRIFT_VOXELS:
        raise GeometryError(
            "the network's grid is turned against the image's",
            got=np.round(linear, 4).tolist(),
            expected="axes that are parallel",
            next_step="take rotations out of the bundle's preprocessing, or resample a skewed image (gantry tilt)",
        )
    return order, [float(linear[a, i]) for i, a in enumerate(order)], [float(offset[a]) for a in order]


def _axis_map(size: int, available: int, scale: float, shift: float, device: torch.device) -> _AxisMap:
    position = torch.arange(size, dtype=torch.float64) * scale + shift  # on the CPU: not every device has float64
    # MONAI's Spacing centres the grid of a slightly skewed (rounded) affine, so that it may end before the centre of
    # the outer voxels: a voxel counts as inside when it touches the network's grid at all.
    margin = 0.5 + max(0.5 * abs(scale), 0.25) - 1e-6
    inside = (position > -margin) & (position < available - 1 + margin)
    position = position.clamp(0, available - 1)
    lower = position.floor().long().clamp(max=max(available - 2, 0))
    weight = (position - lower).float()
    return _AxisMap(available, lower.to(device), weight.to(device), inside.to(device))
