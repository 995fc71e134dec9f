"""The Dice that a case will probably have, from what is known without its truth: a linear regression per region.

    predicted Dice = intercept + sum of weight_i * (x_i - mean_i) / sd_i,   cut to 0 ... 1,

with x_i cut to the values seen when it was fitted, so that nothing is extrapolated. The weights are those of ridge
regression (Hoerl, Kennedy, Technometrics 1970;12:55) with penalty 1 on standardised features. Its error is that of
cross-validation by patient: each case is predicted by a regression that saw no case of its patient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.bootstrap import Floats, Indices, groups
from medseg.evaluation.features import CaseFeatures, Numbers
from medseg.evaluation.flags import INTENSITY, LARGEST_EXCESS, RULES, Flag, Limit, Limits

PENALTY = 1.0
FOLDS = 5
LEAST_CASES = 10
FEATURES = (
    "confidence",
    "entropy",
    "log_fragments",
    "largest_share",
    "volume_excess",
    "position_excess",
    "intensity_excess",
)
"""What a region's regression sees: how sure the network is, in how many pieces the region lies, and how far, in shares
of the way to the limit, its size, its centre and the image's intensities are from those of the training cases."""


@dataclass(frozen=True)
class RegionRegression:
    """The regression of one region.

    Attributes
    ----------
    intercept
        Mean Dice of the cases that it was fitted on.
    weights
        Feature to its weight, per standard deviation.
    mean, sd, seen
        Feature to mean, standard deviation and range over those cases.
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
            x = min(max(features[name], low), high)
            total += weight * (x - self.mean[name]) / self.sd[name]
        return min(max(total, 0.0), 1.0)

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
        """The regions that have probably failed."""
        return [
            Flag(
                "predicted_dice",
                region,
                round(dice, 4),
                self.dice_below,
                f"{region}: predicted Dice {dice:.2f}, below {self.dice_below:g}",
            )
            for region, dice in predicted.items()
            if dice < self.dice_below
        ]


def regression_inputs(case: CaseFeatures, limits: Limits) -> dict[str, dict[str, float]]:
    """Region to the features of `FEATURES`.

    A region that was not found is as bad as can be: confidence 0, entropy of an even guess between two classes, no
    piece, and sizes and places at the largest excess.
    """
    bright = _excess(case.intensity, limits.intensity, INTENSITY)
    return {
        region: {**_region_inputs(numbers, limits.regions.get(region, {})), "intensity_excess": bright}
        for region, numbers in case.regions.items()
    }


def fit_regression(inputs: Sequence[Numbers], dice: Sequence[float], *, patients: Sequence[str]) -> RegionRegression:
    """Ridge regression of one region's Dice on `FEATURES`, with its error in cross-validation by patient.

    Parameters
    ----------
    inputs, dice, patients
        One each per case, ``(n,)``.

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
    held_out = cross_validated(x, y, member=member)
    mean, sd, weights = _ridge(x, y)
    per_feature = {
        name: tuple(dict(zip(FEATURES, map(float, values), strict=True)) for values in (weights, mean, sd))[i]
        for i, name in enumerate(("weights", "mean", "sd"))
    }
    return RegionRegression(
        intercept=float(y.mean()),
        **per_feature,
        seen={name: (float(x[:, i].min()), float(x[:, i].max())) for i, name in enumerate(FEATURES)},
        cases=len(y),
        patients=int(member.max()) + 1,
        error=_error(y, held_out, folds=min(FOLDS, int(member.max()) + 1)),
    )


def cross_validated(x: Floats, y: Floats, *, member: Indices) -> Floats:
    """Predictions of each case, ``(n,)``, by a regression that saw none of its group.

    Parameters
    ----------
    x, y, member
        Features ``(n, features)``, Dice ``(n,)``, number of each case's patient ``(n,)``.
    """
    fold = member % min(FOLDS, int(member.max()) + 1)
    found = np.empty_like(y)
    for number in np.unique(fold):
        out = fold == number
        predict = _fitted(x[~out], y[~out])
        found[out] = predict(x[out])
    return found


def _fitted(x: Floats, y: Floats) -> Callable[[Floats], Floats]:
    mean, sd, weights = _ridge(x, y)
    low, high, middle = x.min(axis=0), x.max(axis=0), float(y.mean())

    def predict(rows: Floats) -> Floats:
        return np.asarray(np.clip(middle + (np.clip(rows, low, high) - mean) / sd @ weights, 0.0, 1.0))

    return predict


def _ridge(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and standard deviation of the features (1 where they do not vary), and the weights."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    sd = np.where(sd > 1e-9, sd, 1.0)
    z = (x - mean) / sd
    weights = np.linalg.solve(z.T @ z + PENALTY * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return mean, sd, np.asarray(weights)


def _error(y: Floats, predicted: Floats, *, folds: int) -> dict[str, float]:
    off, spread = predicted - y, float(((y - y.mean()) ** 2).sum())
    return {
        "mae": round(float(np.abs(off).mean()), 6),
        "rmse": round(float(np.sqrt((off**2).mean())), 6),
        "r2": round(1 - float((off**2).sum()) / spread, 6) if spread > 0 else 0.0,
        "folds": folds,
    }


def _region_inputs(numbers: Numbers, limits: Mapping[str, Limit]) -> dict[str, float]:
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
    """The largest excess of the features of a rule."""
    found = [
        limits[name].excess(value, logarithm=name in RULES and RULES[name].logarithm)
        for name, value in numbers.items()
        if name in limits and (RULES[name].name if name in RULES else INTENSITY) == rule
    ]
    return max(found, default=0.0)
