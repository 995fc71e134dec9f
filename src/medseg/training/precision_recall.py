"""Precision and recall of each label at many thresholds of its probability, counted over whole validation cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.training.distributed import summed

THRESHOLDS = 127
"""As TensorBoard's own `pr_curve` has it: 0, 1/126, ..., 1."""


@dataclass(frozen=True)
class CurveCounts:
    """Counts ``(T,)`` of the voxels whose probability reaches each threshold, in the order TensorBoard wants them."""

    true_positive: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    true_negative: NDArray[np.float64]
    false_negative: NDArray[np.float64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """TP / (TP + FP); 0 where nothing reaches the threshold, as TensorBoard does."""
        return np.asarray(self.true_positive / np.maximum(self.true_positive + self.false_positive, 1e-7))

    @property
    def recall(self) -> NDArray[np.float64]:
        """TP / (TP + FN); 0 where the truth is empty."""
        return np.asarray(self.true_positive / np.maximum(self.true_positive + self.false_negative, 1e-7))

    def columns(self) -> list[NDArray[np.float64]]:
        """The four counts, precision and recall."""
        return [*(getattr(self, field.name) for field in fields(self)), self.precision, self.recall]


class PrecisionRecall:
    """Histograms of the probability of each label where the truth has the label, and where it has not.

    Parameters
    ----------
    names
        Label value to name; a label without one is called by its value.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self._histograms: dict[int, torch.Tensor] = {}

    def reset(self) -> None:
        """Forget what was counted."""
        self._histograms = {}

    def update(self, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Count the voxels of ``(B, C, X, Y[, Z])`` logits against the ``(B, 1, X, Y[, Z])`` truth."""
        probabilities = logits.float().softmax(1)
        for value in range(1, logits.shape[1]):
            bins = (probabilities[:, value] * (THRESHOLDS - 1)).long().clamp_(0, THRESHOLDS - 1)
            place = bins + THRESHOLDS * (truth[:, 0] == value)
            counts = torch.bincount(place.flatten(), minlength=2 * THRESHOLDS).view(2, THRESHOLDS)
            before = self._histograms.get(value)
            self._histograms[value] = counts if before is None else before + counts

    def compute(self) -> dict[str, CurveCounts]:
        """The counts at each threshold, by the label's name, over the cases of all processes: each of them calls."""
        curves = {}
        for value, histograms in self._histograms.items():
            negatives, positives = summed(histograms).cpu().numpy().astype(np.float64)
            tp, fp = (np.cumsum(one[::-1])[::-1] for one in (positives, negatives))
            name = self.names.get(value, f"label {value}")
            curves[name] = CurveCounts(tp, fp, fp[0] - fp, tp[0] - tp)
        return curves
