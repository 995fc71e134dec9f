"""Interpolation of a volume one axis at a time, in the order in which its memory is cheapest to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medseg.case import FloatArray

_CHUNK_VOXELS = 1 << 18
"""Voxels of the slices resampled at once: what is read and written for them stays in a processor's cache."""

_BAND = 32
"""New slices made by one matrix product; more would multiply ever more zeros."""

_ON_A_VOXEL = 1e-6
"""A sample this close to a voxel (in voxels) is that voxel: its neighbour need not be read."""


@dataclass(frozen=True)
class AxisSamples:
    """Where the samples along one new axis lie on its old axis: two neighbours and the weight of the upper.

    Attributes
    ----------
    lower, upper
        Old indices ``(samples,)``.
    weight
        Weight of `upper` ``(samples,)``, 0 to 1; None where every sample is an old voxel (`lower`).
    """

    lower: torch.Tensor
    upper: torch.Tensor
    weight: torch.Tensor | None

    @staticmethod
    def of(position: FloatArray, *, size: int, nearest: bool) -> AxisSamples:
        """Samples at `position` in old voxels; beyond the `size` old voxels the outermost one goes on."""
        inside = np.clip(position, 0, size - 1)
        whole = np.rint(inside)
        on_voxels = nearest or bool((np.abs(inside - whole) < _ON_A_VOXEL).all())
        lower = whole if on_voxels else np.minimum(np.floor(inside), max(size - 2, 0))
        index = torch.as_tensor(lower.astype(np.int64))
        if on_voxels:
            return AxisSamples(index, index, None)
        weight = torch.as_tensor((inside - lower).astype(np.float32))
        return AxisSamples(index, (index + 1).clamp(max=size - 1), weight)


def resample_volume(volume: torch.Tensor, axes: Sequence[AxisSamples]) -> torch.Tensor:
    """A volume ``(X, Y, Z)`` sampled at `axes`, contiguous: float32 where anything is interpolated, else its own type.

    Slices along the axis that is slowest in memory are resampled first, a few at a time; that axis comes last, as a
    product with a banded matrix, which also lays the result out along it.
    """
    strides = volume.stride()
    slow, first, second = sorted(range(3), key=lambda axis: -strides[axis])
    slices = volume.permute(slow, first, second)
    used, position = torch.unique(torch.cat([axes[slow].lower, axes[slow].upper]), return_inverse=True)
    planes = _planes(slices, used, (axes[first], axes[second]))
    lower, upper = position.chunk(2)
    result = _along_slow(planes, AxisSamples(lower, upper, axes[slow].weight))
    order = (first, second, slow)
    return result.permute([order.index(axis) for axis in range(3)]).contiguous()


def _planes(slices: torch.Tensor, used: torch.Tensor, axes: tuple[AxisSamples, AxisSamples]) -> torch.Tensor:
    """The slices ``(S, A, B)`` named by `used`, resampled along A and B."""
    interpolated = any(axis.weight is not None for axis in axes)
    dtype = torch.float32 if interpolated else slices.dtype
    out = torch.empty(len(used), len(axes[0].lower), len(axes[1].lower), dtype=dtype)
    chunk = max(1, _CHUNK_VOXELS // (slices.shape[1] * slices.shape[2]))
    for start in range(0, len(used), chunk):
        part = _chosen(slices, used[start : start + chunk])
        _sampled(_sampled(part, 1, axes[0], None), 2, axes[1], out[start : start + chunk])
    return out


def _chosen(slices: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Slices ``(S, A, B)`` at `indices`: without a copy where they follow each other."""
    first, last = int(indices[0]), int(indices[-1])
    return slices[first : last + 1] if last - first + 1 == len(indices) else slices.index_select(0, indices)


def _sampled(values: torch.Tensor, dim: int, axis: AxisSamples, out: torch.Tensor | None) -> torch.Tensor:
    """Samples along one axis, written to `out` where one is given.

    Few operations, each on much: between them threads wait for each other, the longer the busier the cores are.
    """
    if axis.weight is None:
        sampled = values.index_select(dim, axis.lower)
        return sampled if out is None else out.copy_(sampled)
    shape = [1] * values.ndim
    shape[dim] = -1
    both = values.index_select(dim, torch.cat([axis.lower, axis.upper])).float()
    lower, upper = both.chunk(2, dim)
    return torch.lerp(lower, upper, axis.weight.reshape(shape), out=out)


def _along_slow(planes: torch.Tensor, axis: AxisSamples) -> torch.Tensor:
    """Planes ``(S, A, B)`` sampled along S, as ``(A, B, samples)``."""
    if axis.weight is None:
        return planes.index_select(0, axis.lower).permute(1, 2, 0)
    columns = planes.float().reshape(len(planes), -1)
    out = torch.empty(columns.shape[1], len(axis.lower))
    for start in range(0, len(axis.lower), _BAND):
        chosen = slice(start, start + _BAND)
        lower, upper, weight = axis.lower[chosen], axis.upper[chosen], axis.weight[chosen]
        low, high = int(lower.min()), int(upper.max()) + 1
        band, row = torch.zeros(len(lower), high - low), torch.arange(len(lower))
        band[row, upper - low] += weight
        band[row, lower - low] += 1 - weight
        out[:, chosen] = columns[low:high].T @ band.T
    return out.view(*planes.shape[1:], len(axis.lower))
