"""Predictions without truth: volumes, confidence and flags of each case, as tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from medseg.review.report.charts import Figure, boxes
from medseg.review.report.folders import Results
from medseg.review.report.svg import number
from medseg.review.report.table import Cell, Column, Table, figure, flag_count

_SIZES = (("volume_ml", "Volume (ml)"), ("area_cm2", "Area (cm\N{SUPERSCRIPT TWO})"), ("voxels", "Area (px)"))


def label_names(results: Results) -> list[str]:
    """The labels that any manifest names."""
    return list(dict.fromkeys(label["name"] for one in results.manifests.values() for label in one.get("labels", [])))


def prediction_table(results: Results, flagged: Mapping[str, int] | None, links: Mapping[str, str]) -> Table | None:
    """Size and confidence of each label, and the measurements, of each case, flagged cases first."""
    if not results.manifests:
        return None
    names, measured = label_names(results), _measurements(results)
    unit = size_unit(results)
    columns = [Column("Case"), Column("Flags", "reasons to look at the case", numeric=True)]
    columns += [Column("Confidence", "mean over the voxels of the case's labels", numeric=True)]
    columns += [Column(f"{name}: {size_heading(unit)}", numeric=True) for name in names]
    columns += [Column(f"{name}: confidence", "mean largest probability of its voxels", numeric=True) for name in names]
    columns += [Column(name.replace("_", " "), numeric=True) for name in measured]
    ordered = sorted(results.manifests, key=lambda case: (not (flagged or {}).get(case), case))
    rows = [
        [
            Cell(case, case, link=links.get(case, "")),
            flag_count(flagged, case),
            figure(results.confidence(case)),
            *(figure(label_size(results.manifests[case], name, unit)) for name in names),
            *(figure(label_confidence(results.manifests[case], name)) for name in names),
            *(figure(results.manifests[case].get("measurements", {}).get(name)) for name in measured),
        ]
        for case in ordered
    ]
    marked = frozenset(i for i, case in enumerate(ordered) if (flagged or {}).get(case))
    return Table("Each case: sizes and confidence of its labels", columns, rows, marked=marked)


def prediction_plots(results: Results) -> list[Figure]:
    """Box plots of sizes and confidences over the cases; none of one case, which has no spread."""
    if len(results.manifests) < 2:
        return []
    unit = size_unit(results)
    sizes = _by_label(results, lambda manifest, name: label_size(manifest, name, unit))
    sure = _by_label(results, label_confidence)
    figures = []
    if sizes:
        figures.append(boxes(size_heading(unit).split(" (", maxsplit=1)[0], sizes, label=size_heading(unit)))
    if sure:
        figures.append(boxes("Confidence", sure, label="mean confidence of the label's voxels"))
    return figures


def medians(results: Results) -> list[tuple[str, str, str]]:
    """Label, its median size in words, and over how many cases."""
    unit = size_unit(results)
    sizes = _by_label(results, lambda manifest, name: label_size(manifest, name, unit))
    words = {"volume_ml": "ml", "area_cm2": "cm\N{SUPERSCRIPT TWO}", "voxels": "px"}[unit]
    return [
        (
            name,
            f"{number(median(value for _, value in many))} {words}",
            f"median of {len(many)}" if len(many) > 1 else "predicted",
        )
        for name, many in sizes.items()
    ]


def size_unit(results: Results) -> str:
    """The key of the sizes that all manifests have: ml, else cm2, else voxels."""
    labels = [label for one in results.manifests.values() for label in one.get("labels", [])]
    return next((key for key, _ in _SIZES if labels and all(key in label for label in labels)), "voxels")


def _by_label(results: Results, value_of: Any) -> dict[str, Sequence[tuple[str, float]]]:
    found: dict[str, Sequence[tuple[str, float]]] = {}
    for name in label_names(results):
        values = [(case, value_of(manifest, name)) for case, manifest in results.manifests.items()]
        known = [(case, float(value)) for case, value in values if value is not None]
        if known:
            found[name] = known
    return found


def size_heading(unit: str) -> str:
    """The heading of a column of sizes."""
    return next(title for key, title in _SIZES if key == unit)


def label_size(manifest: Mapping[str, Any], name: str, unit: str) -> float | None:
    """Size of a label in the unit; None where the manifest does not have it."""
    return next((label.get(unit) for label in manifest.get("labels", []) if label["name"] == name), None)


def label_confidence(manifest: Mapping[str, Any], name: str) -> float | None:
    """How sure the network was of the voxels of a label; None where there are none."""
    return next((one["mean_confidence"] for one in manifest.get("confidence", []) if one["name"] == name), None)


def _measurements(results: Results) -> list[str]:
    return list(dict.fromkeys(name for one in results.manifests.values() for name in one.get("measurements", {})))
