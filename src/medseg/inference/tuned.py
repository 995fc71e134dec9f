"""A network's twin for inference on CPUs: equal up to rounding, its slow layers written so that they are fast.

torch copies a channels-last tensor to the other layout and back for each instance norm, and its kernels use one lane of
a vector register per channel, so that layers of two or three channels on the finest grid leave most of it empty.
Measured by `benchmarks/backends.py`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, instance_norm

from medseg.inference.precision import channels_last

LANES = 64
"""Channels that a view with several voxels in one may have at most: as many as two registers of bfloat16 hold."""

REGISTER = 16
"""Channels of float32 sums that fill one vector register."""

FEW_CHANNELS = 8
"""Up to here a layer on the finest grid is worth rewriting; wider ones fill the registers by themselves."""

FEWER_CHANNELS = 4
"""The same for convolutions, whose rewritten kernels hold zeros: more channels would cost more than they save."""


def tuned(network: nn.Module, *, dtype: torch.dtype) -> nn.Module:
    """A copy of a network in evaluation mode, for channels-last inputs on a CPU.

    Parameters
    ----------
    network
        Gives logits ``(B, K, X, Y[, Z])`` for ``(B, C, X, Y[, Z])``; is left as it is.
    dtype
        In which the copy's convolutions keep their weights. Run it under autocast of the same dtype: then nothing is
        converted at each call. Norms stay in float32.
    """
    twin = copy.deepcopy(network).requires_grad_(False)
    _replace_layers(twin, {})
    for module in twin.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # `.contiguous` would leave a kernel for one channel as it is, and what follows in the other layout.
            module.to(dtype).to(memory_format=channels_last(len(module.kernel_size)))  # type: ignore[call-overload]
    return twin


class SampleNorm(nn.Module):
    """Instance normalisation as batch normalisation of one sample at a time: no copy to another layout.

    Parameters
    ----------
    norm
        Of two or three dimensions, without running statistics.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__()
        self.channels, self.eps = norm.num_features, norm.eps
        ones, zeros = torch.ones(norm.num_features), torch.zeros(norm.num_features)
        self.register_buffer("weight", ones if norm.weight is None else norm.weight.detach().float())
        self.register_buffer("bias", zeros if norm.bias is None else norm.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each sample and channel of ``(B, C, X, Y[, Z])`` over its voxels."""
        if not x.is_contiguous(memory_format=channels_last(x.ndim - 2)):
            return instance_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        few = self.channels <= FEW_CHANNELS and x.ndim == 5
        one = self._few_channels if few else self._one_sample
        return one(x) if x.shape[0] == 1 else torch.cat([one(x[i : i + 1]) for i in range(x.shape[0])])

    def _one_sample(self, x: Tensor) -> Tensor:
        return batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _few_channels(self, x: Tensor) -> Tensor:
        """Statistics of a view with several voxels in one, put together, then applied to that view."""
        voxels = _largest_divisor(x.shape[-1], LANES // self.channels)
        if voxels == 1:
            return self._one_sample(x)
        wide = _several_voxels_in_one(x, voxels)
        unused = torch.zeros(wide.shape[1])  # float32: otherwise the statistics would be rounded as the input is
        mean, variance = torch.batch_norm_update_stats(wide, unused, unused.clone(), 0.0)
        mean, variance = mean.view(voxels, -1), variance.view(voxels, -1)
        whole = mean.mean(0)
        within_and_between = variance.mean(0) + ((mean - whole) ** 2).mean(0)
        mean, variance = whole.repeat(voxels), within_and_between.repeat(voxels)
        weight, bias = self.weight.repeat(voxels), self.bias.repeat(voxels)
        return _one_voxel_each(batch_norm(wide, mean, variance, weight, bias, False, 0.0, self.eps), voxels)


class SeveralVoxels(nn.Module):
    """A 3x3x3 convolution between few channels that takes two voxels of the last axis as one and gives four as one.

    Both are views of the same memory, so that the channels fill the registers. Two go in because every voxel more than
    the six that four outputs need is multiplied by zeros.

    Parameters
    ----------
    convolution
        Stride 1, padding 1. Where the last axis is no multiple of four the convolution itself runs.
    """

    TAKEN, GIVEN = 2, 4

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.convolution = convolution
        out_channels, in_channels = convolution.weight.shape[:2]
        blocks = 4  # one before, the two that lie under the four outputs, one behind
        kernel = torch.zeros(self.GIVEN, out_channels, self.TAKEN, in_channels, 3, 3, blocks)
        for voxel, tap in itertools.product(range(self.GIVEN), range(3)):
            block, source = divmod(voxel + tap - 1, self.TAKEN)
            kernel[voxel, :, source, ..., block + 1] = convolution.weight.detach()[..., tap]
        bias = _repeated(convolution.bias, self.GIVEN)
        self.wide = _convolution(kernel.flatten(0, 1).flatten(1, 2), bias, stride=(1, 1, self.GIVEN // self.TAKEN))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, X, Y, Z)`` to ``(B, K, X, Y, Z)``."""
        if x.shape[-1] % self.GIVEN or not x.is_contiguous(memory_format=torch.channels_last_3d):
            return self.convolution(x)
        return _one_voxel_each(self.wide(_several_voxels_in_one(x, self.TAKEN)), self.GIVEN)


class Subpixel(nn.Module):
    """A 3x3x3 transposed convolution of stride 2 to few channels as a 2x2x2 convolution with all eight voxels out.

    Parameters
    ----------
    convolution
        Kernel 3, stride 2, padding 1, output padding 1: the grid is exactly doubled.
    """

    def __init__(self, convolution: nn.ConvTranspose3d) -> None:
        super().__init__()
        in_channels, self.channels = convolution.weight.shape[:2]
        kernel = torch.zeros(2, 2, 2, self.channels, in_channels, 2, 2, 2)
        # output voxel (of two) and input voxel (this one or the next): the tap between them; an even output has one
        taps = {(0, 0): 1, (1, 0): 2, (1, 1): 0}
        for (a, i), (b, j), (c, k) in itertools.product(taps, repeat=3):
            tap = convolution.weight.detach()[:, :, taps[a, i], taps[b, j], taps[c, k]]
            kernel[a, b, c, :, :, i, j, k] = tap.T
        # Channels of zeros behind them: torch's kernel for 24 channels is slower than that for 32.
        unused = -8 * self.channels % REGISTER
        bias = _repeated(convolution.bias, 8)
        bias = None if bias is None else torch.nn.functional.pad(bias, (0, unused))
        self.wide = _convolution(torch.cat([kernel.flatten(0, 3), torch.zeros(unused, in_channels, 2, 2, 2)]), bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, X, Y, Z)`` to ``(B, K, 2 X, 2 Y, 2 Z)``, channels last."""
        batch, _, *sizes = x.shape
        wide = self.wide(x)[:, : 8 * self.channels, 1:, 1:, 1:]  # padded on both sides, needed at the far one
        parts = wide.permute(0, 2, 3, 4, 1).unflatten(4, (2, 2, 2 * self.channels)).permute(0, 1, 4, 2, 5, 3, 6)
        return parts.reshape(batch, *(2 * size for size in sizes), self.channels).permute(0, 4, 1, 2, 3)


def _replace_layers(parent: nn.Module, replaced: dict[nn.Module, nn.Module]) -> None:
    for name, child in list(parent.named_modules(remove_duplicate=False)):
        if not name or "." in name:  # itself, or a child's child
            continue
        make = _replacement(child)
        if make is None:
            if not isinstance(child, (SampleNorm, SeveralVoxels, Subpixel)):  # in a part that stands in two places
                _replace_layers(child, replaced)
            continue
        if child not in replaced:  # a layer that stands in two places stays one
            replaced[child] = make()
        setattr(parent, name, replaced[child])
    if isinstance(parent, nn.Sequential):
        _activate_in_place(parent)


def _replacement(layer: nn.Module) -> Callable[[], nn.Module] | None:
    if isinstance(layer, (nn.InstanceNorm2d, nn.InstanceNorm3d)) and not layer.track_running_stats:
        return lambda: SampleNorm(layer)
    if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
        return lambda: nn.LeakyReLU(float(layer.weight.detach()))
    if isinstance(layer, nn.ConvTranspose3d) and _doubles(layer) and layer.out_channels <= FEW_CHANNELS:
        return lambda: Subpixel(layer)
    if isinstance(layer, nn.Conv3d) and _keeps_size(layer) and _channels(layer) <= FEWER_CHANNELS:
        return lambda: SeveralVoxels(layer)
    convolution = _bare_convolution(layer)
    if convolution is not None:
        return lambda: _added_to_itself(convolution)
    return None


def _bare_convolution(layer: nn.Module) -> nn.Conv3d | None:
    """The convolution of a residual unit that is nothing but x + convolution(x)."""
    from monai.networks.blocks import ResidualUnit

    if not isinstance(layer, ResidualUnit) or not isinstance(layer.residual, nn.Identity):
        return None
    inside = [module for module in layer.conv.modules() if not any(module.children())]
    one = inside[0] if len(inside) == 1 else None
    return one if isinstance(one, nn.Conv3d) and _keeps_size(one) else None


def _added_to_itself(convolution: nn.Conv3d) -> nn.Module:
    """x + convolution(x) as one convolution, whose kernel has one more in the middle."""
    whole = copy.deepcopy(convolution).requires_grad_(False)
    for channel in range(whole.out_channels):
        whole.weight[channel, channel, 1, 1, 1] += 1
    return SeveralVoxels(whole) if _channels(whole) <= FEWER_CHANNELS else whole


def _activate_in_place(layers: nn.Sequential) -> None:
    """Where a norm's result goes to nobody but an activation (in evaluation mode dropout hands it through)."""
    rest = [layer for layer in layers if not isinstance(layer, (nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.Identity))]
    for norm, activation in itertools.pairwise(rest):
        if isinstance(norm, SampleNorm) and isinstance(activation, (nn.ReLU, nn.LeakyReLU)):
            activation.inplace = True


def _channels(layer: nn.Conv3d) -> int:
    return max(layer.in_channels, layer.out_channels)


def _doubles(layer: nn.ConvTranspose3d) -> bool:
    return _geometry(layer) == ((3,) * 3, (2,) * 3, (1,) * 3, (1,) * 3, 1) and layer.output_padding == (1, 1, 1)


def _keeps_size(layer: nn.Conv3d) -> bool:
    return _geometry(layer) == ((3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, 1) and layer.padding_mode == "zeros"


def _geometry(layer: nn.Conv3d | nn.ConvTranspose3d) -> tuple[object, ...]:
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups


def _convolution(kernel: Tensor, bias: Tensor | None, *, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Conv3d:
    """Padding 1, with these weights."""
    out_channels, in_channels, *rest = kernel.shape
    sizes = (rest[0], rest[1], rest[2])
    layer = nn.Conv3d(in_channels, out_channels, sizes, stride=stride, padding=1, bias=bias is not None)
    layer.weight.data = kernel
    if bias is not None and layer.bias is not None:
        layer.bias.data = bias
    return layer.requires_grad_(False)


def _repeated(bias: Tensor | None, times: int) -> Tensor | None:
    return None if bias is None else bias.detach().repeat(times)


def _largest_divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, max(1, min(number, at_most)) + 1) if number % d == 0)


def _several_voxels_in_one(x: Tensor, voxels: int) -> Tensor:
    """``(B, C, X, Y, Z)`` channels last as ``(B, voxels * C, X, Y, Z / voxels)``: another view of the same memory."""
    last = x.permute(0, 2, 3, 4, 1)
    return last.reshape(*last.shape[:3], last.shape[3] // voxels, -1).permute(0, 4, 1, 2, 3)


def _one_voxel_each(wide: Tensor, voxels: int) -> Tensor:
    """The way back of `_several_voxels_in_one`."""
    last = wide.permute(0, 2, 3, 4, 1)
    return last.reshape(*last.shape[:3], last.shape[3] * voxels, -1).permute(0, 4, 1, 2, 3)
