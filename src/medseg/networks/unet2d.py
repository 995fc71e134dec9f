"""The classic two-dimensional U-Net (Ronneberger, Fischer, Brox 2015), batch-normalised, output as large as input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

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
    ) -> None:
        super().__init__()
        _check_sizes(in_channels=in_channels, out_channels=out_channels, base_width=base_width, depth=depth)
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
        kaiming_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, out_channels, X, Y) of pictures (B, in_channels, X, Y), any X and Y."""
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bridge(x)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return self.head(x)


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        least = 2 if name == "depth" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BundleError(f"UNet2d: {name} cannot be used", got=repr(value), expected=f"an integer >= {least}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BundleError(f"UNet2d: unknown {name}", got=repr(value), expected=" or ".join(map(repr, choices)))


def _per_stage(dropout: float | Sequence[float], depth: int) -> tuple[float, ...]:
    shares = (float(dropout),) * depth if isinstance(dropout, int | float) else tuple(float(p) for p in dropout)
    if len(shares) != depth or not all(0 <= p < 1 for p in shares):
        wanted = f"one share in [0, 1), or {depth} of them, one per stage"
        raise BundleError("UNet2d: dropout cannot be used", got=repr(dropout), expected=wanted)
    return shares
