"""Sliding-window inference: what a bundle declares of it, and the plain form that validation uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers import SlidingWindowInferer

from medseg.errors import BundleError
from medseg.inference.plan import Foreground
from medseg.inference.precision import Precision, autocast, channels_last
from medseg.inference.tta import Mirror, mirrored


class SlidingWindow(SlidingWindowInferer):
    """MONAI's sliding window with the network run in `precision` and channels-last layout.

    Called as an inferer it gives the logits of the whole volume, as validation in training wants them. `Segmenter`
    reads the same settings and brings the labels to the native grid slab by slab; the last six are its alone.

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
        Windows run at once; "auto": as many as a GPU's memory allows, one on a CPU.
    tta
        Whether the mean over mirrored copies is taken; it needs `mirror`.
    mirror
        Along which axes the images may be mirrored.
    foreground
        What is segmented at all; the rest becomes background unseen. None: everything is.
    window_voxels
        Windows are chosen larger, up to this many voxels, where that saves work; None: never. A network with
        instance normalisation gives slightly other logits in larger windows.
    window_multiple
        Of which such a window's sizes are.
    threshold
        For two classes: the probability from which a voxel is foreground; None: the larger one wins (0.5).

    Raises
    ------
    BundleError
        Test-time augmentation without `mirror`, an axis of it that windows do not have, a threshold outside 0 to 1, an
        overlap outside 0 to below 1, or a number of windows, `window_voxels` or `window_multiple` below 1.
    """

    def __init__(
        self,
        *,
        roi_size: Sequence[int],
        overlap: float = 0.5,
        mode: Literal["gaussian", "constant"] = "gaussian",
        precision: Precision = "auto",
        sw_batch_size: int | Literal["auto"] = 1,
        tta: bool = False,
        mirror: Mirror | None = None,
        foreground: Foreground | None = None,
        window_voxels: int | None = None,
        window_multiple: int = 16,
        threshold: float | None = None,
    ) -> None:
        at_once = 1 if sw_batch_size == "auto" else sw_batch_size
        _refuse_below_one(sw_batch_size=at_once, window_voxels=window_voxels, window_multiple=window_multiple)
        super().__init__(roi_size=list(roi_size), sw_batch_size=at_once, overlap=overlap, mode=mode)
        if tta and mirror is None:
            raise BundleError(
                "test-time augmentation is asked for",
                got="no `mirror` in the bundle's inferer",
                expected="the axes along which its images may be mirrored",
                next_step="leave tta out, or declare inferer::mirror with _target_ medseg.inference.Mirror",
            )
        if mirror is not None and max(mirror.axes, default=0) >= len(roi_size):
            raise BundleError("mirror: axes", got=list(mirror.axes), expected=f"axes of windows of {list(roi_size)}")
        if threshold is not None and not 0 < threshold < 1:
            raise BundleError("threshold", got=threshold, expected="above 0 and below 1")
        if not all(0 <= one < 1 for one in ([overlap] if isinstance(overlap, int | float) else overlap)):
            raise BundleError("overlap", got=overlap, expected="from 0 to below 1")
        self.precision: Precision = precision
        self.windows_at_once, self.tta, self.mirror = sw_batch_size, tta, mirror
        self.foreground, self.threshold = foreground, threshold
        self.window_voxels, self.window_multiple = window_voxels, window_multiple

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Float32 logits ``(B, K, X, Y[, Z])`` for inputs ``(B, C, X, Y[, Z])``; the rest goes to `network`."""
        layout = channels_last(inputs.ndim - 2)

        def predictor(windows: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
            def run(batch: torch.Tensor) -> torch.Tensor:
                return network(batch.contiguous(memory_format=layout), *more, **named).float()

            with autocast(self.precision, windows.device):
                return mirrored(run, self.mirror, at_once=1)(windows) if self.tta and self.mirror else run(windows)

        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        logits: torch.Tensor = super().__call__(plain, predictor, *args, **kwargs)
        return logits


def _refuse_below_one(**counts: int | None) -> None:
    wrong = {name: count for name, count in counts.items() if count is not None and count < 1}
    if wrong:
        raise BundleError(", ".join(wrong), got=", ".join(map(str, wrong.values())), expected="whole numbers from 1 on")
