"""How sure the network is of each class, gathered block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

ALL_UP_TO_VOXELS = 2_000_000
"""Larger grids are looked at on every second voxel along each axis."""


@dataclass(frozen=True)
class ClassConfidence:
    """How sure the network is where it says a class.

    Attributes
    ----------
    value
        The class.
    voxels
        Voxels of the network's grid that were looked at and have this class.
    mean_confidence
        Mean over them of the largest softmax probability, 1 / classes to 1.
    mean_entropy
        Mean over them of the entropy -sum p ln p of the probabilities, in nats, 0 to ln(classes).
    """

    value: int
    voxels: int
    mean_confidence: float
    mean_entropy: float


class Confidence:
    """Sums over the finished logits of one case, on the network's grid, before any postprocessing.

    Parameters
    ----------
    classes
        Number of logits.
    grid_voxels
        Voxels of the whole grid: above 2 million every second one along each axis is looked at.
    """

    def __init__(self, *, classes: int, grid_voxels: int) -> None:
        self.step = 1 if grid_voxels <= ALL_UP_TO_VOXELS else 2
        self._voxels = np.zeros(classes)
        self._confidence, self._entropy = np.zeros(classes), np.zeros(classes)

    def add(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        """Logits ``(C, *sizes)`` of a block and its first voxel."""
        for axis, first in enumerate(at):
            index = torch.arange(-first % self.step, logits.shape[1 + axis], self.step, device=logits.device)
            if self.step > 1:
                logits = logits.index_select(1 + axis, index)
        flat = logits.reshape(logits.shape[0], -1)
        logarithms = torch.log_softmax(flat, dim=0)
        probabilities = logarithms.exp()
        best, labels = probabilities.max(dim=0)
        entropy = -(probabilities * logarithms).sum(dim=0)
        count = len(self._voxels)
        self._voxels += torch.bincount(labels, minlength=count).cpu().numpy()
        self._confidence += torch.bincount(labels, best.double(), minlength=count).cpu().numpy()
        self._entropy += torch.bincount(labels, entropy.double(), minlength=count).cpu().numpy()

    @property
    def classes(self) -> tuple[ClassConfidence, ...]:
        """The classes that were found."""
        found = np.flatnonzero(self._voxels)
        return tuple(
            ClassConfidence(
                int(c),
                int(self._voxels[c]),
                float(self._confidence[c] / self._voxels[c]),
                float(self._entropy[c] / self._voxels[c]),
            )
            for c in found
        )
