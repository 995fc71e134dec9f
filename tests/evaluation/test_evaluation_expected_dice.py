"""The regression of the expected Dice: its weights are the likeliest, also where good and bad cases part cleanly."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.expected_dice import FEATURES, PENALTY, fit_regression


def one_lost(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Thirteen perfect cases and a lost one, whose features are far from theirs."""
    x = np.random.default_rng(seed).normal(size=(14, len(FEATURES)))
    x[0] -= 5
    return x, np.asarray([0.0] + 13 * [1.0])


@pytest.mark.parametrize("seed", [2, 10, 14, 15])
def test_no_weights_are_likelier(seed: int) -> None:
    x, dice = one_lost(seed)
    inputs = [dict(zip(FEATURES, row, strict=True)) for row in x.tolist()]
    fitted, _ = fit_regression(inputs, dice.tolist(), patients=[str(i) for i in range(len(x))])
    z = (x - list(fitted.mean.values())) / list(fitted.sd.values())
    weights = np.asarray(list(fitted.weights.values()))
    off = dice - 1 / (1 + np.exp(-(fitted.intercept + z @ weights)))
    assert off.sum() == pytest.approx(0, abs=1e-4)  # the slope of the likelihood along each weight
    np.testing.assert_allclose(z.T @ off, PENALTY * weights, atol=1e-4)
