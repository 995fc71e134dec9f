"""How well confidence and flags told the failed cases of an evaluation, for summary.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.evaluation.flag_record import FlagRecord, Judgement
from medseg.evaluation.roc import roc
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.table import CaseRecord

LEAST_CASES = 3


def worst_dice(rows: Sequence[CaseScore]) -> dict[str, float]:
    """Case to the smallest Dice of its regions: a case is as good as its worst region."""
    found: dict[str, float] = {}
    for row in rows:
        found[row.case] = min(row.scores["dice"], found.get(row.case, 1.0))
    return found


def confidence_against_dice(records: Sequence[CaseRecord], rows: Sequence[CaseScore]) -> dict[str, Any]:
    """Does a case of which the network is surer have the better Dice?

    Returns
    -------
    dict
        ``cases``: those whose confidence is known; ``mean``: its mean; ``spearman_with_worst_dice``: rank correlation
        of a case's confidence with the smallest Dice of its regions (Spearman, Am J Psychol 1904;15:72), None for
        fewer than three cases or where one of the two does not vary.
    """
    dice = worst_dice(rows)
    known = [(one.confidence, dice[one.case]) for one in records if one.confidence is not None and one.case in dice]
    pairs = np.asarray(known, dtype=np.float64).reshape(-1, 2)
    return {
        "cases": len(pairs),
        "mean": float(pairs[:, 0].mean()) if len(pairs) else None,
        "spearman_with_worst_dice": _spearman(pairs),
    }


def flag_summary(
    judged: Mapping[str, Judgement], rows: Sequence[CaseScore], record: FlagRecord, *, patients: Mapping[str, str]
) -> dict[str, Any]:
    """What was flagged, and, where the bundle says which Dice counts as a failure, how well that told failed cases.

    Returns
    -------
    dict
        ``cases``, ``flagged``; and with a regression ``dice_below``, ``failed`` (cases with a region below it),
        ``failed_and_flagged``, ``roc`` with "rules" (by the largest excess) and "predicted_dice" (by the smallest of
        the regions): AUC with interval, None where no case, or every case, failed.
    """
    flagged = [case for case, one in judged.items() if one.flags]
    summary: dict[str, Any] = {"cases": len(judged), "flagged": len(flagged)}
    if record.predictor is None:
        return summary
    dice, below = worst_dice(rows), record.predictor.dice_below
    failed = {case: dice[case] < below for case in judged}
    warnings = {
        "rules": [one.excess for one in judged.values()],
        "predicted_dice": [1 - min(one.predicted_dice.values(), default=1.0) for one in judged.values()],
    }
    return {
        **summary,
        "dice_below": below,
        "failed": sum(failed.values()),
        "failed_and_flagged": sum(failed[case] for case in flagged),
        "roc": {name: _roc(values, failed, patients) for name, values in warnings.items()},
    }


def _roc(values: Sequence[float], failed: Mapping[str, bool], patients: Mapping[str, str]) -> dict[str, Any] | None:
    if len(set(failed.values())) < 2:
        return None
    return roc(values, list(failed.values()), patients=[patients[case] for case in failed]).to_json()


def _spearman(pairs: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    if len(pairs) < LEAST_CASES or np.ptp(pairs, axis=0).min() == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
