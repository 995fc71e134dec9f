"""How far back the moving average of a network's weights looks."""

from __future__ import annotations

FEWEST_STEPS, MOST_STEPS = 10, 200
SHARE_OF_RUN = 0.05


def average_momentum(*, steps: int) -> float:
    """What each of the run's `steps` adds of its weights: 1 over a twentieth of the steps, within 1/10 and 1/200.

    A momentum of m looks back over about 1/m steps. 200 suit a run of thousands; those of a run of 700 would still
    hold what it had not learnt yet, so that short runs are worse with such an average than without.
    """
    return 1 / min(MOST_STEPS, max(FEWEST_STEPS, SHARE_OF_RUN * steps))
