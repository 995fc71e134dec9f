"""One row per case and region, and the table of them.

Besides the scores of overlap.py, surface.py, lesions.py and centreline.py a row has the sizes of both masks, with v the
volume of a voxel in ml (in pictures its area in cm2, or 1 pixel where the spacing is unknown), T and P the numbers of
voxels in truth and prediction (volume difference as in Heimann et al., IEEE Trans Med Imaging 2009;28:1251-1265):

=====================  =============  ===========  ==========  ===============
score                  formula        unit         both empty  one of them
=====================  =============  ===========  ==========  ===============
size                   v T, v P       ml, cm2, px  0           as the formula
difference             v P - v T      ml, cm2, px  0           as the formula
error                  v abs(P - T)   ml, cm2, px  0           as the formula
relative error         abs(P - T) / T fraction     0           1
=====================  =============  ===========  ==========  ===============

A region that is not there but was found has the relative error of one that was missed: 1, where the quotient would be
infinite.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Image, LabelArray
from medseg.errors import GeometryError, LabelError
from medseg.evaluation.centreline import centreline_dice
from medseg.evaluation.lesions import LesionRule, lesion_scores
from medseg.evaluation.metrics import in_order, nsd_name
from medseg.evaluation.overlap import Empty, Overlap, labelled_box, overlap_by_region
from medseg.evaluation.plan import ScorePlan
from medseg.evaluation.surface import image_diagonal, surface_distances
from medseg.files import atomic_write
from medseg.geometry import grid_difference, spacing_mm, voxel_volume_ml
from medseg.postprocess.regions import Box, Mask, boxes_of, chosen, memory_order

EVERY_REGION_ALIKE = ScorePlan()
"""Distances of every region; no tolerances, tubes or lesions."""


@dataclass(frozen=True)
class CaseScore:
    """The scores of one region of one case: a row of scores.csv.

    Attributes
    ----------
    case, region
        The case's id and the region's name.
    scores
        By the names of `medseg.evaluation.metrics.METRICS`; finite numbers, defined for empty masks too. A score that
        does not apply to the case is not among them (millimetres where the spacing is unknown), nor one that was not
        asked for.
    empty
        Which mask holds no voxel: "none", "truth", "prediction" or "both".
    """

    case: str
    region: str
    scores: Mapping[str, float]
    empty: Empty


def score_case(
    case_id: str,
    prediction: Image,
    truth: Image,
    regions: Mapping[str, Sequence[int]],
    *,
    spatial_dims: int,
    plan: ScorePlan = EVERY_REGION_ALIKE,
) -> list[CaseScore]:
    """Scores of every region of one case, in the order of `regions`.

    Parameters
    ----------
    case_id
        Names the case in the rows and in errors.
    prediction, truth
        Label maps ``(X, Y[, Z])`` on one grid.
    regions
        Label values that make up each region, not the background.
    spatial_dims
        2 for pictures, 3 for volumes.
    plan
        Tolerances, tubes and lesions.

    Raises
    ------
    GeometryError
        When the two are on different grids: voxel by voxel scores would then compare different places.
    LabelError
        A region holds the background.
    """
    background = [region for region, values in regions.items() if min(values, default=1) < 1]
    if background:
        raise LabelError("a region of background", got=", ".join(background), expected="label values from 1 up")
    difference = grid_difference(prediction, truth, spatial_dims=spatial_dims)
    if difference is not None:
        raise GeometryError(
            f"case {case_id}: prediction {prediction.source.name} and truth {truth.source.name} are on different grids",
            got=difference,
            expected="one grid",
            next_step="score the mask as the tool wrote it, on the grid of the truth, or resample one to the other",
        )
    overlaps = overlap_by_region(prediction.array, truth.array, regions)
    pair = _Pair.of(prediction, truth, regions, spatial_dims)
    rows = []
    for region, one in overlaps.items():
        scores = {**_fractions(one), **_sizes(one, truth, spatial_dims), **_shapes(pair, region, plan)}
        rows.append(CaseScore(case_id, region, scores, one.empty))
    return rows


def write_scores(rows: Iterable[CaseScore], path: Path) -> None:
    """Write the rows as CSV with a header line, numbers with six digits; an existing file is replaced in one step.

    The columns are case, region, the scores that any row has in the order of the registry, and empty; a cell is blank
    where the row has no such score.
    """
    rows = list(rows)
    names = in_order({name for row in rows for name in row.scores})
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "region", *names, "empty"])
        for row in rows:
            table.writerow([row.case, row.region, *(_cell(row.scores.get(name)) for name in names), row.empty])


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _fractions(one: Overlap) -> dict[str, float]:
    return {name: getattr(one, name) for name in ("dice", "iou", "precision", "recall", "specificity")}


def _sizes(one: Overlap, image: Image, spatial_dims: int) -> dict[str, float]:
    """Sizes and their differences, as the module defines them."""
    voxel, unit, kind = _voxel_size(image, spatial_dims)
    truth, predicted = one.truth_voxels * voxel, one.predicted_voxels * voxel
    error = abs(predicted - truth)
    return {
        f"truth_{unit}": truth,
        f"predicted_{unit}": predicted,
        f"{kind}_difference_{unit}": predicted - truth,
        f"{kind}_error_{unit}": error,
        f"{kind}_error_relative": error / truth if truth else float(predicted > 0),
    }


@dataclass(frozen=True)
class _Pair:
    """What is labelled of two label maps, axes in the order of the memory, and where each region lies in either."""

    prediction: LabelArray
    truth: LabelArray
    regions: Mapping[str, Sequence[int]]
    boxes: Mapping[int, Box]
    spacing: tuple[float, ...]
    unit: str
    diagonal: float

    @classmethod
    def of(cls, prediction: Image, truth: Image, regions: Mapping[str, Sequence[int]], spatial_dims: int) -> _Pair:
        """Where the spacing is unknown, lengths are in pixels."""
        order, box = memory_order(truth.array), labelled_box(prediction.array, truth.array)
        arrays = [image.array[box].transpose(order) for image in (prediction, truth)]
        values = sorted({value for members in regions.values() for value in members})
        boxes = [boxes_of(array, values) for array in arrays]
        known = spatial_dims == 3 or truth.spacing_known
        spacing = (spacing_mm(truth.affine) if known else (1.0,) * 3)[: truth.array.ndim]
        return cls(
            arrays[0],
            arrays[1],
            regions,
            {value: _round_both([of[value] for of in boxes if value in of]) for value in {**boxes[0], **boxes[1]}},
            tuple(spacing[axis] for axis in order),
            "mm" if known else "px",
            image_diagonal(truth.array.shape, spacing),
        )

    def masks(self, region: str) -> tuple[Mask, Mask]:
        """Prediction and truth of a region, cut out so that nothing of it is cut off."""
        boxes = [self.boxes[value] for value in self.regions[region] if value in self.boxes]
        box = _round_both(boxes) if boxes else (slice(0, 0),) * self.truth.ndim
        prediction, truth = (chosen(array[box], self.regions[region]) for array in (self.prediction, self.truth))
        return prediction, truth


def _round_both(boxes: Sequence[Box]) -> Box:
    """The smallest box round all of these."""
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )


def _shapes(pair: _Pair, region: str, plan: ScorePlan) -> dict[str, float]:
    """Scores that take more than counts of voxels."""
    prediction, truth = pair.masks(region)
    scores: dict[str, float] = {}
    if plan.distances:
        scores |= _distances(prediction, truth, pair, plan.tolerances(region, pair.unit))
    if region in plan.tubes:
        scores["cldice"] = centreline_dice(prediction, truth)
    if region in plan.lesions:
        scores |= _lesions(prediction, truth, pair, plan.lesions[region])
    return scores


def _distances(prediction: Mask, truth: Mask, pair: _Pair, tolerances: Sequence[float]) -> dict[str, float]:
    distances = surface_distances(prediction, truth, spacing=pair.spacing, diagonal=pair.diagonal)
    return {
        f"hd_{pair.unit}": distances.hausdorff(),
        f"hd95_{pair.unit}": distances.hausdorff(95.0),
        f"assd_{pair.unit}": distances.mean(),
        **{nsd_name(tolerance, pair.unit): distances.nsd(tolerance) for tolerance in tolerances},
    }


def _lesions(prediction: Mask, truth: Mask, pair: _Pair, rule: LesionRule) -> dict[str, float]:
    found = lesion_scores(prediction, truth, rule=rule, spacing=pair.spacing)
    return {
        "lesion_f1": found.f1,
        "lesion_precision": found.precision,
        "lesion_recall": found.recall,
        "panoptic_quality": found.panoptic_quality,
        "lesions_truth": float(found.truth),
        "lesions_predicted": float(found.predicted),
        "lesions_matched": float(found.matched),
    }


def _voxel_size(image: Image, spatial_dims: int) -> tuple[float, str, str]:
    """Size of a voxel, its unit, and what it measures."""
    if spatial_dims == 3:
        return voxel_volume_ml(image.affine), "ml", "volume"
    if not image.spacing_known:
        return 1.0, "px", "area"
    x_mm, y_mm, _ = spacing_mm(image.affine)
    return x_mm * y_mm / 100.0, "cm2", "area"
