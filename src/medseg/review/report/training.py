"""The curves of a training, from its history.csv."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.review.report.charts import Figure, curves
from medseg.review.report.folders import Row
from medseg.review.report.table import Column, Table, figure


def history_plots(history: Sequence[Row]) -> list[Figure]:
    """Loss, validation Dice and IoU, learning rate over the epochs; those that history.csv has."""
    rate = _points(history, "learning_rate")
    figures = [_plot("Loss", {"training": _points(history, "loss")}, "loss")]
    for score, title in (("dice", "Dice (validation)"), ("iou", "IoU (validation)")):
        names = score_columns(history, score)
        series = {_title(name): _points(history, name) for name in names}
        figures.append(_plot(title, series, title.split(" (")[0], first=int(all("/" in name for name in names))))
    figures.append(_plot("Learning rate", {"learning rate": rate}, "learning rate", log=_spans(rate)))
    return [one for one in figures if one is not None]


def history_table(history: Sequence[Row]) -> Table:
    """history.csv as it is."""
    names = list(history[0])
    columns = [Column(name.replace("_", " "), numeric=True) for name in names]
    return Table("Each epoch", columns, [[figure(row[name]) for name in names] for row in history])


def score_columns(history: Sequence[Row], score: str) -> list[str]:
    """Columns of one score of the validation, the mean first."""
    names = [name for name in (history[0] if history else {}) if name.startswith("val_") and score in name]
    return sorted(names, key=lambda name: "/" in name)


def _plot(
    title: str, series: dict[str, list[tuple[float, float]]], label: str, *, log: bool = False, first: int = 0
) -> Figure | None:
    filled = {name: points for name, points in series.items() if points}
    return curves(title, filled, y_label=label, log=log, first=first) if filled else None


def _points(history: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[name])) for row in history if row.get(name)]


def _spans(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a logarithmic axis shows more: all positive, and over a factor of ten."""
    values = [value for _, value in points]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 10


def _title(name: str) -> str:
    return name.partition("/")[2] or name.removeprefix("val_").replace("_", " ")
