"""One row per case and region, and the table of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

from medseg.case import Image
from medseg.errors import GeometryError
from medseg.evaluation.overlap import Empty, Overlap, overlap_by_region
from medseg.files import atomic_write
from medseg.geometry import grid_difference, spacing_mm, voxel_volume_ml

SizeUnit: TypeAlias = Literal["ml", "cm2", "px"]


@dataclass(frozen=True)
class CaseScore:
    """The scores of one region of one case: a row of scores.csv.

    Attributes
    ----------
    case, region
        The case's id and the region's name.
    dice, iou, precision, recall
        Fractions from 0 to 1, defined for empty masks too (`medseg.evaluation.overlap`).
    truth_size, predicted_size
        Size of the region in `size_unit`.
    size_unit
        "ml" for volumes; for pictures "cm2", or "px" where the pixel spacing is unknown.
    empty
        Which mask holds no voxel: "none", "truth", "prediction" or "both".
    """

    case: str
    region: str
    dice: float
    iou: float
    precision: float
    recall: float
    truth_size: float
    predicted_size: float
    size_unit: SizeUnit
    empty: Empty


def score_case(
    case_id: str, prediction: Image, truth: Image, regions: Mapping[str, Sequence[int]], *, spatial_dims: int
) -> list[CaseScore]:
    """Scores of every region of one case, in the order of `regions`.

    Parameters
    ----------
    case_id
        Names the case in the rows and in errors.
    prediction, truth
        Label maps ``(X, Y[, Z])`` on one grid.
    regions
        Label values that make up each region.
    spatial_dims
        2 for pictures, 3 for volumes.

    Raises
    ------
    GeometryError
        When the two are on different grids: voxel by voxel scores would then compare different places.
    """
    difference = grid_difference(prediction, truth, spatial_dims=spatial_dims)
    if difference is not None:
        raise GeometryError(
            f"case {case_id}: prediction {prediction.source.name} and truth {truth.source.name} are on different grids",
            got=difference,
            expected="one grid",
            next_step="score the mask as the tool wrote it, on the grid of the truth, or resample one to the other",
        )
    size, unit = _voxel_size(truth, spatial_dims)
    scores = overlap_by_region(prediction.array, truth.array, regions)
    return [_row(case_id, region, score, size, unit) for region, score in scores.items()]


def write_scores(rows: Iterable[CaseScore], path: Path) -> None:
    """Write the rows as CSV with a header line, numbers with six digits; an existing file is replaced in one step."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(CaseScore)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def _row(case_id: str, region: str, score: Overlap, voxel_size: float, unit: SizeUnit) -> CaseScore:
    return CaseScore(
        case=case_id,
        region=region,
        dice=score.dice,
        iou=score.iou,
        precision=score.precision,
        recall=score.recall,
        truth_size=score.truth_voxels * voxel_size,
        predicted_size=score.predicted_voxels * voxel_size,
        size_unit=unit,
        empty=score.empty,
    )


def _voxel_size(image: Image, spatial_dims: int) -> tuple[float, SizeUnit]:
    if spatial_dims == 3:
        return voxel_volume_ml(image.affine), "ml"
    if not image.spacing_known:
        return 1.0, "px"
    x_mm, y_mm, _ = spacing_mm(image.affine)
    return x_mm * y_mm / 100.0, "cm2"
