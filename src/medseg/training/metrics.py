"""Validation scores over cases, on the network's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.metrics import Metric


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
        counts = torch.stack(self._counts).double().cpu()
        values = list(self.names)
        both = torch.stack([counts[:, v, v] for v in values], 1)
        total = torch.stack([counts[:, v, :].sum(1) + counts[:, :, v].sum(1) for v in values], 1)
        empty = total == 0
        dice = torch.where(empty, 1.0, 2 * both / total.clamp(min=1))
        iou = torch.where(empty, 1.0, both / (total - both).clamp(min=1))
        return dice, iou
