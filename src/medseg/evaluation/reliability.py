"""How far confidence can be believed: counts per class and confidence bin, expected calibration error, Brier score.

A voxel counts for the class that the network gives it (the largest softmax probability, before postprocessing), with
that probability as its confidence; it is correct when the truth has this class. There are 10 bins of equal width,
((m - 1) / 10, m / 10]. The expected calibration error is

    ECE = sum over bins of n_bin / n * |accuracy_bin - mean confidence_bin|

(Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017), over the voxels of all cases
together; for one class over the voxels that were given this class.

The Brier score looks at all probabilities, not only the largest: with p_c the softmax probability of class c in a voxel
and y_c 1 where the truth has it and 0 elsewhere,

    Brier = mean over voxels of sum over classes of (p_c - y_c)^2

(Brier: Verification of Forecasts Expressed in Terms of Probability, Mon Weather Rev 1950;78:1), 0 at best, 2 at worst;
for one class the mean over voxels of (p_c - y_c)^2, 0 to 1. Most voxels of a volume are easy background, which makes
both small: they compare models on the same images, not images.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import LabelArray
from medseg.files import atomic_write

if TYPE_CHECKING:
    import torch

BINS = 10
_SUMS = ("confidence", "squared_error")


@dataclass(frozen=True)
class Reliability:
    """Counts of one or many cases.

    Attributes
    ----------
    voxels, correct
        (C, 10): voxels by class and bin, and how many of them have this class in the truth.
    confidence
        (C, 10): sum of their confidences.
    squared_error
        (C,): sum over all voxels of the squared difference between the class's probability and the truth.
    """

    voxels: NDArray[np.int64]
    correct: NDArray[np.int64]
    confidence: NDArray[np.float64]
    squared_error: NDArray[np.float64]

    @classmethod
    def of(cls, many: Sequence[Reliability]) -> Reliability:
        """The counts of many cases together; there must be at least one."""
        voxels, correct = (np.sum([getattr(one, name) for one in many], axis=0) for name in ("voxels", "correct"))
        confidence, error = (np.sum([getattr(one, name) for one in many], axis=0) for name in _SUMS)
        return cls(voxels, correct, confidence, error)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Reliability:
        """What `to_json` gave."""
        voxels, correct = (np.asarray(content[name], dtype=np.int64) for name in ("voxels", "correct"))
        confidence, error = (np.asarray(content[name], dtype=np.float64) for name in _SUMS)
        return cls(voxels, correct, confidence, error)

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {
            "voxels": self.voxels.tolist(),
            "correct": self.correct.tolist(),
            "confidence": self.confidence.tolist(),
            "squared_error": self.squared_error.tolist(),
        }

    def ece(self, value: int | None = None) -> float | None:
        """Expected calibration error of the class `value`, or of all; None where no voxel was given the class."""
        rows = slice(None) if value is None else slice(value, value + 1)
        voxels, correct, confidence = (
            array[rows].sum(axis=0) for array in (self.voxels, self.correct, self.confidence)
        )
        return float(np.abs(correct - confidence).sum() / voxels.sum()) if voxels.sum() else None

    def brier(self, value: int | None = None) -> float:
        """Brier score of all classes together, or of the class `value` alone."""
        error = self.squared_error.sum() if value is None else self.squared_error[value]
        return float(error / self.voxels.sum())


class ReliabilityCounter:
    """A sink of logits that fills a `Reliability` against the truth.

    Parameters
    ----------
    truth
        ``(X, Y[, Z])`` on the native grid.
    """

    def __init__(self, truth: LabelArray) -> None:
        self.truth = truth
        self._classes = 0

    def start(self, classes: int, shape: tuple[int, ...]) -> None:
        """Begin anew with `classes` classes on a grid of `shape`, that of the truth."""
        assert tuple(shape) == self.truth.shape
        self._classes = classes
        self._voxels = np.zeros(classes * BINS, dtype=np.int64)
        self._correct = np.zeros(classes * BINS, dtype=np.int64)
        self._confidence = np.zeros(classes * BINS, dtype=np.float64)
        self._error = np.zeros(classes, dtype=np.float64)

    def put(self, where: tuple[slice, ...], logits: torch.Tensor) -> None:
        """Count the voxels `where`, whose logits are ``(C, x, y[, z])``."""
        import torch

        logits = logits.float()
        best, found, certain = _given(logits)
        truth = torch.from_numpy(self.truth[where].astype(np.int32, order="C"))
        self._error += _squared_errors(logits, best, certain, truth.to(logits.device))
        given, confidence, truth = found.flatten().cpu(), certain.flatten().cpu(), truth.flatten()
        bins = (confidence * BINS).ceil_().clamp_(1, BINS).to(torch.int32).sub_(1)
        right = (truth == given).to(torch.int32)
        cells = self._classes * BINS
        place = given.mul(BINS).add_(bins)
        counts = torch.bincount(place.add(right, alpha=cells), minlength=2 * cells).numpy()
        self._voxels += counts[:cells] + counts[cells:]
        self._correct += counts[cells:]
        self._confidence += torch.bincount(place, confidence.double(), minlength=cells).numpy()  # float stops at 2^24

    def finish(self) -> None:
        """All blocks have come."""

    def discard(self) -> None:
        """Nothing is kept outside of memory."""

    @property
    def counts(self) -> Reliability:
        """What was counted so far."""
        shape = (self._classes, BINS)
        voxels, correct = self._voxels.reshape(shape), self._correct.reshape(shape)
        return Reliability(voxels, correct, self._confidence.reshape(shape), self._error)


def _squared_errors(
    logits: torch.Tensor, best: torch.Tensor, certain: torch.Tensor, truth: torch.Tensor
) -> NDArray[np.float64]:
    """Sum over voxels of (p_c - y_c)^2 for each class, (C,), of logits ``(C, ...)`` and truth ``(...)``."""
    import torch

    found = []
    for value, one in enumerate(logits):
        off = (one - best).exp_().mul_(certain).sub_((truth == value).to(one.dtype))
        found.append(torch.sum(off.square_(), dtype=torch.float64))
    return torch.stack(found).cpu().numpy()


def _given(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest of the logits ``(C, ...)``, its class, int32, and its softmax probability.

    Class by class: several times as fast on a CPU as along a strided axis.
    """
    import torch

    best, given = logits[0], torch.zeros(logits.shape[1:], dtype=torch.int32, device=logits.device)
    for value in range(1, len(logits)):
        given.masked_fill_(logits[value] > best, value)
        best = torch.maximum(best, logits[value])
    total = torch.zeros_like(best)
    for one in logits:
        total += (one - best).exp_()
    return best, given, total.reciprocal_()


def calibration_summary(counts: Reliability, names: Mapping[int, str], *, cases: int) -> dict[str, Any]:
    """ECE and Brier score of all classes together and of each, for summary.json.

    The ECE is null where a class was never given.
    """
    classes = {
        names.get(value, f"label {value}"): {
            "ece": counts.ece(value),
            "brier": counts.brier(value),
            "voxels": int(row.sum()),
        }
        for value, row in enumerate(counts.voxels)
    }
    return {"ece": counts.ece(), "brier": counts.brier(), "bins": BINS, "cases": cases, "classes": classes}


def write_reliability(counts: Reliability, names: Mapping[int, str], path: Path) -> None:
    """Write reliability.csv: one row per class and bin; means are empty where a bin is."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["label", "name", "above", "up_to", "voxels", "correct", "mean_confidence", "accuracy"])
        for value in range(len(counts.voxels)):
            for k in range(BINS):
                table.writerow(_row(counts, value, names.get(value, f"label {value}"), k))


def _row(counts: Reliability, value: int, name: str, k: int) -> list[object]:
    voxels, correct = int(counts.voxels[value, k]), int(counts.correct[value, k])
    means = [f"{counts.confidence[value, k] / voxels:.6g}", f"{correct / voxels:.6g}"] if voxels else ["", ""]
    return [value, name, k / BINS, (k + 1) / BINS, voxels, correct, *means]
