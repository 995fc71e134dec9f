"""How the draws of MONAI's random transforms are applied to many cases at once, with torch alone.

The numbers are those of MONAI's transforms of single cases, up to rounding (tested one against the other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.layers import gaussian_1d
from monai.transforms import (
    AffineGrid,
    MapTransform,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)
from torch import Tensor
from torch.nn import functional

_INTERPOLATIONS = ("bilinear", "nearest")
_PADDINGS = ("zeros", "border")
_TRUNCATED = 4.0
"""MONAI's GaussianFilter: a kernel reaches that many standard deviations."""


@dataclass(frozen=True)
class Kernel:
    """One transform in two steps.

    Attributes
    ----------
    draw
        Of a transform that has decided to act on a case, and that case (C, ...): what it has drawn for it.
    apply
        Of the transform, the chosen cases (n, C, ...), their draws, and the place of the key among the transform's.
    fits
        Whether the transform's settings are ones that `apply` knows.
    """

    draw: Callable[[Any, Tensor], Any]
    apply: Callable[[Any, Tensor, Sequence[Any], int], Tensor]
    fits: Callable[[Any], bool] = lambda _: True


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    """One number a case, to compute with (n, C, ...)."""
    column = torch.tensor(numbers, dtype=torch.float32).to(like.device, non_blocking=True)
    return column.view(-1, *(1,) * (like.ndim - 1))


def _draw_affine(transform: RandAffined, case: Tensor) -> Tensor:
    """Sampled position (centred, in voxels) of an output position, (d + 1, d + 1)."""
    transform.rand_affine.randomize()
    drawn = transform.rand_affine.rand_affine_grid
    drawn.randomize()  # MONAI's own call draws a second time, and takes that
    grid = AffineGrid(
        rotate_params=drawn.rotate_params,
        shear_params=drawn.shear_params,
        translate_params=drawn.translate_params,
        scale_params=drawn.scale_params,
        lazy=True,
    )
    affine: Tensor = grid(tuple(case.shape[1:]), None)[1]
    return affine.double()


def _apply_affine(transform: RandAffined, values: Tensor, drawn: Sequence[Tensor], place: int) -> Tensor:
    d = values.ndim - 2
    # An axis of one voxel counts as two, as MONAI has it.
    half = torch.tensor(values.shape[2:], dtype=torch.float64).clamp(min=2) / 2
    matrices = torch.stack([one[:d, :] for one in drawn])
    # In torch's coordinates: from -1 to 1 along each axis, voxels' outer borders, the last axis first.
    linear = matrices[:, :, :d] * half / half[:, None]
    shift = matrices[:, :, -1:] / half[:, None]
    theta = torch.cat([linear.flip(1, 2), shift.flip(1)], 2).float().to(values.device, non_blocking=True)
    grid = functional.affine_grid(theta, list(values.shape), align_corners=False)
    mode, padding = str(transform.mode[place]), str(transform.padding_mode[place])
    return functional.grid_sample(values.float(), grid, mode=mode, padding_mode=padding, align_corners=False)


def _affine_fits(transform: RandAffined) -> bool:
    known = all(mode in _INTERPOLATIONS for mode in transform.mode)
    padded = all(padding in _PADDINGS for padding in transform.padding_mode)
    return known and padded and transform.rand_affine.spatial_size is None and not transform.lazy


def _apply_flip(transform: RandFlipd, values: Tensor, drawn: Sequence[Any], place: int) -> Tensor:
    axes = transform.flipper.spatial_axis
    if axes is None:
        return values.flip(*range(2, values.ndim))
    return values.flip(*(2 + axis if axis >= 0 else axis for axis in ([axes] if isinstance(axes, int) else axes)))


def _draw_smooth(transform: RandGaussianSmoothd, case: Tensor) -> tuple[float, ...]:
    smooth = transform.rand_smooth
    smooth.randomize(None)
    return (smooth.x, smooth.y, smooth.z)[: case.ndim - 1]


def _apply_smooth(transform: RandGaussianSmoothd, values: Tensor, drawn: Sequence[Any], place: int) -> Tensor:
    """One axis after the other, each case and channel with the kernel of its case; zeros beyond the edge."""
    n, channels, *sizes = values.shape
    convolve = functional.conv2d if len(sizes) == 2 else functional.conv3d
    smooth = values.float().reshape(1, n * channels, *sizes)
    for axis in range(len(sizes)):
        sigmas = torch.tensor([one[axis] for one in drawn])
        kernels = [gaussian_1d(sigma, _TRUNCATED, transform.rand_smooth.approx) for sigma in sigmas]
        reach = max(len(kernel) // 2 for kernel in kernels)
        wide = torch.stack([functional.pad(kernel, (reach - len(kernel) // 2,) * 2) for kernel in kernels])
        shape, padding = [1] * len(sizes), [0] * len(sizes)
        shape[axis], padding[axis] = 2 * reach + 1, reach
        weight = wide.repeat_interleave(channels, 0).view(n * channels, 1, *shape).to(values.device, non_blocking=True)
        smooth = convolve(smooth, weight, padding=padding, groups=n * channels)
    return smooth.view(n, channels, *sizes)


def _draw_noise(transform: RandGaussianNoised, case: Tensor) -> tuple[float, int]:
    """Standard deviation, drawn as MONAI does, and the seed of the noise itself."""
    noise = transform.rand_gaussian_noise
    RandomizableTransform.randomize(noise, None)
    deviation = noise.R.uniform(0, noise.std) if noise.sample_std else noise.std
    return deviation, int(noise.R.randint(2**31))


def _apply_noise(transform: RandGaussianNoised, values: Tensor, drawn: Sequence[Any], place: int) -> Tensor:
    generator = torch.Generator(values.device)
    noise = torch.empty_like(values, dtype=torch.float32, memory_format=torch.contiguous_format)
    for one, (_, seed) in zip(noise, drawn, strict=True):
        one.normal_(generator=generator.manual_seed(seed))
    deviations = _column([deviation for deviation, _ in drawn], values)
    return values + transform.rand_gaussian_noise.mean + deviations * noise


def _draw_factor(transform: RandScaleIntensityd | RandScaleIntensityFixedMeand, case: Tensor) -> float:
    transform.scaler.randomize(case)
    return float(transform.scaler.factor)


def _apply_scale(transform: RandScaleIntensityd, values: Tensor, drawn: Sequence[float], place: int) -> Tensor:
    return values * (1 + _column(drawn, values))


def _apply_scale_fixed_mean(
    transform: RandScaleIntensityFixedMeand, values: Tensor, drawn: Sequence[float], place: int
) -> Tensor:
    axes = tuple(range(1, values.ndim))
    mean = values.mean(axes, keepdim=True) if transform.fixed_mean else 0.0
    scaled = (values - mean) * (1 + _column(drawn, values)) + mean
    if transform.preserve_range:
        scaled = torch.clamp(scaled, values.amin(axes, keepdim=True), values.amax(axes, keepdim=True))
    return scaled


def _draw_offset(transform: RandShiftIntensityd, case: Tensor) -> float:
    transform.shifter.randomize(case)
    return float(transform.shifter._offset)


def _apply_shift(transform: RandShiftIntensityd, values: Tensor, drawn: Sequence[float], place: int) -> Tensor:
    return values + _column(drawn, values)


def _shift_fits(transform: RandShiftIntensityd) -> bool:
    simple = not transform.shifter.channel_wise and not transform.shifter._shifter.safe
    return simple and all(key is None for key in transform.factor_key)


def _draw_gamma(transform: RandAdjustContrastd, case: Tensor) -> float:
    transform.adjuster.randomize(None)
    return transform.adjuster.gamma_value


def _apply_gamma(transform: RandAdjustContrastd, values: Tensor, drawn: Sequence[float], place: int) -> Tensor:
    axes, sign = tuple(range(1, values.ndim)), -1.0 if transform.adjuster.invert_image else 1.0
    values = sign * values
    low = values.amin(axes, keepdim=True)
    extent = values.amax(axes, keepdim=True) - low
    adjusted = ((values - low) / (extent + 1e-7)) ** _column(drawn, values) * extent + low
    if transform.adjuster.retain_stats:
        adjusted = (adjusted - adjusted.mean(axes, keepdim=True)) / (adjusted.std(axes, keepdim=True) + 1e-8)
        adjusted = adjusted * values.std(axes, keepdim=True) + values.mean(axes, keepdim=True)
    return sign * adjusted


def _draw_zoom(transform: RandSimulateLowResolutiond, case: Tensor) -> float:
    transform.sim_lowres_tfm.randomize()
    return transform.sim_lowres_tfm.zoom_factor


def _apply_low_resolution(
    transform: RandSimulateLowResolutiond, values: Tensor, drawn: Sequence[float], place: int
) -> Tensor:
    """Case by case: each has a size of its own on the way."""
    sizes = values.shape[2:]
    down, up = str(transform.downsample_mode), str(transform.upsample_mode)
    results = []
    for one, zoom in zip(values.float().split(1), drawn, strict=True):
        low = functional.interpolate(
            one, [max(1, round(size * zoom)) for size in sizes], mode=down, align_corners=_corners(down)
        )
        results.append(functional.interpolate(low, sizes, mode=up, align_corners=_corners(up)))
    return torch.cat(results)


def _corners(mode: str) -> bool | None:
    return False if mode.endswith(("linear", "cubic")) else None


KERNELS: dict[type[MapTransform], Kernel] = {
    RandAffined: Kernel(_draw_affine, _apply_affine, _affine_fits),
    RandFlipd: Kernel(lambda _, __: True, _apply_flip),
    RandGaussianSmoothd: Kernel(_draw_smooth, _apply_smooth),
    RandGaussianNoised: Kernel(_draw_noise, _apply_noise),
    RandScaleIntensityd: Kernel(_draw_factor, _apply_scale, lambda t: not t.scaler.channel_wise),
    RandScaleIntensityFixedMeand: Kernel(
        _draw_factor, _apply_scale_fixed_mean, lambda t: not t.scaler.channel_wise and len(t.keys) == 1
    ),
    RandShiftIntensityd: Kernel(_draw_offset, _apply_shift, _shift_fits),
    RandAdjustContrastd: Kernel(_draw_gamma, _apply_gamma),
    RandSimulateLowResolutiond: Kernel(
        _draw_zoom, _apply_low_resolution, lambda t: not t.align_corners and len(t.keys) == 1
    ),
}
"""By the exact type: a subclass may do something else."""
