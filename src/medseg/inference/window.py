"""Sliding-window inference in the device's precision and layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer

from medseg.inference.precision import Precision, autocast, channels_last


class SlidingWindow(SlidingWindowInferer):
    """MONAI's sliding window with the network run in `precision` and channels-last layout.

    Parameters
    ----------
    roi_size
        Window (X, Y[, Z]) in voxels of the network's grid.
    overlap
        Fraction of a window shared with its neighbour, 0 to 0.99.
    mode
        Weight of a window's voxels: "gaussian" (Isensee et al. 2021) or "constant".
    precision
        "auto": bfloat16 where the hardware has it, float32 elsewhere; "bf16" or "fp32" force one.
    sw_batch_size
        Windows run at once.
    """

    def __init__(
        self,
        *,
        roi_size: Sequence[int],
        overlap: float = 0.5,
        mode: str = "gaussian",
        precision: Precision = "auto",
        sw_batch_size: int = 1,
    ) -> None:
        super().__init__(roi_size=list(roi_size), sw_batch_size=sw_batch_size, overlap=overlap, mode=mode)
        self.precision: Precision = precision

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Float32 logits ``(B, K, X, Y[, Z])`` for inputs ``(B, C, X, Y[, Z])``; the rest goes to `network`."""
        layout = channels_last(inputs.ndim - 2)

        def predictor(windows: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
            with autocast(self.precision, windows.device):
                return network(windows.contiguous(memory_format=layout), *more, **named).float()

        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        logits: torch.Tensor = super().__call__(plain, predictor, *args, **kwargs)
        return logits
