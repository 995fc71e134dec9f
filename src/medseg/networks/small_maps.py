"""Convolutions whose bfloat16 gradients are wrong on CPUs, in float32 there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def exact_small_maps(network: nn.Module) -> int:
    """Let convolutions of maps smaller than their kernel run in float32 on CPUs; the number of layers that can.

    oneDNN's bfloat16 kernels (torch 2.13, AVX512-BF16) leave parts of such a layer's weight gradient as the memory was
    before: numbers of any size, others in each run. It happens where a map is smaller than the kernel along an axis,
    which is at the deepest level of small windows. The layers stay the same objects with the same weights and names.
    """
    layers = [one for one in network.modules() if type(one) in _EXACT]
    for layer in layers:
        layer.__class__ = _EXACT[type(layer)]
    return len(layers)


class _InFloat32(nn.Module):
    """What a layer does whose map is small, in bfloat16 on a CPU."""

    def forward(self, x: Tensor, *more: Any) -> Any:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not _is_small(self, x.shape[2:]):
            return super().forward(x, *more)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float(), *more)


def _is_small(layer: Any, sizes: Sequence[int]) -> bool:
    """Whether the map is smaller than the kernel along an axis.

    A transposed kernel lies over the output, which is as long as it and `stride` for each further voxel, less the
    padding.
    """
    if not layer.transposed:
        return any(size < kernel for size, kernel in zip(sizes, layer.kernel_size, strict=True))
    settings = zip(sizes, layer.stride, layer.padding, layer.output_padding, strict=True)
    return any((size - 1) * stride + more < 2 * padding for size, stride, padding, more in settings)


class _Convolution2d(_InFloat32, nn.Conv2d): ...


class _Convolution3d(_InFloat32, nn.Conv3d): ...


class _Transposed2d(_InFloat32, nn.ConvTranspose2d): ...


class _Transposed3d(_InFloat32, nn.ConvTranspose3d): ...


_EXACT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _Convolution2d,
    nn.Conv3d: _Convolution3d,
    nn.ConvTranspose2d: _Transposed2d,
    nn.ConvTranspose3d: _Transposed3d,
}
