"""How well a number tells failed cases from good ones: the ROC curve, and the area under it with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.evaluation.bootstrap import RESAMPLES, Floats, Indices, percentiles, resampled


@dataclass(frozen=True)
class Roc:
    """A warning number against true failures.

    Attributes
    ----------
    thresholds, sensitivity, false_alarms
        ``(k,)``, the threshold falling: of the failed cases the share whose number is at least the threshold, and
        the same of the good ones. They begin with a threshold that no case reaches.
    auc
        The area under the curve: the probability that a failed case has a larger number than a good one, ties
        counted half (Hanley, McNeil, Radiology 1982;143:29).
    auc_ci95
        Percentile interval over resamples of the patients; resamples without a failure, or without a good case, have
        no AUC and are left out. None of one patient, whose resamples are all the same.
    failed, good
        How many cases of each.
    """

    thresholds: Floats
    sensitivity: Floats
    false_alarms: Floats
    auc: float
    auc_ci95: list[float] | None
    failed: int
    good: int

    def to_json(self) -> dict[str, Any]:
        """The figures without the curve."""
        return {"auc": self.auc, "auc_ci95": self.auc_ci95, "failed": self.failed, "good": self.good}


def auc(warning: NDArray[np.floating[Any]], failed: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve by ranks, ties half; None where there is no failed or no good case."""
    positives = int(np.count_nonzero(failed))
    negatives = failed.size - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(warning, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]  # of tied values the mean of their ranks
    return float((ranks[failed].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc(
    warning: Sequence[float] | NDArray[np.floating[Any]],
    failed: Sequence[bool] | NDArray[np.bool_],
    *,
    patients: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Roc:
    """The ROC of a number that is larger where a case should be looked at.

    Parameters
    ----------
    warning, failed, patients
        One each per case, ``(n,)``.

    Raises
    ------
    DataError
        No failed case or no good one: there is nothing to tell apart.
    """
    values, truth = np.asarray(warning, dtype=np.float64), np.asarray(failed, dtype=bool)
    area = auc(values, truth)
    if area is None:
        raise DataError(
            "no ROC of failures",
            got=f"{int(truth.sum())} failed of {truth.size} cases",
            expected="at least one failed and one good case",
        )

    def of_draw(drawn: Indices) -> float | None:
        return auc(values[drawn], truth[drawn])

    interval = None
    if len(set(patients)) > 1:
        interval = percentiles(resampled(of_draw, patients=patients, resamples=resamples, seed=seed))
    thresholds, sensitivity, false_alarms = roc_curve(values, truth)
    failures = int(truth.sum())
    return Roc(thresholds, sensitivity, false_alarms, area, interval, failures, truth.size - failures)


def roc_curve(values: Floats, failed: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Thresholds, sensitivity and false alarms, ``(k,)`` each, as `Roc` has them, of one number per case, ``(n,)``.

    There is at least one failed and one good case.
    """
    thresholds = np.concatenate([[np.inf], np.unique(values)[::-1]])
    reached = values[None, :] >= thresholds[:, None]
    sensitivity = reached[:, failed].mean(axis=1)
    return thresholds, np.asarray(sensitivity), np.asarray(reached[:, ~failed].mean(axis=1))
