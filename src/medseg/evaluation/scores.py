"""One row per case and region, and the table of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Image
from medseg.errors import GeometryError
from medseg.evaluation.metrics import in_order
from medseg.evaluation.overlap import Empty, Overlap, overlap_by_region
from medseg.files import atomic_write
from medseg.geometry import grid_difference, spacing_mm, voxel_volume_ml


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
    overlaps = overlap_by_region(prediction.array, truth.array, regions)
    return [
        CaseScore(case_id, region, {**_fractions(one), **_sizes(one, truth, spatial_dims)}, one.empty)
        for region, one in overlaps.items()
    ]


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
    """Sizes and their differences; relative to the truth, 1 where only the truth is empty."""
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


def _voxel_size(image: Image, spatial_dims: int) -> tuple[float, str, str]:
    """Size of a voxel, its unit, and what it measures."""
    if spatial_dims == 3:
        return voxel_volume_ml(image.affine), "ml", "volume"
    if not image.spacing_known:
        return 1.0, "px", "area"
    x_mm, y_mm, _ = spacing_mm(image.affine)
    return x_mm * y_mm / 100.0, "cm2", "area"
