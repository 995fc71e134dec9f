"""Losses that MONAI lacks."""

from __future__ import annotations

import torch
from monai.losses import DeepSupervisionLoss


class StackedDeepSupervisionLoss(torch.nn.Module):
    """MONAI's DeepSupervisionLoss for networks that stack their heads, as DynUNet does in training.

    Parameters
    ----------
    loss
        Loss of one head, called as ``loss(prediction (B, C, ...), label (B, 1, ...))``.

    Notes
    -----
    Head k of ``(B, K, C, X, Y[, Z])`` counts with weight 2^-k, as in nnU-Net (Isensee et al. 2021). A prediction
    without the stacking axis (a network in evaluation mode) is scored by `loss` alone.
    """

    def __init__(self, *, loss: torch.nn.Module) -> None:
        super().__init__()
        self.heads = DeepSupervisionLoss(loss, weight_mode="exp")

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        heads = list(prediction.unbind(1)) if prediction.ndim > label.ndim else [prediction]
        loss: torch.Tensor = self.heads(heads, label)
        return loss
