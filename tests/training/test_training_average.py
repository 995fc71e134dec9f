"""How far back the moving average of the weights looks: a twentieth of the run, 10 to 200 steps."""

from __future__ import annotations

import pytest

from medseg.training import average_momentum


@pytest.mark.parametrize(
    ("steps", "looks_back"), [(1, 10), (200, 10), (720, 36), (4000, 200), (100_000, 200)], ids=lambda value: str(value)
)
def test_the_average_looks_back_over_a_twentieth_of_the_run(steps: int, looks_back: float) -> None:
    assert average_momentum(steps=steps) == pytest.approx(1 / looks_back)
