"""The parts that `UNet2d` is made of: convolutions, normalisation, upsampling, attention; all take (B, C, X, Y)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

DILATIONS = (1, 2, 4, 8)
"""Rates of the parallel 3x3 convolutions on the bridge: fields of 3, 9, 17 and 33 bridge pixels across, nested."""


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by its stored statistics alone, never trained and never back in training mode.

    The names of its weights are those of `torch.nn.BatchNorm2d`, so trained weights load into it.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in evaluation mode whatever `mode` the network goes to."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, X, Y) by the running mean and variance."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def norm_act(channels: int, *, frozen: bool) -> list[nn.Module]:
    """Batch normalisation (frozen or not) and ReLU, the tail of every convolution."""
    norm = FrozenBatchNorm2d(channels) if frozen else nn.BatchNorm2d(channels)
    return [norm, nn.ReLU(inplace=True)]


def conv3x3(inputs: int, outputs: int, *, separable: bool, dilation: int = 1) -> list[nn.Module]:
    """A 3x3 convolution that keeps the grid; without bias, as batch normalisation subtracts it again.

    Separable means one 3x3 filter per channel, then a 1x1 convolution over channels (Chollet 2017): about 1/9 of the
    weights.
    """
    if not separable:
        return [nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)]
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    return [depthwise, nn.Conv2d(inputs, outputs, 1, bias=False)]


def double_conv(inputs: int, outputs: int, *, separable: bool, frozen: bool, dropout: float) -> nn.Sequential:
    """Two 3x3 convolutions with BatchNorm and ReLU: one stage of the U-Net.

    Dropout, where there is any, drops whole channels at the end of the stage: neighbouring pixels of a feature map
    say the same, so dropping single ones hardly regularises (Tompson 2015).
    """
    layers = conv3x3(inputs, outputs, separable=separable) + norm_act(outputs, frozen=frozen)
    layers += conv3x3(outputs, outputs, separable=separable) + norm_act(outputs, frozen=frozen)
    if dropout > 0:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


def upsampler(inputs: int, outputs: int, *, transposed: bool) -> nn.Module:
    """Twice the grid, `outputs` channels: 2x2 transposed convolution, or bilinear upsampling and a 2x2 convolution."""
    if transposed:
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    bilinear = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
    return nn.Sequential(bilinear, nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(inputs, outputs, 2))


class DecoderStage(nn.Module):
    """Upsample, fit to the skip connection's grid, concatenate, convolve.

    After pooling that rounds up, the upsampled map is as large as the skip connection or one pixel larger on an axis.
    """

    def __init__(self, up: nn.Module, block: nn.Module, *, interpolate: bool) -> None:
        super().__init__()
        self.up = up
        self.block = block
        self.interpolate = interpolate

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, 2C, X, Y) from below and (B, C, X', Y') from the encoder give (B, C, X', Y')."""
        return self.block(torch.cat((skip, self.fit(self.up(x), skip)), dim=1))

    def fit(self, x: Tensor, skip: Tensor) -> Tensor:
        """`x` on the grid of `skip`: resampled over the whole field, or padded at the far end (a crop if negative)."""
        if not torch.compiler.is_compiling() and x.shape[2:] == skip.shape[2:]:
            return x  # a graph for any size keeps the step, in which nothing changes where the sizes are equal
        if self.interpolate:
            return functional.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
        return functional.pad(x, [0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]])


class ChannelAttention(nn.Module):
    """Weigh channels by their mean and maximum over the field (CBAM, Woo 2018, eq. 2)."""

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y) weighed, same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        peak = x.amax(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.mlp(mean) + self.mlp(peak))


class SpatialAttention(nn.Module):
    """Weigh places by the mean and maximum over channels there, seen through 7x7 pixels (CBAM, Woo 2018, eq. 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y) weighed, same shape."""
        summary = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.conv(summary))


class ContextAttention(nn.Module):
    """Multi-scale context for the bridge: parallel dilated convolutions, channel and spatial attention, added on."""

    def __init__(self, channels: int, *, separable: bool, frozen: bool) -> None:
        super().__init__()
        width = max(channels // len(DILATIONS), 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                *conv3x3(channels, width, separable=separable, dilation=rate), *norm_act(width, frozen=frozen)
            )
            for rate in DILATIONS
        )
        fused = width * len(DILATIONS)
        self.fuse = nn.Sequential(nn.Conv2d(fused, channels, 1, bias=False), *norm_act(channels, frozen=frozen))
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y) and its context, same shape."""
        scales: list[Tensor] = []
        for branch in self.branches:
            scales.append(branch(x))  # a loop: TorchScript cannot unroll a comprehension
        return x + self.spatial(self.channel(self.fuse(torch.cat(scales, dim=1))))


def kaiming_init(network: nn.Module) -> None:
    """Initialise every convolution so that the variance of the signal is kept (He 2015), fan counted at the input.

    Where no ReLU follows (one filter per channel, upsampling), nothing has to make up for the half that it takes. A
    transposed 2x2 convolution of stride 2 reaches each output pixel by one tap per input channel.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        elif isinstance(module, nn.Conv2d):
            follower: Literal["linear", "relu"] = (
                "linear" if module.groups > 1 or module.kernel_size == (2, 2) else "relu"
            )
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity=follower)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
