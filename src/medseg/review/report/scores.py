"""The scores of an evaluation as tables and plots; numbers are those of scores.csv and summary.json, never new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.evaluation.metrics import METRICS, in_order
from medseg.review.report.charts import Figure, bland_altman, boxes, reliability
from medseg.review.report.folders import Results, Row
from medseg.review.report.svg import fixed
from medseg.review.report.table import Cell, Column, Table, figure, flag_count, text

_BOXED = ("dice", "hd95_mm", "hd95_px", "assd_mm", "assd_px", "cldice", "lesion_f1", "panoptic_quality")
"""Scores with a box plot; each tolerance of the normalised surface Dice has one too."""
_SPREAD = ("sd", "median", "min", "q1", "q3", "max")
_DECIMALS = {"1": 4, "mm": 2, "ml": 2, "cm2": 2, "px": 0, "lesions": 0}
"""Of a score's unit; summary.json and scores.csv have more, by which tables are sorted."""
_ARROWS = {True: "higher is better", False: "lower is better", None: "neither is better"}


def metric_names(rows: Sequence[Row]) -> list[str]:
    """The scores that a table of cases holds, in the registry's order."""
    names = {name for row in rows for name, cell in row.items() if name in METRICS and cell != ""}
    return in_order(names)


def regions_of(rows: Sequence[Row]) -> list[str]:
    """The regions in the order of the table."""
    return list(dict.fromkeys(row["region"] for row in rows))


def mean_dice(rows: Sequence[Row]) -> dict[str, float]:
    """Case to the mean Dice over its regions."""
    by_case: dict[str, list[float]] = {}
    for row in rows:
        if row.get("dice"):
            by_case.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: sum(values) / len(values) for case, values in by_case.items()}


def overview(results: Results) -> Table | None:
    """Mean and interval of each score, by region; None where nothing was scored."""
    regions: Mapping[str, Any] = results.summary.get("regions", {})
    if not regions:
        return None
    together = results.summary.get("mean_over_regions", {})
    names = in_order({name for one in regions.values() for name in one if name in METRICS})
    columns = [Column("Score"), *(Column(region, numeric=True) for region in regions)]
    columns += [Column("mean over regions", "of each case's mean", numeric=True)] if len(regions) > 1 else []
    spreads = [*regions.values(), *([together] if len(regions) > 1 else [])]
    rows = [[_score_name(name), *(_with_interval(name, one.get(name)) for one in spreads)] for name in names]
    return Table(f"Mean of each score with its 95 % interval ({bootstrap(results)})", columns, rows, sortable=False)


def bootstrap(results: Results) -> str:
    """How the intervals were made, in words."""
    how = results.summary.get("bootstrap", {})
    if not how:
        return "how the intervals were made is not stated"
    if how.get("patients") == 1:
        return "none of one patient"
    of = f" of {how['patients']} patients" if how.get("by") == "patient" and "patients" in how else ""
    return (
        f"bootstrap by {how.get('by', 'case')}{of}, {how.get('resamples', '?')} resamples, seed {how.get('seed', '?')}"
    )


def spreads(results: Results) -> Table | None:
    """All that summary.json says of each region and score."""
    regions: Mapping[str, Any] = results.summary.get("regions", {})
    rows = [
        [text(region), _score_name(name), *_spread_cells(name, one[name])]
        for region, one in regions.items()
        for name in in_order({key for key in one if key in METRICS})
    ]
    if not rows:
        return None
    columns = [Column("Region"), Column("Score"), Column("n", numeric=True), Column("mean", numeric=True)]
    columns += [Column("from", "lower end of the 95 % interval of the mean", numeric=True)]
    columns += [Column("to", "upper end of the 95 % interval of the mean", numeric=True)]
    columns += [Column(key, numeric=True) for key in _SPREAD]
    return Table("Spread over the cases, with the 95 % interval of the mean", columns, rows)


def strata(results: Results) -> list[Table]:
    """Mean Dice of each region in each stratum, one table for each column that splits the cases."""
    return [_stratum_table(name, parts) for name, parts in results.summary.get("strata", {}).items()]


def _stratum_table(name: str, parts: Mapping[str, Any]) -> Table:
    regions = list(dict.fromkeys(region for part in parts.values() for region in part.get("regions", {})))
    columns = [Column(name), Column("Cases", numeric=True), *(Column(f"Dice {one}", numeric=True) for one in regions)]
    rows = [
        [
            text(stratum),
            figure(part.get("cases"), decimals=0),
            *(_with_interval("dice", part.get("regions", {}).get(region, {}).get("dice")) for region in regions),
        ]
        for stratum, part in parts.items()
    ]
    return Table(f"Mean Dice with its 95 % interval by {name}", columns, rows)


def empties(results: Results) -> str:
    """In words, how many masks were empty: they count in every mean."""
    parts = []
    for region, one in results.summary.get("regions", {}).items():
        empty = one.get("empty", {})
        told = [f"{count} {_EMPTY[which]}" for which, count in empty.items() if count and which in _EMPTY]
        if told:
            parts.append(f"{region}: {', '.join(told)}")
    if not parts:
        return "No mask is empty, neither a true nor a predicted one."
    return f"Empty masks, which count in every mean: {'; '.join(parts)}."


_EMPTY = {
    "truth": "with an empty truth only",
    "prediction": "with an empty prediction only",
    "both": "with both empty",
}


def case_table(results: Results, flagged: Mapping[str, int] | None, links: Mapping[str, str]) -> Table | None:
    """scores.csv as it is, flagged cases first.

    Parameters
    ----------
    flagged
        Case to its number of flags; None where nobody looked for any.
    links
        Case to the id of its picture in the page.
    """
    if not results.scores:
        return None
    names = metric_names(results.scores)
    columns = [Column("Case"), Column("Region"), Column("Flags", "reasons to look at the case", numeric=True)]
    sure = {case: results.confidence(case) for case in results.manifests}
    known = any(value is not None for value in sure.values())
    columns += [Column("Confidence", "mean over the voxels of the case's labels", numeric=True)] * known
    columns += [Column(METRICS[name].heading, _meaning(name), numeric=True) for name in names]
    columns += [Column("Empty", "which mask holds no voxel")]
    ordered = sorted(results.scores, key=lambda row: (not (flagged or {}).get(row["case"]), row["case"]))
    rows = [
        [
            Cell(row["case"], row["case"], link=links.get(row["case"], "")),
            text(row["region"]),
            flag_count(flagged, row["case"]),
            *([figure(sure.get(row["case"]), decimals=4)] * known),
            *(figure(row.get(name, ""), decimals=decimals_of(name)) for name in names),
            text(row.get("empty", "")),
        ]
        for row in ordered
    ]
    marked = frozenset(i for i, row in enumerate(ordered) if (flagged or {}).get(row["case"]))
    return Table("Scores of each case and region", columns, rows, marked=marked)


def plots(results: Results) -> list[Figure]:
    """Box plots, Bland-Altman plots of sizes and measurements, and the reliability curve, as far as there is data."""
    if len({row["case"] for row in results.scores}) < 2:  # one case has no spread
        return _reliability(results)
    return [*_box_plots(results.scores), *_agreements(results), *_reliability(results)]


def calibration(results: Results) -> Table | None:
    """How far confidence is off, of all classes and of each."""
    found = results.summary.get("calibration")
    if not found:
        return None
    keys = [key for key in ("ece", "brier") if key in found]
    lines = [("all classes", found), *found.get("classes", {}).items()]
    rows = [[text(name), *(figure(one.get(key)) for key in keys), figure(one.get("voxels"))] for name, one in lines]
    columns = [Column("Class"), *(Column(_CALIBRATION[key], "0 is best", numeric=True) for key in keys)]
    columns += [Column("Voxels given the class", numeric=True)]
    return Table(f"Calibration over {found.get('cases', '?')} cases", columns, rows, sortable=False)


def confidence_of_cases(results: Results) -> str:
    """In words, how sure the network was, and whether it was less sure of bad cases; empty where it is not known."""
    found = results.summary.get("calibration", {}).get("case_confidence")
    if not found or found.get("mean") is None:
        return ""
    rank = found.get("spearman_with_worst_dice")
    told = f"Mean confidence of a case: {fixed(found['mean'], 4)}"
    if rank is None:
        return f"{told}; too few or too equal cases to tell whether it is lower for bad ones."
    return f"{told}; its rank correlation with the worst Dice of the case is {fixed(rank, 2)} (1: it tells bad cases)."


_CALIBRATION = {"ece": "Expected calibration error", "brier": "Brier score"}


def _box_plots(rows: Sequence[Row]) -> list[Figure]:
    figures = []
    for name in (name for name in metric_names(rows) if name in _BOXED or name.startswith("nsd_")):
        groups = {region: _pairs(rows, region, name) for region in regions_of(rows)}
        filled = {region: many for region, many in groups.items() if many}
        figures.append(boxes(METRICS[name].title, filled, label=METRICS[name].heading))
    return figures


def _pairs(rows: Sequence[Row], region: str, name: str) -> list[tuple[str, float]]:
    return [(row["case"], float(row[name])) for row in rows if row["region"] == region and row.get(name)]


def _agreements(results: Results) -> list[Figure]:
    figures = []
    for unit in ("ml", "cm2", "px"):
        kind = "Volume" if unit == "ml" else "Area"
        for region in regions_of(results.scores):
            found = [
                (row["case"], float(row[f"truth_{unit}"]), float(row[f"predicted_{unit}"]))
                for row in results.scores
                if row["region"] == region and row.get(f"truth_{unit}") and row.get(f"predicted_{unit}")
            ]
            if found:
                figures.append(bland_altman(f"{kind} of {region}", found, unit=unit))
    for name in dict.fromkeys(row["measurement"] for row in results.measurements):
        measured = [
            (row["case"], float(row["truth"]), float(row["predicted"]))
            for row in results.measurements
            if row["measurement"] == name and row["truth"] and row["predicted"]
        ]
        if measured:
            figures.append(bland_altman(name.replace("_", " ").capitalize(), measured, unit=""))
    return figures


def _reliability(results: Results) -> list[Figure]:
    classes: dict[str, list[tuple[float, float, float]]] = {}
    for row in results.reliability:
        if row.get("accuracy") and row.get("mean_confidence"):
            name = row.get("name") or f"label {row.get('label', '')}"
            values = (float(row["mean_confidence"]), float(row["accuracy"]), float(row["voxels"]))
            classes.setdefault(name, []).append(values)
    if not classes:
        return []
    return [reliability("Reliability", classes, ece=results.summary.get("calibration", {}).get("ece"))]


def _score_name(name: str) -> Cell:
    return Cell(METRICS[name].heading, name, detail=_ARROWS[METRICS[name].higher_is_better])


def _meaning(name: str) -> str:
    return f"{_ARROWS[METRICS[name].higher_is_better]}; {METRICS[name].source}"


def _with_interval(name: str, spread: Mapping[str, Any] | None) -> Cell:
    if not spread:
        return figure(None)
    decimals = max(decimals_of(name), 1)
    ends = spread.get("mean_ci95")
    interval = f"[{', '.join(fixed(end, decimals) for end in ends)}]" if ends else ""
    return figure(spread["mean"], decimals=decimals, detail=interval)


def _spread_cells(name: str, spread: Mapping[str, Any]) -> list[Cell]:
    decimals = max(decimals_of(name), 1)
    low, high = spread.get("mean_ci95") or (None, None)
    values = [spread.get("mean"), low, high, *(spread.get(key) for key in _SPREAD)]
    return [figure(spread.get("n"), decimals=0), *(figure(value, decimals=decimals) for value in values)]


def decimals_of(name: str) -> int:
    """Digits behind the point that a score is shown with."""
    return 2 if name.startswith(("hd", "assd")) else _DECIMALS[METRICS[name].unit]
