"""The regions of one case: scores where there is a truth, sizes, and what was predicted of the Dice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.evaluation.metrics import METRICS
from medseg.review.report.folders import Results
from medseg.review.report.predictions import label_confidence, label_size, size_heading, size_unit
from medseg.review.report.scores import decimals_of
from medseg.review.report.table import Cell, Column, Table, figure, text

_SHOWN = (
    "dice",
    "hd95_mm",
    "hd95_px",
    "truth_ml",
    "predicted_ml",
    "truth_cm2",
    "predicted_cm2",
    "truth_px",
    "predicted_px",
)
_EXPECTED = Column("Predicted Dice", "what the bundle's regression expects, without the truth", numeric=True)


def region_table(results: Results, case: str) -> Table | None:
    """One row a region of the case; None where nothing is known of it."""
    manifest = results.manifests.get(case, {})
    table = _scored(results, case, manifest) or _predicted(results, case, manifest)
    return table if table is not None and table.rows else None


def _scored(results: Results, case: str, manifest: Mapping[str, Any]) -> Table | None:
    mine = [row for row in results.scores if row["case"] == case]
    if not mine:
        return None
    names = [name for name in _SHOWN if any(row.get(name) for row in mine)]
    expected = _expected(manifest)
    columns = [Column("Region"), *(Column(METRICS[name].heading, numeric=True) for name in names)]
    rows = [
        [
            text(row["region"]),
            *(figure(row.get(name, ""), decimals=decimals_of(name)) for name in names),
            *_expected_cell(expected, row["region"]),
        ]
        for row in mine
    ]
    return Table(f"Regions of {case}", [*columns, *([_EXPECTED] if expected else [])], rows, sortable=False)


def _predicted(results: Results, case: str, manifest: Mapping[str, Any]) -> Table | None:
    unit, expected = size_unit(results), _expected(manifest)
    columns = [Column("Region"), Column(size_heading(unit), numeric=True), Column("Confidence", numeric=True)]
    rows = [
        [
            text(label["name"]),
            figure(label_size(manifest, label["name"], unit)),
            figure(label_confidence(manifest, label["name"]), decimals=4),
            *_expected_cell(expected, label["name"]),
        ]
        for label in manifest.get("labels", [])
    ]
    return Table(f"Regions of {case}", [*columns, *([_EXPECTED] if expected else [])], rows, sortable=False)


def _expected(manifest: Mapping[str, Any]) -> dict[str, float]:
    found = manifest.get("predicted_dice")
    if not isinstance(found, Mapping):
        return {}
    return {str(region): float(value) for region, value in found.items() if isinstance(value, (int, float))}


def _expected_cell(expected: Mapping[str, float], region: str) -> list[Cell]:
    return [figure(expected.get(region), decimals=2)] if expected else []
