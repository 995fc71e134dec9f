"""How many lesions were found: connected components matched one to one, F1 and panoptic quality.

A lesion is a connected component of a mask. A true and a predicted lesion may match when they meet the rule: by
overlap, when the intersection over union of the two is above a limit (at 0: they share a voxel); by distance, when
their centres of mass are near enough. Each lesion is in one pair at most; where there is a choice, the matching has the
most pairs that are possible, and among these the largest sum of IoU (by distance: the smallest sum of distances).

With TP the matched pairs, FP the predicted and FN the true lesions that are left over, and IoU that of a matched pair
(formulas as in Metrics Reloaded, Maier-Hein et al., Nat Methods 2024;21:195-212, and Kirillov et al., Panoptic
Segmentation, CVPR 2019:9404-9413); all are fractions:

================  ===================================  ==========  ==============
score             formula                              both empty  one of them
================  ===================================  ==========  ==============
lesion precision  TP / (TP + FP)                       1           0
lesion recall     TP / (TP + FN)                       1           0
lesion F1         2 TP / (2 TP + FP + FN)              1           0
panoptic quality  sum of IoU / (TP + FP / 2 + FN / 2)  1           0
================  ===================================  ==========  ==============
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BundleError
from medseg.evaluation.surface import ROUNDING
from medseg.postprocess.regions import Connectivity, Regions, check_axes, check_connectivity, regions_of

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionRule:
    """When a predicted lesion is a true one: by overlap or by distance, exactly one of the two.

    Attributes
    ----------
    iou_above
        By overlap: match where the intersection over union is larger; 0 asks for one voxel in common, from 0.5 on no
        lesion has a choice.
    centres_within
        By distance: match where the centres of mass are at most so far apart, in mm (pixels in pictures of unknown
        spacing).
    connectivity
        Which voxels make one lesion: 6, 18 or 26 in volumes, 4 or 8 in pictures; None for those that share a corner,
        26 or 8.
    """

    iou_above: float | None = None
    centres_within: float | None = None
    connectivity: Connectivity | None = None

    def __post_init__(self) -> None:
        if self.connectivity is not None:
            check_connectivity("LesionRule", self.connectivity)
        if (self.iou_above is None) == (self.centres_within is None):
            raise BundleError(
                "LesionRule: matched by overlap or by distance",
                got=f"iou_above {self.iou_above}, centres_within {self.centres_within}",
                expected="exactly one of the two",
            )
        if self.iou_above is not None and not 0.0 <= self.iou_above < 1.0:
            raise BundleError("LesionRule: iou_above", got=self.iou_above, expected="from 0 to below 1")
        if self.centres_within is not None and not 0.0 < self.centres_within < np.inf:
            raise BundleError("LesionRule: centres_within", got=self.centres_within, expected="a distance above 0")


@dataclass(frozen=True)
class LesionScores:
    """Lesions of one case; the module's docstring defines the scores.

    Attributes
    ----------
    truth, predicted, matched
        Numbers of true and of predicted lesions, and of matched pairs.
    iou_sum
        Sum of the intersection over union of the matched pairs.
    """

    truth: int
    predicted: int
    matched: int
    iou_sum: float

    @property
    def precision(self) -> float:
        """TP / (TP + FP), a fraction of the predicted lesions; Metrics Reloaded. See the module for empty masks."""
        return self.matched / self.predicted if self.predicted else float(self.truth == 0)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), a fraction of the true lesions; Metrics Reloaded. See the module for empty masks."""
        return self.matched / self.truth if self.truth else float(self.predicted == 0)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), a fraction; Metrics Reloaded. 1 where there is no lesion at all."""
        return 2 * self.matched / (self.truth + self.predicted) if self.truth + self.predicted else 1.0

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU / (TP + FP / 2 + FN / 2), a fraction: F1 times the mean IoU of the pairs; Kirillov et al. 2019.

        1 where there is no lesion at all.
        """
        return 2 * self.iou_sum / (self.truth + self.predicted) if self.truth + self.predicted else 1.0


def lesion_scores(prediction: Mask, truth: Mask, *, rule: LesionRule, spacing: Sequence[float]) -> LesionScores:
    """Match the connected components of two masks.

    Parameters
    ----------
    prediction, truth
        ``(X, Y, Z)`` or ``(X, Y)``, of one shape; they may be cut out of the image as long as nothing is cut off.
    rule
        What a lesion is, and when two match.
    spacing
        Of the voxels along each axis, in mm, or 1 for pixels.

    Raises
    ------
    BundleError
        The connectivity is not one of this number of axes.
    """
    connectivity = rule.connectivity or (26 if truth.ndim == 3 else 8)
    check_axes("LesionRule", connectivity, truth.ndim)
    if not (truth.any() or prediction.any()):
        return LesionScores(0, 0, 0, 0.0)
    true, predicted = (regions_of(mask, connectivity) for mask in (truth, prediction))
    if not (true.count and predicted.count):
        return LesionScores(true.count, predicted.count, 0, 0.0)
    overlap = _overlapping(true, predicted)
    if rule.iou_above is not None:
        enough = overlap.worth > rule.iou_above
        candidates = _Pairs(overlap.true[enough], overlap.predicted[enough], overlap.worth[enough])
    else:
        assert rule.centres_within is not None
        candidates = _near(true, predicted, rule.centres_within, spacing)
    matched = _best(candidates)
    iou = dict(zip(zip(overlap.true.tolist(), overlap.predicted.tolist(), strict=True), overlap.worth, strict=True))
    return LesionScores(true.count, predicted.count, len(matched), float(sum(iou.get(pair, 0.0) for pair in matched)))


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a true and a predicted lesion, by number, and what each is worth, at most 1."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    worth: NDArray[np.float64]


def _overlapping(true: Regions, predicted: Regions) -> _Pairs:
    """The pairs that share a voxel, with their intersection over union."""
    both = (true.numbers != 0) & (predicted.numbers != 0)
    width = predicted.count + 1
    keys, shared = np.unique(true.numbers[both].astype(np.int64) * width + predicted.numbers[both], return_counts=True)
    t, p = np.divmod(keys, width)
    union = _sizes(true)[t] + _sizes(predicted)[p] - shared
    return _Pairs(t, p, shared / union)


def _near(true: Regions, predicted: Regions, within: float, spacing: Sequence[float]) -> _Pairs:
    """The pairs whose centres of mass are at most `within` apart, the nearer the worthier."""
    from scipy.spatial import cKDTree

    trees = [cKDTree(_centres(regions, spacing)) for regions in (true, predicted)]
    found = trees[0].sparse_distance_matrix(trees[1], within * (1 + ROUNDING), output_type="ndarray")
    return _Pairs(found["i"].astype(np.int64) + 1, found["j"].astype(np.int64) + 1, 1.0 - found["v"] / within)


def _sizes(regions: Regions) -> NDArray[np.int64]:
    return np.bincount(np.ravel(regions.numbers), minlength=regions.count + 1)


def _centres(regions: Regions, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Centres of mass, a row a region."""
    where = np.nonzero(regions.numbers)
    number = regions.numbers[where].astype(np.int64)
    sums = [np.bincount(number, weights=axis, minlength=regions.count + 1)[1:] for axis in where]
    return np.stack(sums, axis=1) / np.bincount(number)[1:, None] * np.asarray(spacing)


def _best(candidates: _Pairs) -> list[tuple[int, int]]:
    """The matching of most pairs, and of these the one of largest worth; each lesion at most once.

    Group by group of lesions that compete: most groups are a single pair.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(candidates.worth):
        return []
    first = int(candidates.true.max()) + 1
    nodes = first + int(candidates.predicted.max()) + 1
    edges = (np.ones(len(candidates.worth)), (candidates.true, candidates.predicted + first))
    _, group = connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)
    order = np.argsort(group[candidates.true], kind="stable")
    starts = np.flatnonzero(np.diff(group[candidates.true][order], prepend=-1))
    matched: list[tuple[int, int]] = []
    for members in np.split(order, starts[1:]):
        matched += _assigned(candidates.true[members], candidates.predicted[members], candidates.worth[members])
    return matched


def _assigned(
    true: NDArray[np.int64], predicted: NDArray[np.int64], worth: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """`_best` of lesions that compete."""
    from scipy.optimize import linear_sum_assignment

    if len(worth) == 1:
        return [(int(true[0]), int(predicted[0]))]
    rows, row = np.unique(true, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    gain = np.zeros((len(rows), len(columns)))
    gain[row, column] = min(gain.shape) + 1.0 + worth  # one more pair is worth more than all others' IoU together
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(rows[i]), int(columns[j])) for i, j in chosen if gain[i, j] > 0]
