"""The Dice that a case will probably have, from what is known without its truth: one regression per region.

    predicted Dice = 1 / (1 + exp(-(b + sum of weight_i * (x_i - mean_i) / sd_i)))

with x_i cut to the values seen when it was fitted, so that nothing is extrapolated. Dice is a fraction with many values
near 0 and near 1, which a straight line fits badly: this is fractional logit regression (Papke, Wooldridge, J Appl
Econometrics 1996;11:619), fitted by iteratively reweighted least squares with a ridge penalty of 1 on the weights of
standardised features (Hoerl, Kennedy, Technometrics 1970;12:55). Its error is that of cross-validation by patient: each
case is predicted by a regression that saw no case of its patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.bootstrap import Floats, Indices, groups
from medseg.evaluation.features import CaseFeatures, Numbers
from medseg.evaluation.flags import LARGEST_EXCESS, RULES, Flag, Limit, Limits, rule_of

PENALTY = 1.0
FOLDS = 5
LEAST_CASES = 10
STEPS = 50
_LEAST_VARIANCE = 1e-6

OWN = ("confidence", "entropy", "log_fragments", "largest_share", "volume_excess", "position_excess")
CASE = ("intensity_excess", "worst_entropy", "worst_largest_share", "worst_volume_excess", "worst_position_excess")
FEATURES = (*OWN, *CASE)
"""What a region's regression sees: how sure the network is of the region, in how many pieces it lies, and how far, in
shares of the way to the limit, its size and centre are from those of training; of the case how far its intensities are,
and the worst of its regions: a mirrored image gives itself away by where the heart is, not by its lungs."""


@dataclass(frozen=True)
class RegionRegression:
    """The regression of one region.

    Attributes
    ----------
    intercept
        b of the formula.
    weights
        Feature to its weight, per standard deviation.
    mean, sd, seen
        Feature to mean, standard deviation and range over the cases that it was fitted on.
    cases, patients
        How many they were.
    error
        Of cross-validation by patient: ``mae`` and ``rmse`` of the Dice, ``r2``, and ``folds``.
    """

    intercept: float
    weights: Mapping[str, float]
    mean: Mapping[str, float]
    sd: Mapping[str, float]
    seen: Mapping[str, tuple[float, float]]
    cases: int
    patients: int
    error: Mapping[str, float]

    def __call__(self, features: Numbers) -> float:
        """The Dice that a region with these features probably has, 0 to 1."""
        total = self.intercept
        for name, weight in self.weights.items():
            low, high = self.seen[name]
            total += weight * (min(max(features[name], low), high) - self.mean[name]) / self.sd[name]
        return float(_expit(np.asarray(total)))

    def to_json(self) -> dict[str, Any]:
        """For models/flags.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RegionRegression:
        """What `to_json` gave."""
        seen = {name: (low, high) for name, (low, high) in content["seen"].items()}
        return cls(**{**content, "seen": seen})


@dataclass(frozen=True)
class DicePredictor:
    """The regressions of a bundle, and the Dice below which a region counts as failed.

    Attributes
    ----------
    dice_below
        A case has failed where the Dice of one of its regions is below this.
    regions
        Region to its regression.
    """

    dice_below: float
    regions: Mapping[str, RegionRegression]

    def to_json(self) -> dict[str, Any]:
        """For models/flags.json."""
        return {"dice_below": self.dice_below, "regions": {name: one.to_json() for name, one in self.regions.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DicePredictor:
        """What `to_json` gave."""
        regions = {name: RegionRegression.from_json(one) for name, one in content["regions"].items()}
        return cls(float(content["dice_below"]), regions)

    def __call__(self, case: CaseFeatures, limits: Limits) -> dict[str, float]:
        """Region to predicted Dice."""
        inputs = regression_inputs(case, limits)
        return {name: regression(inputs[name]) for name, regression in self.regions.items() if name in inputs}

    def flags(self, predicted: Mapping[str, float]) -> list[Flag]:
        """The regions that have probably failed, the worst first."""
        return [
            Flag(
                "predicted_dice",
                region,
                round(dice, 4),
                self.dice_below,
                f"{region}: predicted Dice {dice:.2f}, below {self.dice_below:g}",
            )
            for region, dice in sorted(predicted.items(), key=lambda one: one[1])
            if dice < self.dice_below
        ]


def regression_inputs(case: CaseFeatures, limits: Limits) -> dict[str, dict[str, float]]:
    """Region to the features of `FEATURES`.

    A region that was not found is as bad as can be: confidence 0, entropy of an even guess between two classes, no
    piece, and sizes and places at the largest excess.
    """
    own = {region: _own(numbers, limits.regions.get(region, {})) for region, numbers in case.regions.items()}
    bright = [
        limits.intensity[name].excess(value, logarithm=rule_of("", name).logarithm)
        for name, value in case.intensity.items()
        if name in limits.intensity
    ]
    worst = {
        "intensity_excess": max(bright, default=0.0),
        "worst_entropy": max(one["entropy"] for one in own.values()),
        "worst_largest_share": min(one["largest_share"] for one in own.values()),
        "worst_volume_excess": max(one["volume_excess"] for one in own.values()),
        "worst_position_excess": max(one["position_excess"] for one in own.values()),
    }
    return {region: {**numbers, **worst} for region, numbers in own.items()}


def fit_regression(
    inputs: Sequence[Numbers],
    dice: Sequence[float],
    *,
    patients: Sequence[str],
    importance: Sequence[float] | None = None,
) -> tuple[RegionRegression, Floats]:
    """The regression of one region's Dice on `FEATURES`, with its error in cross-validation by patient.

    Parameters
    ----------
    inputs, dice, patients
        One each per case, ``(n,)``.
    importance
        How much each case counts, ``(n,)``; None: all the same.

    Returns
    -------
    tuple
        The regression, and each case's prediction in cross-validation, ``(n,)``.

    Raises
    ------
    DataError
        Fewer than 10 cases, or all of one patient.
    """
    x = np.asarray([[one[name] for name in FEATURES] for one in inputs], dtype=np.float64).reshape(-1, len(FEATURES))
    y, member = np.asarray(dice, dtype=np.float64), groups(patients)
    if len(y) < LEAST_CASES or member.max() == 0:
        raise DataError(
            "too few cases for a regression",
            got=f"{len(y)} cases of {len(set(patients))} patients",
            expected=f"at least {LEAST_CASES} cases of several patients",
        )
    counts = np.ones(len(y)) if importance is None else np.asarray(importance, dtype=np.float64)
    counts = counts / counts.mean()
    held_out = cross_validated(x, y, counts, member=member)
    fitted = _fit(x, y, counts)
    regression = RegionRegression(
        intercept=float(fitted.weights[0]),
        weights=_named(fitted.weights[1:]),
        mean=_named(fitted.mean),
        sd=_named(fitted.sd),
        seen={name: (float(low), float(high)) for name, low, high in zip(FEATURES, *fitted.seen, strict=True)},
        cases=len(y),
        patients=int(member.max()) + 1,
        error=_error(y, held_out, folds=_folds(member)),
    )
    return regression, held_out


def cross_validated(x: Floats, y: Floats, counts: Floats, *, member: Indices) -> Floats:
    """Predictions of each case, ``(n,)``, by a regression that saw none of its patient.

    Parameters
    ----------
    x, y, counts, member
        Features ``(n, features)``, Dice, importance and number of each case's patient, ``(n,)``.
    """
    fold, found = member % _folds(member), np.empty_like(y)
    for number in np.unique(fold):
        out = fold == number
        found[out] = _fit(x[~out], y[~out], counts[~out])(x[out])
    return found


@dataclass(frozen=True)
class _Fitted:
    """Mean, standard deviation (1 where a feature does not vary) and range; weights with the intercept first."""

    mean: Floats
    sd: Floats
    seen: tuple[Floats, Floats]
    weights: Floats

    def __call__(self, x: Floats) -> Floats:
        return _expit(_with_ones((np.clip(x, *self.seen) - self.mean) / self.sd) @ self.weights)


def _fit(x: Floats, y: Floats, counts: Floats) -> _Fitted:
    mean = np.average(x, axis=0, weights=counts)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=counts))
    sd = np.where(sd > _LEAST_VARIANCE, sd, 1.0)
    weights = _weights(_with_ones((x - mean) / sd), y, counts)
    return _Fitted(mean, sd, (x.min(axis=0), x.max(axis=0)), weights)


def _weights(z: Floats, y: Floats, counts: Floats) -> Floats:
    """Of standardised features with ones before them, (n, 1 + features)."""
    penalty = PENALTY * np.eye(z.shape[1])
    penalty[0, 0] = 0.0

    def likelihood(weights: Floats) -> float:
        total = z @ weights
        return float(counts @ (y * total - np.logaddexp(0, total)) - weights @ penalty @ weights / 2)

    middle = min(max(float(np.average(y, weights=counts)), 0.01), 0.99)
    weights = np.zeros(z.shape[1])
    weights[0] = math.log(middle / (1 - middle))
    for _ in range(STEPS):
        p = _expit(z @ weights)
        variance = counts * np.maximum(p * (1 - p), _LEAST_VARIANCE)
        step = np.linalg.solve(z.T @ (z * variance[:, None]) + penalty, z.T @ (counts * (y - p)) - penalty @ weights)
        while likelihood(weights + step) < likelihood(weights) and np.abs(step).max() > _LEAST_VARIANCE:
            step = step / 2  # a whole step overshoots where few cases are told apart well, and then never comes back
        weights = weights + step
        if np.abs(step).max() < _LEAST_VARIANCE:
            break
    return weights


def _expit(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))))


def _with_ones(z: Floats) -> Floats:
    return np.column_stack([np.ones(len(z)), z])


def _named(values: Floats) -> dict[str, float]:
    return dict(zip(FEATURES, map(float, values), strict=True))


def _folds(member: Indices) -> int:
    return min(FOLDS, int(member.max()) + 1)


def _error(y: Floats, predicted: Floats, *, folds: int) -> dict[str, float]:
    off, spread = predicted - y, float(((y - y.mean()) ** 2).sum())
    return {
        "mae": round(float(np.abs(off).mean()), 6),
        "rmse": round(float(np.sqrt((off**2).mean())), 6),
        "r2": round(1 - float((off**2).sum()) / spread, 6) if spread > 0 else 0.0,
        "folds": folds,
    }


def _own(numbers: Numbers, limits: Mapping[str, Limit]) -> dict[str, float]:
    if not any(numbers.get(size) for size in ("volume_ml", "area_share")):
        lost = {"confidence": 0.0, "entropy": math.log(2), "log_fragments": 0.0, "largest_share": 0.0}
        return {**lost, "volume_excess": LARGEST_EXCESS, "position_excess": LARGEST_EXCESS}
    return {
        "confidence": numbers.get("confidence", 0.0),
        "entropy": numbers.get("entropy", math.log(2)),
        "log_fragments": math.log1p(numbers["fragments"]),
        "largest_share": numbers.get("largest_share", 0.0),
        "volume_excess": _excess(numbers, limits, "volume"),
        "position_excess": _excess(numbers, limits, "position"),
    }


def _excess(numbers: Numbers, limits: Mapping[str, Limit], rule: str) -> float:
    """The largest excess of a region's features of a rule."""
    found = [
        limits[name].excess(value, logarithm=RULES[name].logarithm)
        for name, value in numbers.items()
        if name in limits and RULES[name].name == rule
    ]
    return max(found, default=0.0)
