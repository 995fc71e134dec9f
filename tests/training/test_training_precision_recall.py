"""Precision and recall over thresholds, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.training.precision_recall import THRESHOLDS, PrecisionRecall


def logits_of(probabilities: list[float]) -> torch.Tensor:
    """Two classes; the second has these probabilities: (1, 2, N, 1)."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), torch.log(p / (1 - p))])[None, :, :, None]


def test_counts_by_hand() -> None:
    curves = PrecisionRecall({1: "lung"})
    curves.update(logits_of([0.9, 0.6, 0.4, 0.1]), torch.tensor([1, 0, 1, 0]).view(1, 1, 4, 1))
    counts = curves.compute()["lung"]
    at = {p: round(p * (THRESHOLDS - 1)) for p in (0.0, 0.3, 0.5, 0.8)}
    assert [int(counts.true_positive[at[p]]) for p in at] == [2, 2, 1, 1]
    assert [int(counts.false_positive[at[p]]) for p in at] == [2, 1, 1, 0]
    assert [counts.precision[at[p]] for p in at] == pytest.approx([0.5, 2 / 3, 0.5, 1.0])
    assert [counts.recall[at[p]] for p in at] == pytest.approx([1.0, 1.0, 0.5, 0.5])


def test_cases_add_up_and_a_reset_forgets() -> None:
    curves = PrecisionRecall({})
    truth = torch.tensor([1, 0]).view(1, 1, 2, 1)
    for _ in range(3):
        curves.update(logits_of([0.8, 0.2]), truth)
    counts = curves.compute()["label 1"]
    assert (counts.true_positive[0], counts.false_positive[0]) == (3, 3)
    curves.reset()
    assert curves.compute() == {}


def test_an_empty_truth_has_recall_0_and_no_division() -> None:
    curves = PrecisionRecall({})
    curves.update(logits_of([0.8, 0.2]), torch.zeros(1, 1, 2, 1))
    counts = curves.compute()["label 1"]
    assert np.all(counts.recall == 0)
    assert np.all(counts.precision == 0)
