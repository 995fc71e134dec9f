"""Reorientation and resampling in one pass: MONAI's Orientationd + Spacingd on the same grid, an axis at a time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation, Spacing
from monai.utils import MetaKeys, ensure_tuple_rep

from medseg.case import Affine, Array, Image
from medseg.errors import BundleError, GeometryError
from medseg.geometry import grid_difference
from medseg.processes import memory_bytes
from medseg.transforms.separable import AxisSamples, resample_volume

Interpolation: TypeAlias = Literal["bilinear", "nearest"]

PARALLEL_VOXELS = 1e-3
"""Axes count as parallel while no sample strays further from its row (affines are stored as float32, or rounded)."""

_TOLERANCE = 1e-3
"""MONAI's AFFINE_TOL: a spacing (mm) or grid this close to the one asked for is left as it is."""


@dataclass(frozen=True)
class TargetGrid:
    """The grid that MONAI's Orientation and Spacing would give.

    Attributes
    ----------
    affine
        Voxel to mm of the new grid, (4, 4).
    shape
        (X, Y, Z) of the new grid.
    step
        New voxel index to old voxel index, (4, 4).
    """

    affine: Affine
    shape: tuple[int, ...]
    step: Affine

    def parallel(self) -> bool:
        """Whether each new axis runs along an old one, so that axes can be resampled one by one."""
        linear = self.step[:3, :3].copy()
        for new, old in enumerate(self.sources()):
            linear[old, new] = 0.0
        return bool((np.abs(linear) @ (np.asarray(self.shape) - 1.0)).max() <= PARALLEL_VOXELS)

    def sources(self) -> tuple[int, ...]:
        """For each new axis the old axis that runs along it."""
        return tuple(int(axis) for axis in np.abs(self.step[:3, :3]).argmax(axis=0))


class ResampleToSpacingd(MapTransform):
    """Volumes in a fixed orientation and spacing: the grid and the values of MONAI's Orientationd + Spacingd, faster.

    Where new axes run along old ones (all scans but sheared ones, such as gantry tilt), linear interpolation is done
    axis by axis, flips included, straight from the stored integers; elsewhere MONAI's own transforms do it. The
    affine alone tells where the result lies: nothing is recorded for MONAI's Invertd.

    Parameters
    ----------
    keys
        Entries ``(C, X, Y, Z)`` of the dictionary.
    spacing_mm
        Distance of voxel centres along X, Y, Z of the result.
    mode
        "bilinear" (float32 comes out) or "nearest" (the type stays), for all keys or one for each.
    orientation
        Where the axes of the result run to, such as "RAS".
    allow_missing_keys
        Whether a key may be absent.

    Raises
    ------
    BundleError
        A spacing that is no length, or a mode that is unknown.
    """

    writes_to_input = False

    def __init__(
        self,
        keys: KeysCollection,
        *,
        spacing_mm: Sequence[float],
        mode: Interpolation | Sequence[Interpolation] = "bilinear",
        orientation: str = "RAS",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm = tuple(float(mm) for mm in spacing_mm)
        self.mode: tuple[Interpolation, ...] = ensure_tuple_rep(mode, len(self.keys))
        self.orientation = orientation
        if len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0:
            raise BundleError("ResampleToSpacingd: spacing_mm", got=spacing_mm, expected="three lengths above 0")
        if unknown := set(self.mode) - {"bilinear", "nearest"}:
            raise BundleError("ResampleToSpacingd: mode", got=unknown, expected="bilinear or nearest")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the entries at `keys` resampled; what was given is not written to."""
        resampled, first = dict(data), None
        for key, mode in self.key_iterator(resampled, self.mode):
            image, affine = data[key], affine_of(data[key])
            if first is not None and _same_grid(image, first):
                affine = affine_of(first)  # a mask's rounding must not give it a voxel more than its image
            first = image if first is None else first
            resampled[key] = resample_to_spacing(
                image, affine=affine, spacing_mm=self.spacing_mm, mode=mode, orientation=self.orientation
            )
        return resampled


def resample_to_spacing(
    image: MetaTensor, *, affine: Affine, spacing_mm: Sequence[float], mode: Interpolation, orientation: str = "RAS"
) -> MetaTensor:
    """One volume ``(C, X, Y, Z)`` that lies at `affine`, as `ResampleToSpacingd` gives it.

    Raises
    ------
    GeometryError
        No volume, or one that would not fit the memory at this spacing: with too little of it the machine may end the
        whole run, and all its cases with it.
    """
    if image.ndim != 4:
        raise GeometryError("only volumes are resampled", got=f"size {tuple(image.shape)}", expected="(C, X, Y, Z)")
    grid = target_grid(affine, tuple(image.shape[1:]), spacing_mm=spacing_mm, orientation=orientation)
    _refuse_too_large(int(image.shape[0]), grid, affine, spacing_mm)
    if image.device.type != "cpu" or not grid.parallel():
        return _by_monai(image, spacing_mm, mode, orientation)
    sources = grid.sources()
    axes = [_samples(grid, new, int(image.shape[1 + old]), mode) for new, old in enumerate(sources)]
    channels = [resample_volume(channel.permute(sources), axes) for channel in image.as_tensor()]
    values = channels[0][None] if len(channels) == 1 else torch.stack(channels)
    values = values.float() if mode == "bilinear" else values
    meta = {key: value for key, value in image.meta.items() if key != MetaKeys.AFFINE}
    return MetaTensor(values, affine=torch.as_tensor(grid.affine), meta=meta)


def _refuse_too_large(channels: int, grid: TargetGrid, affine: Affine, spacing_mm: Sequence[float]) -> None:
    wanted, limit = 4 * channels * math.prod(grid.shape), memory_bytes()  # float32
    if wanted > limit:
        have = "x".join(f"{mm:g}" for mm in np.linalg.norm(affine[:3, :3], axis=0))
        raise GeometryError(
            "the volume is larger than the memory at the spacing of the network",
            got=f"voxels of {have} mm, which make {'x'.join(map(str, grid.shape))}: {wanted / 1e9:.1f} GB",
            expected=f"at most {limit / 1e9:.1f} GB at {'x'.join(f'{mm:g}' for mm in spacing_mm)} mm",
            next_step="is the spacing in the file right, and in mm? If so, give a part of the volume",
        )


def _samples(grid: TargetGrid, new: int, size: int, mode: Interpolation) -> AxisSamples:
    old = grid.sources()[new]
    position = grid.step[old, 3] + grid.step[old, new] * np.arange(grid.shape[new])
    return AxisSamples.of(position, size=size, nearest=mode == "nearest")


def affine_of(image: MetaTensor) -> Affine:
    """Voxel to mm of a loaded volume, (4, 4)."""
    return np.asarray(image.affine.cpu(), dtype=np.float64)


def _same_grid(image: MetaTensor, other: MetaTensor) -> bool:
    placed = (Image(each.as_tensor().cpu().numpy(), affine_of(each), Path()) for each in (image, other))
    return grid_difference(*placed, spatial_dims=3) is None


def target_grid(affine: Affine, shape: Sequence[int], *, spacing_mm: Sequence[float], orientation: str) -> TargetGrid:
    """The grid of MONAI's Orientation and Spacing for a volume of `shape` (X, Y, Z), from MONAI's own functions."""
    from monai.data.utils import affine_to_spacing, compute_shape_offset, zoom_affine

    turn, turned_shape = _turn(affine, shape, orientation)
    turned = affine @ turn
    have = affine_to_spacing(turned, 3)
    wanted = [h if abs(h - mm) <= _TOLERANCE else mm for h, mm in zip(have, spacing_mm, strict=True)]
    new = zoom_affine(turned, wanted, diagonal=False)
    new_shape, new[:3, 3] = compute_shape_offset(turned_shape, turned, new)
    step = np.linalg.solve(turned, new)
    close = np.allclose(turned, new, atol=_TOLERANCE) or np.allclose(step, np.eye(4), atol=_TOLERANCE)
    if close and tuple(new_shape) == turned_shape:
        step = np.eye(4)  # MONAI leaves a volume alone whose grid would hardly change
    return TargetGrid(turned @ step, tuple(int(n) for n in new_shape), turn @ step)


def _turn(affine: Affine, shape: Sequence[int], orientation: str) -> tuple[Affine, tuple[int, ...]]:
    """New voxel index to old voxel index (4, 4) of the flips and exchanges towards `orientation`, and the new shape."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(orientation)))
    order = np.argsort(change[:, 0])
    turn: Array = inv_ornt_aff(change, tuple(shape))
    return np.asarray(turn, dtype=np.float64), tuple(int(shape[axis]) for axis in order)


def _by_monai(image: MetaTensor, spacing_mm: Sequence[float], mode: Interpolation, orientation: str) -> MetaTensor:
    turned = Orientation(axcodes=orientation, labels=None)(image)
    resampled = Spacing(pixdim=spacing_mm, mode=mode)(turned.float())
    return resampled if mode == "bilinear" else resampled.to(image.dtype)
