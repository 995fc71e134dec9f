"""The classic two-dimensional U-Net (Ronneberger, Fischer, Brox 2015), batch-normalised, output as large as input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import BundleError
from medseg.networks.blocks import ContextAttention, DecoderStage, double_conv, kaiming_init, upsampler


class UNet2d(nn.Module):
    """U-Net of `depth` stages, `base_width` channels in the first and twice as many in each next one.

    Two 3x3 convolutions with BatchNorm and ReLU a stage, max pooling (rounding up, so that odd sizes lose no pixel),
    skip concatenation, and a 1x1 head. It takes pictures of any size and gives logits of the same size. Every option
    can be scripted by `torch.jit.script` and exported by `torch.onnx.export` with batch and size left open.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the picture; classes of the output, background included.
    base_width
        Channels of the first stage; 64 is the classic network of 31 M weights, 32 has 7.8 M.
    depth
        Number of stages, the bridge included; the grid is halved `depth - 1` times.
    dropout
        Share of channels dropped at the end of a stage, one value for all stages or one per stage from the first to
        the bridge (a decoder stage takes that of its encoder stage).
    upsampling
        "transposed": 2x2 transposed convolution; "upsample": bilinear upsampling and a 2x2 convolution.
    fit
        How the decoder meets the grid of an odd-sized skip connection: "interpolate" resamples bilinearly, "pad"
        pads at the far end (by a negative amount after rounding up: the pixel beyond the grid goes).
    separable
        Depthwise-separable 3x3 convolutions: about an eighth of the weights.
    context_attention
        Multi-scale context attention on the bridge.
    freeze_batch_norm
        Normalise by the stored statistics, also after `.train()`, and train no normalisation weight: for fine-tuning
        on small batches.
    deep_supervision
        How many of the coarser decoder stages have a head of their own in training (Lee et al. 2015), the finest of
        them first; 0 for none. With them the output in training is that of all K = 1 + deep_supervision heads, the
        coarser ones resampled bilinearly to the picture's grid, (B, K, out_channels, X, Y), as of MONAI's DynUNet;
        `StackedDeepSupervisionLoss` takes it.

    Raises
    ------
    BundleError
        Where an option has a value that gives no network.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        base_width: int = 64,
        depth: int = 5,
        dropout: float | Sequence[float] = 0.0,
        upsampling: Literal["transposed", "upsample"] = "transposed",
        fit: Literal["interpolate", "pad"] = "interpolate",
        separable: bool = False,
        context_attention: bool = False,
        freeze_batch_norm: bool = False,
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        _check_sizes(in_channels=in_channels, out_channels=out_channels, base_width=base_width, depth=depth)
        _check_heads(deep_supervision, depth=depth)
        _check_choice("upsampling", upsampling, ("transposed", "upsample"))
        _check_choice("fit", fit, ("interpolate", "pad"))
        drops = _per_stage(dropout, depth)
        widths = [base_width * 2**stage for stage in range(depth)]

        def block(inputs: int, stage: int) -> nn.Sequential:
            return double_conv(
                inputs, widths[stage], separable=separable, frozen=freeze_batch_norm, dropout=drops[stage]
            )

        def decode(stage: int) -> DecoderStage:
            up = upsampler(widths[stage + 1], widths[stage], transposed=upsampling == "transposed")
            return DecoderStage(up, block(2 * widths[stage], stage), interpolate=fit == "interpolate")

        self.encoder = nn.ModuleList(block(([in_channels, *widths])[stage], stage) for stage in range(depth - 1))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.bridge = nn.Sequential(block(widths[-2], depth - 1))
        if context_attention:
            self.bridge.append(ContextAttention(widths[-1], separable=separable, frozen=freeze_batch_norm))
        self.decoder = nn.ModuleList(decode(stage) for stage in reversed(range(depth - 1)))
        self.head = nn.Conv2d(base_width, out_channels, 1)
        self.deep_supervision = deep_supervision
        self.deep_supervision_heads = nn.ModuleList(
            nn.Conv2d(widths[stage], out_channels, 1) for stage in range(1, 1 + deep_supervision)
        )
        kaiming_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, out_channels, X, Y) of pictures (B, in_channels, X, Y), any X and Y; of K heads in training."""
        skips: list[Tensor] = []
        coarse: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bridge(x)
        for stage in self.decoder:
            if self.training:
                coarse.append(x)
            x = stage(x, skips.pop())
        logits = self.head(x)
        if not self.training or self.deep_supervision == 0:
            return logits
        heads = [logits]
        for head in self.deep_supervision_heads:
            heads.append(functional.interpolate(head(coarse.pop()), size=logits.shape[2:], mode="bilinear"))
        return torch.stack(heads, dim=1)


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        least = 2 if name == "depth" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BundleError(f"UNet2d: {name} cannot be used", got=repr(value), expected=f"an integer >= {least}")


def _check_heads(heads: int, *, depth: int) -> None:
    if isinstance(heads, bool) or not isinstance(heads, int) or not 0 <= heads <= depth - 2:
        wanted = f"an integer from 0 to {depth - 2}, as many as {depth} stages have coarser decoder stages"
        raise BundleError("UNet2d: deep_supervision cannot be used", got=repr(heads), expected=wanted)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BundleError(f"UNet2d: unknown {name}", got=repr(value), expected=" or ".join(map(repr, choices)))


def _per_stage(dropout: float | Sequence[float], depth: int) -> tuple[float, ...]:
    shares = (float(dropout),) * depth if isinstance(dropout, int | float) else tuple(float(p) for p in dropout)
    if len(shares) != depth or not all(0 <= p < 1 for p in shares):
        wanted = f"one share in [0, 1), or {depth} of them, one per stage"
        raise BundleError("UNet2d: dropout cannot be used", got=repr(dropout), expected=wanted)
    return shares
