"""Validation scores over cases, on the network's grid; over those of all processes where several validate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.metrics import Metric
from numpy.typing import NDArray

from medseg.errors import BundleError
from medseg.evaluation import image_diagonal, surface_distances
from medseg.evaluation.metrics import nsd_name
from medseg.postprocess.regions import Mask
from medseg.training.distributed import gathered


class OverlapMetric(Metric):
    """Mean over cases and labels of the Dice coefficient; each label's Dice and IoU go into the engine's metrics too.

    A label that neither truth nor prediction holds scores 1, one that only one of them holds scores 0, as in
    `medseg.evaluation`: no case drops out of a mean.

    Parameters
    ----------
    labels
        Value to name, background included ("0": "background", ...), as in metadata.json; background is not scored.
    """

    def __init__(self, *, labels: Mapping[str | int, str]) -> None:
        self.names = {int(value): name for value, name in labels.items() if int(value) != 0}
        super().__init__(output_transform=lambda output: (output["pred"], output["label"]))

    def reset(self) -> None:
        self._counts: list[torch.Tensor] = []

    def update(self, output: Sequence[torch.Tensor]) -> None:
        logits, truth = output
        classes = logits.shape[1]
        predicted = logits.argmax(1).flatten(1)
        pairs = truth.long().flatten(1) * classes + predicted
        for case in pairs:
            self._counts.append(torch.bincount(case, minlength=classes**2).view(classes, classes))

    def compute(self) -> float:
        return float(self._overlap()[0].mean())

    def completed(self, engine: Any, name: Any) -> None:
        super().completed(engine, name)
        dice, iou = self._overlap()
        for column, label in enumerate(self.names.values()):
            engine.state.metrics[f"val_dice/{label}"] = float(dice[:, column].mean())
            engine.state.metrics[f"val_iou/{label}"] = float(iou[:, column].mean())

    def _overlap(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Dice and IoU, (cases, labels) each."""
        counts = torch.stack(gathered(list(torch.stack(self._counts).cpu()))).double()
        values = list(self.names)
        both = torch.stack([counts[:, v, v] for v in values], 1)
        total = torch.stack([counts[:, v, :].sum(1) + counts[:, :, v].sum(1) for v in values], 1)
        empty = total == 0
        dice = torch.where(empty, 1.0, 2 * both / total.clamp(min=1))
        iou = torch.where(empty, 1.0, both / (total - both).clamp(min=1))
        return dice, iou


class SurfaceMetric(Metric):
    """Mean over cases and labels of the normalised surface Dice at the first tolerance.

    Each label's NSD at every tolerance and its HD95 in mm go into the engine's metrics too ("val_nsd_1mm/<label>",
    "val_hd95_mm/<label>"). Surfaces, distances and the convention for empty masks are those of
    `medseg.evaluation.surface`: a label that was missed counts with NSD 0 and the diagonal of the image, so that
    finding nothing never looks like a perfect case, nor drops out of the mean.

    Parameters
    ----------
    labels
        Value to name, background included ("0": "background", ...), as in metadata.json; background is not scored.
    spacing_mm
        Of the network's grid, on which validation is done: one number an axis.
    tolerances_mm
        Of the normalised surface Dice, at least one.

    Raises
    ------
    BundleError
        There is no tolerance, or one that is no length.
    """

    def __init__(
        self, *, labels: Mapping[str | int, str], spacing_mm: Sequence[float], tolerances_mm: Sequence[float]
    ) -> None:
        self.names = {int(value): name for value, name in labels.items() if int(value) != 0}
        self.spacing_mm, self.tolerances_mm = tuple(spacing_mm), tuple(tolerances_mm)
        if not self.tolerances_mm or not all(0 < tolerance < np.inf for tolerance in self.tolerances_mm):
            raise BundleError("SurfaceMetric: tolerances_mm", got=list(self.tolerances_mm), expected="lengths above 0")
        super().__init__(output_transform=lambda output: (output["pred"], output["label"]))

    def reset(self) -> None:
        self._scores: list[list[list[float]]] = []

    def update(self, output: Sequence[torch.Tensor]) -> None:
        logits, truth = output
        predicted = logits.argmax(1).cpu().numpy()
        for prediction, label in zip(predicted, truth[:, 0].cpu().numpy(), strict=True):
            self._scores.append([self._of_label(prediction == value, label == value) for value in self.names])

    def compute(self) -> float:
        return float(self._means()[:, 1].mean())

    def completed(self, engine: Any, name: Any) -> None:
        super().completed(engine, name)
        columns = ["hd95_mm", *(nsd_name(tolerance, "mm") for tolerance in self.tolerances_mm)]
        for label, means in zip(self.names.values(), self._means(), strict=True):
            for column, mean in zip(columns, means, strict=True):
                engine.state.metrics[f"val_{column}/{label}"] = float(mean)

    def _means(self) -> NDArray[np.float64]:
        """Over cases: (labels, HD95 and the NSD at each tolerance)."""
        return np.asarray(np.mean(gathered(self._scores), axis=0))

    def _of_label(self, prediction: Mask, truth: Mask) -> list[float]:
        """HD95 and the NSD at each tolerance of a case."""
        diagonal = image_diagonal(truth.shape, self.spacing_mm)
        distances = surface_distances(prediction, truth, spacing=self.spacing_mm, diagonal=diagonal)
        return [distances.hausdorff(95.0), *(distances.nsd(tolerance) for tolerance in self.tolerances_mm)]
