"""Dice, IoU, precision, recall and specificity of two masks, defined for every pair of masks, also for empty ones.

With TP, FP, FN, TN the counts of voxels in both masks, only in the prediction, only in the truth, in neither (formulas
as in Metrics Reloaded, Maier-Hein et al., Nat Methods 2024;21:195-212); all are fractions:

===========  =======================  ==========  ==========================  ========================
score        formula                  both empty  only the truth empty        only the prediction empty
===========  =======================  ==========  ==========================  ========================
Dice         2 TP / (2 TP + FP + FN)  1           0                           0
IoU          TP / (TP + FP + FN)      1           0                           0
precision    TP / (TP + FP)           1           0                           0
recall       TP / (TP + FN)           1           0                           0
specificity  TN / (TN + FP)           1           TN / (TN + FP)              1
===========  =======================  ==========  ==========================  ========================

Two empty masks agree perfectly. Where only one is empty nothing overlaps, so Dice, IoU, precision and recall are 0;
that settles the two quotients 0 / 0 (recall without truth, precision without prediction) to the strict side.
Specificity is about the voxels outside the truth and needs no such rule, but for a truth that fills the image, where it
is 1: nothing can be marked wrongly. So no score is ever NaN and none can drop out of a mean; how many masks were empty
is counted beside each mean. Specificity grows with the field of view: nearly all voxels of a volume are background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.case import LabelArray
from medseg.postprocess.regions import Box, box_of, memory_order

Empty: TypeAlias = Literal["none", "truth", "prediction", "both"]
"""Which of the two masks holds no voxel."""

_TABLE_UP_TO = 1 << 20
"""Label values up to here are looked up in a table; a label map may hold values up to two thousand million."""


@dataclass(frozen=True)
class Overlap:
    """How far two masks agree; the module's docstring defines the scores.

    Attributes
    ----------
    dice, iou, precision, recall, specificity
        2 TP / (2 TP + FP + FN), TP / (TP + FP + FN), TP / (TP + FP), TP / (TP + FN), TN / (TN + FP): fractions from 0
        to 1, never NaN (Metrics Reloaded).
    truth_voxels, predicted_voxels
        Sizes of the masks.
    empty
        Which mask is empty.
    """

    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float
    truth_voxels: int
    predicted_voxels: int
    empty: Empty


def overlap(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    """Scores of two boolean masks of one shape, of any number of axes."""
    shared = int(np.count_nonzero(prediction & truth))
    return _from_counts(shared, int(np.count_nonzero(truth)), int(np.count_nonzero(prediction)), truth.size)


def overlap_by_region(
    prediction: LabelArray, truth: LabelArray, regions: Mapping[str, Sequence[int]]
) -> dict[str, Overlap]:
    """Scores of each region of two label maps, from one pass over the voxels.

    Parameters
    ----------
    prediction, truth
        Label maps ``(X, Y[, Z])`` of one shape; not negative.
    regions
        Label values that make up each region, for example ``{"lungs": [1, 2], "heart": [3]}``; regions may overlap.
    """
    values = sorted({value for members in regions.values() for value in members})
    joint = _joint_histogram(prediction, truth, values)
    scores = {}
    for name, members in regions.items():
        inside = [values.index(value) for value in set(members)]
        shared = int(joint[np.ix_(inside, inside)].sum())
        scores[name] = _from_counts(shared, int(joint[inside].sum()), int(joint[:, inside].sum()), truth.size)
    return scores


def label_values(labels: LabelArray) -> list[int]:
    """The values that a label map ``(X, Y[, Z])`` holds, rising; not negative.

    A volume of 512 x 512 x 200 takes a tenth of a second, where sorting its voxels takes many.
    """
    if labels.max(initial=0) > _TABLE_UP_TO:
        return np.unique(labels).tolist()
    found = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    for part in labels.transpose(memory_order(labels)):
        found[part] = True
    return np.flatnonzero(found).tolist()


def labelled_box(prediction: LabelArray, truth: LabelArray) -> Box:
    """The smallest box outside of which both label maps are 0; of no voxels where both are 0 all over."""
    order = memory_order(truth)
    labelled = (prediction.transpose(order) != 0) | (truth.transpose(order) != 0)
    box = box_of(labelled) or (slice(0, 0),) * truth.ndim
    return tuple(box[order.index(axis)] for axis in range(truth.ndim))


def _joint_histogram(prediction: LabelArray, truth: LabelArray, values: Sequence[int]) -> NDArray[np.int64]:
    """Count of voxels (truth, prediction) for each pair of `values`; the last row and column are all other values."""
    box, voxels = labelled_box(prediction, truth), truth.size
    prediction, truth = prediction[box], truth[box]
    n, place = len(values) + 1, _places(values)
    joint = np.zeros(n * n, dtype=np.int64)
    order = memory_order(truth)
    slices = zip(truth.transpose(order), prediction.transpose(order), strict=True)
    for true, predicted in slices:  # the whole volume as intp would be eight times its size
        joint += np.bincount((place(true) * n + place(predicted)).ravel(), minlength=n * n)
    outside = int(place(np.zeros(1, dtype=np.uint8))[0])
    joint[outside * n + outside] += voxels - truth.size
    return joint.reshape(n, n)


def _places(values: Sequence[int]) -> Callable[[LabelArray], NDArray[np.intp]]:
    """From label maps to the place of each voxel's value in the rising `values`; their number for all others."""
    rising = np.asarray(values, dtype=np.int64)
    highest = max(values, default=0)
    if highest > _TABLE_UP_TO:

        def searched(labels: LabelArray) -> NDArray[np.intp]:
            found = np.searchsorted(rising, labels)
            return np.where(rising.take(found, mode="clip") == labels, found, len(values))

        return searched
    table = np.full(highest + 2, len(values), dtype=np.intp)  # the last entry stands for whatever lies above `highest`
    table[rising] = np.arange(len(values))
    return lambda labels: table.take(labels, mode="clip")


def _from_counts(shared: int, truth: int, prediction: int, voxels: int) -> Overlap:
    outside = voxels - truth
    specificity = 1.0 - (prediction - shared) / outside if outside else 1.0
    empty = _which_is_empty(truth, prediction)
    if shared == 0:
        score = 1.0 if empty == "both" else 0.0
        return Overlap(score, score, score, score, specificity, truth, prediction, empty)
    return Overlap(
        dice=2 * shared / (truth + prediction),
        iou=shared / (truth + prediction - shared),
        precision=shared / prediction,
        recall=shared / truth,
        specificity=specificity,
        truth_voxels=truth,
        predicted_voxels=prediction,
        empty="none",
    )


def _which_is_empty(truth: int, prediction: int) -> Empty:
    if truth == 0:
        return "both" if prediction == 0 else "truth"
    return "prediction" if prediction == 0 else "none"
