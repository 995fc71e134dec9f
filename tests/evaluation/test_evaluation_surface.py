"""Surface distances by hand, and equal to those of surface-distance and MONAI where the definitions agree."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluation import SurfaceDistances, image_diagonal, surface, surface_distances

pytestmark = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")  # its own affair
DIAGONAL = 99.0
SPACINGS = {
    "isotropic": (1.0, 1.0, 1.0),
    "thick slices": (0.7, 0.7, 5.0),
    "all three differ": (2.0, 0.5, 1.25),
}


def measured(prediction: np.ndarray, truth: np.ndarray, *spacing: float) -> SurfaceDistances:
    return surface_distances(prediction, truth, spacing=spacing, diagonal=DIAGONAL)


def with_voxels(shape: tuple[int, ...], *places: tuple[int | slice, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def random_masks(axes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of some density, which touches the border; neither is empty."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 9, axes))
    truth, prediction = (rng.random(shape) < rng.uniform(0.1, 0.95) for _ in range(2))
    truth.flat[0] = prediction.flat[-1] = True
    return prediction, truth


def scores(distances: SurfaceDistances, tolerance: float) -> tuple[float, float, float, float]:
    return distances.hausdorff(), distances.hausdorff(95.0), distances.mean(), distances.nsd(tolerance)


def test_two_voxels_by_hand() -> None:
    # Corners of the one at x = 0 and 1, of the other at 3 and 4, voxels of 2 mm: half of each surface is 4 mm, half
    # 6 mm from the nearest corner of the other. All eight elements of a voxel are alike.
    found = measured(with_voxels((5, 1, 1), (3,)), with_voxels((5, 1, 1), (0,)), 2.0, 1.0, 1.0)
    assert sorted(found.truth.tolist()) == [4.0] * 4 + [6.0] * 4
    assert scores(found, 4.0) == (6.0, 6.0, 5.0, 0.5)
    assert (found.nsd(3.9), found.nsd(6.0)) == (0.0, 1.0)


def test_two_pixels_by_hand() -> None:
    found = measured(with_voxels((1, 5), (0, 3)), with_voxels((1, 5), (0, 0)), 1.0, 2.0)
    assert sorted(found.prediction.tolist()) == [4.0, 4.0, 6.0, 6.0]
    assert scores(found, 4.0) == (6.0, 6.0, 5.0, 0.5)
    # each corner of a pixel of 1 x 2 mm is cut off between the middles of two edges
    assert found.truth_area.tolist() == [math.hypot(0.5, 1.0)] * 4


def test_an_element_of_a_flat_face_has_the_area_of_a_voxels_face() -> None:
    block = with_voxels((4, 4, 4), np.s_[1:3, 1:3, 1:3])
    areas = measured(block, block, 2.0, 3.0, 5.0).truth_area
    # in the middle of each of the six faces lies one corner, in a flat piece of surface
    assert [np.isclose(areas, face).sum() for face in (6.0, 10.0, 15.0)] == [2, 2, 2]


def test_95_percent_is_of_the_area_not_of_the_number_of_elements() -> None:
    # A speck 8 mm from a rod has 8 of their 28 elements. They are corners, which have another area than the elements
    # along the rod's edges.
    rod = with_voxels((14, 1, 1), np.s_[0:4])
    found = measured(rod | with_voxels((14, 1, 1), (12,)), rod, 1.0, 10.0, 10.0)
    far = found.prediction > 0
    assert (found.truth.max(), far.sum(), len(far)) == (0.0, 8, 28)
    share = 100 * found.prediction_area[~far].sum() / found.prediction_area.sum()
    assert share != pytest.approx(100 * 20 / 28, abs=1)
    assert (found.hausdorff(share - 0.01), found.hausdorff(share + 0.01), found.hausdorff()) == (0.0, 8.0, 9.0)


def test_hd95_is_of_the_worse_direction() -> None:
    # The truth's second voxel was missed: half of the truth's surface is far away, all of the prediction's is on it.
    truth, prediction = with_voxels((20, 1, 1), (0,), (19,)), with_voxels((20, 1, 1), (0,))
    found = measured(prediction, truth, 1.0, 1.0, 1.0)
    assert found.prediction.max() == 0.0
    assert (found.hausdorff(95.0), found.mean()) == (19.0, pytest.approx(18.5 * 0.5 / 1.5))


@pytest.mark.parametrize(
    ("prediction", "truth", "empty", "distance", "nsd"),
    [
        pytest.param(0, 0, "both", 0.0, 1.0, id="both-empty"),
        pytest.param(1, 0, "truth", DIAGONAL, 0.0, id="truth-empty"),
        pytest.param(0, 1, "prediction", DIAGONAL, 0.0, id="prediction-empty"),
        pytest.param(1, 1, "none", 0.0, 1.0, id="equal"),
    ],
)
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2)], ids=["picture", "volume"])
def test_empty_masks(shape, prediction, truth, empty, distance, nsd) -> None:
    found = measured(np.full(shape, prediction, bool), np.full(shape, truth, bool), *(1.0,) * len(shape))
    assert found.empty == empty
    assert scores(found, 1.0) == (distance, distance, distance, nsd)


def test_no_pair_of_masks_is_further_apart_than_the_diagonal() -> None:
    shape, spacing = (4, 5, 6), (1.0, 2.0, 0.5)
    found = measured(with_voxels(shape, (0, 0, 0)), with_voxels(shape, (3, 4, 5)), *spacing)
    assert found.hausdorff() < image_diagonal(shape, spacing) == pytest.approx(math.hypot(4.0, 10.0, 3.0))


def test_a_distance_that_equals_the_tolerance_is_within_it() -> None:
    found = measured(with_voxels((4, 1), (3, 0)), with_voxels((4, 1), (0, 0)), 0.1, 1.0)
    assert found.truth.min() == pytest.approx(0.2)
    assert found.truth.max() > 0.3  # 0.30000000000000004
    assert found.nsd(0.3) == 1.0


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("axes", [2, 3], ids=["picture", "volume"])
def test_cutting_out_and_the_order_of_memory_change_nothing(axes: int, spacing: tuple[float, ...]) -> None:
    prediction, truth = random_masks(axes, seed=7)
    wide = [np.pad(mask, 3) for mask in (prediction, truth)]
    expected = scores(measured(prediction, truth, *spacing[:axes]), 1.0)
    assert scores(measured(*wide, *spacing[:axes]), 1.0) == pytest.approx(expected)
    fortran = [np.asfortranarray(mask) for mask in (prediction, truth)]
    assert scores(measured(*fortran, *spacing[:axes]), 1.0) == pytest.approx(expected)


@given(st.integers(2, 3), st.integers(0, 10**6))
def test_truth_and_prediction_may_change_places(axes: int, seed: int) -> None:
    prediction, truth = random_masks(axes, seed)
    there = scores(measured(prediction, truth, *SPACINGS["all three differ"][:axes]), 1.0)
    back = scores(measured(truth, prediction, *SPACINGS["all three differ"][:axes]), 1.0)
    assert back == pytest.approx(there)


@pytest.mark.parametrize("axes", [2, 3], ids=["picture", "volume"])
def test_search_tree_and_distance_map_agree(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    far = np.pad(random_masks(axes, seed=3)[0], ((0, 20), *((0, 0),) * (axes - 1)))
    pair, spacing = (np.flip(far, 0), far), SPACINGS["all three differ"][:axes]
    tolerance = measured(*pair, *spacing).mean()
    by_tree = scores(measured(*pair, *spacing), tolerance)
    monkeypatch.setattr(surface, "_CROWDED", 0)
    assert scores(measured(*pair, *spacing), tolerance) == pytest.approx(by_tree)
    assert 0 < by_tree[3] < 1


def peers() -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    for seed in range(12):
        for axes in (2, 3):
            for spacing in SPACINGS.values():
                yield *random_masks(axes, seed), spacing[:axes]


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # its use of scipy.ndimage.filters
def test_all_scores_are_those_of_surface_distance() -> None:
    import surface_distance as peer

    for prediction, truth, spacing in peers():
        theirs = peer.compute_surface_distances(truth, prediction, spacing)
        areas = theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()
        both_means = peer.compute_average_surface_distance(theirs)
        expected = (
            peer.compute_robust_hausdorff(theirs, 100),
            peer.compute_robust_hausdorff(theirs, 95),
            np.average(both_means, weights=areas),  # it gives the two directed means
            peer.compute_surface_dice_at_tolerance(theirs, 1.1),
        )
        assert scores(measured(prediction, truth, *spacing), 1.1) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_surface_distance_puts_the_tolerance_itself_outside_by_rounding() -> None:
    import surface_distance as peer

    truth, prediction = with_voxels((4, 1), (0, 0)), with_voxels((4, 1), (3, 0))
    theirs = peer.compute_surface_distances(truth, prediction, (0.1, 1.0))
    assert peer.compute_surface_dice_at_tolerance(theirs, 0.3) == 0.5
    assert measured(prediction, truth, 0.1, 1.0).nsd(0.3) == 1.0


def to_monai(mask: np.ndarray):
    import torch

    return torch.from_numpy(mask.copy())[None, None].float()


def test_normalised_surface_dice_is_that_of_monai_with_subvoxels() -> None:
    from monai.metrics import compute_surface_dice

    for prediction, truth, spacing in peers():
        pair = to_monai(prediction), to_monai(truth)
        theirs = compute_surface_dice(*pair, [1.1], include_background=True, spacing=spacing, use_subvoxels=True)
        assert measured(prediction, truth, *spacing).nsd(1.1) == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("percent", [95, 100])
def test_a_shifted_block_is_as_far_as_monai_says(percent: int, spacing: tuple[float, ...]) -> None:
    # Voxels and their corners move alike, so that here the centres of edge voxels give what the corners give.
    from monai.metrics import compute_hausdorff_distance

    truth, prediction = (with_voxels((14, 9, 9), np.s_[k : k + 3, 2:7, 2:7]) for k in (0, 9))
    pair = to_monai(prediction), to_monai(truth)
    theirs = compute_hausdorff_distance(*pair, include_background=True, percentile=percent, spacing=spacing).item()
    assert measured(prediction, truth, *spacing).hausdorff(percent) == pytest.approx(theirs, rel=1e-6)
    assert theirs == pytest.approx(9 * spacing[0])


def test_monai_measures_between_centres_of_edge_voxels() -> None:
    from monai.metrics import compute_average_surface_distance

    truth, prediction = with_voxels((5, 1, 1), (0,)), with_voxels((5, 1, 1), (3,))
    pair = to_monai(prediction), to_monai(truth)
    theirs = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=[2.0, 1.0, 1.0])
    assert theirs.item() == 6.0  # where our surfaces are 5 mm apart on average: 4 at the near faces, 6 at the far ones


@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class:UserWarning")
def test_monais_mean_hd95_of_a_missed_and_a_perfect_case_is_zero_ours_is_not() -> None:
    from monai.metrics import HausdorffDistanceMetric

    block, nothing = with_voxels((6, 6, 6), np.s_[1:4, 1:4, 1:4]), np.zeros((6, 6, 6), bool)
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    metric(to_monai(nothing), to_monai(block))
    assert metric.aggregate().item() == 0.0  # the mean of no number at all
    metric(to_monai(block), to_monai(block))
    assert metric.aggregate().item() == 0.0
    ours = [measured(prediction, block, 1.0, 1.0, 1.0).hausdorff(95.0) for prediction in (nothing, block)]
    assert ours == [DIAGONAL, 0.0]
