"""From logits on the network's grid back to labels on the grid of the image as it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medseg.case import Affine, LabelArray
from medseg.errors import GeometryError

SLAB_VOXELS = 2_000_000
"""Voxels brought back at once: bounds memory to about this many floats a class."""


LARGEST_DRIFT_VOXELS = 0.25
"""Axes count as parallel while no voxel strays further from its row on the network's grid (rounded affines do)."""


@dataclass(frozen=True)
class _AxisMap:
    """Where the voxels of one native axis lie on an axis of the network's grid: two neighbours and a weight."""

    lower: torch.Tensor
    upper: torch.Tensor
    weight: torch.Tensor
    inside: torch.Tensor


def restore_labels(
    logits: torch.Tensor, *, affine: Affine, native_affine: Affine, native_shape: Sequence[int]
) -> LabelArray:
    """Labels on the native grid: logits are interpolated linearly, then the largest is taken.

    The two affines alone say how the grids lie to each other, so any chain of reorientation, resampling, cropping
    and padding is undone without being recorded.

    Parameters
    ----------
    logits
        ``(C, X, Y[, Z])`` on the network's grid.
    affine, native_affine
        Voxel to mm of the network's and of the native grid, (4, 4).
    native_shape
        (X, Y[, Z]) of the image as stored.

    Returns
    -------
    uint8 (uint16 above 256 classes) ``native_shape``; voxels that the network's grid does not touch are background.

    Raises
    ------
    GeometryError
        When the grids are turned against each other by other than quarter turns, or one of them is sheared.
    """
    dims = len(native_shape)
    order, scale, shift = _axis_relation(affine, native_affine, native_shape)
    logits = logits.permute(0, *(1 + o for o in order))
    maps = [_axis_map(native_shape[i], logits.shape[1 + i], scale[i], shift[i], logits.device) for i in range(dims)]
    dtype = np.uint8 if logits.shape[0] <= 256 else np.uint16
    labels = np.zeros(tuple(native_shape), dtype=dtype)
    per_slice = int(np.prod(native_shape[:-1]))
    step = max(1, SLAB_VOXELS // max(1, per_slice))
    for start in range(0, native_shape[-1], step):
        slab = slice(start, min(start + step, native_shape[-1]))
        labels[..., slab] = _slab_labels(logits, maps, slab).cpu().numpy()
    return labels


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
    upper = (lower + 1).clamp(max=available - 1)
    weight = (position - lower).float()
    return _AxisMap(lower.to(device), upper.to(device), weight.to(device), inside.to(device))


def _slab_labels(logits: torch.Tensor, maps: Sequence[_AxisMap], slab: slice) -> torch.Tensor:
    """Labels of the native slices `slab` of the last axis, which is interpolated first: the others see few slices."""
    inside = torch.ones((), dtype=torch.bool, device=logits.device)
    for axis in range(len(maps) - 1, -1, -1):
        chosen = slab if axis == len(maps) - 1 else slice(None)
        logits = _interpolate(logits, maps[axis], chosen, 1 + axis)
        shape = [1] * len(maps)
        shape[axis] = -1
        inside = inside & maps[axis].inside[chosen].reshape(shape)
    return _largest(logits) * inside


def _largest(logits: torch.Tensor) -> torch.Tensor:
    """`logits.argmax(0)`, the first of equals, class by class: on a CPU four times as fast as along a strided axis."""
    best, labels = logits[0], torch.zeros(logits.shape[1:], dtype=torch.int32, device=logits.device)
    for value in range(1, logits.shape[0]):
        labels.masked_fill_(logits[value] > best, value)
        best = torch.maximum(best, logits[value])
    return labels


def _interpolate(values: torch.Tensor, axis_map: _AxisMap, chosen: slice, dim: int) -> torch.Tensor:
    shape = [1] * values.ndim
    shape[dim] = -1
    weight = axis_map.weight[chosen].reshape(shape)
    lower = values.index_select(dim, axis_map.lower[chosen])
    return lower.lerp(values.index_select(dim, axis_map.upper[chosen]), weight)
