"""Centre-line Dice of tubes drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation import centreline_dice
from medseg.evaluation.centreline import skeleton


def tube(start: int, stop: int, *, length: int = 20, radius: int = 1) -> np.ndarray:
    """A straight tube along Z from `start` to `stop`, square across."""
    mask = np.zeros((7, 7, length), dtype=bool)
    mask[3 - radius : 4 + radius, 3 - radius : 4 + radius, start:stop] = True
    return mask


def test_a_tube_one_voxel_wide_is_its_own_centre_line() -> None:
    thin = tube(3, 17, radius=0)
    assert np.array_equal(skeleton(thin), thin)


def test_half_of_the_tube_found() -> None:
    # all of the predicted line lies in the truth, half of the true one in the prediction: 2 * 1 * .5 / 1.5
    assert centreline_dice(tube(0, 10, radius=0), tube(0, 20, radius=0)) == pytest.approx(2 / 3)


def test_a_thinner_tube_has_the_same_centre_line() -> None:
    assert centreline_dice(tube(2, 18, radius=0), tube(2, 18, radius=2)) == 1.0


def test_a_gap_costs_what_it_is_long() -> None:
    broken = tube(0, 20, radius=0)
    broken[:, :, 9:11] = False
    assert centreline_dice(broken, tube(0, 20, radius=0)) == pytest.approx(2 * 0.9 / 1.9)


def test_a_picture_is_scored_too() -> None:
    road = np.zeros((9, 12), dtype=bool)
    road[4, 1:11] = True
    assert centreline_dice(road & (np.arange(12) < 6), road) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        pytest.param(0, 0, 1.0, id="both-empty"),
        pytest.param(1, 0, 0.0, id="truth-empty"),
        pytest.param(0, 1, 0.0, id="prediction-empty"),
    ],
)
@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 3)], ids=["picture", "volume"])
def test_empty_masks(shape, prediction, truth, expected) -> None:
    assert centreline_dice(np.full(shape, prediction, bool), np.full(shape, truth, bool)) == expected


def test_tubes_that_do_not_meet_score_zero() -> None:
    assert centreline_dice(tube(0, 5), tube(12, 20)) == 0.0


def test_no_piece_is_thinned_away() -> None:
    # Lee's thinning, as scikit-image has it, leaves nothing of some small pieces.
    rng = np.random.default_rng(0)
    pieces = [np.pad(rng.random(tuple(rng.integers(1, 5, 3))) < 0.7, 1) for _ in range(150)]
    assert all(skeleton(piece).any() for piece in pieces if piece.any())
    assert all(not (skeleton(piece) & ~piece).any() for piece in pieces)
