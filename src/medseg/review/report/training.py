"""The curves of a training, from its history.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import DataError, OutputError
from medseg.evaluation.metrics import METRICS
from medseg.pictures import save_training_plots
from medseg.review.report.charts import Figure, curves
from medseg.review.report.folders import Row, read_source
from medseg.review.report.table import Column, Table, figure

_MEAN = "mean"


def history_plots(history: Sequence[Row]) -> list[Figure]:
    """Loss, each score of the validation, and learning rate over the epochs; those that history.csv has."""
    rate = _points(history, "learning_rate")
    figures = [_plot("Loss", {"training": _points(history, "loss")}, "loss")]
    for score, names in score_columns(history).items():
        series = {_title(name): _points(history, name) for name in names}
        heading = METRICS[score].heading if score in METRICS else score.replace("_", " ")
        figures.append(_plot(f"{heading}, validation", series, heading, whole=_MEAN))
    figures.append(_plot("Learning rate", {"learning rate": rate}, "learning rate", log=_spans(rate)))
    return [one for one in figures if one is not None]


def save_plots(folders: Sequence[Path]) -> list[Path]:
    """Draw training.png and training.svg again in those of the folders that are training runs; their paths.

    Raises
    ------
    DataError
        None of the folders has a history.csv.
    OutputError
        matplotlib is not installed, or a folder cannot be written.
    """
    histories = {run.folder: run.history for run in read_source(folders).runs if run.history}
    if not histories:
        raise DataError(
            "no plots to save", got="no history.csv", expected="the folder of a training run among the folders"
        )
    try:
        return [path for folder, history in histories.items() for path in _saved(folder, history)]
    except ModuleNotFoundError as error:
        raise OutputError(
            "plots need a package that is not installed",
            got=f"no module {error.name}",
            next_step="install it: pip install 'medseg[report]'",
        ) from error
    except OSError as error:
        raise OutputError("the plots cannot be written", got=error.strerror) from error


def _saved(folder: Path, history: Sequence[Row]) -> list[Path]:
    return save_training_plots([{name: float(cell) for name, cell in row.items() if cell} for row in history], folder)


def history_table(history: Sequence[Row]) -> Table:
    """history.csv as it is."""
    names = list(history[0])
    columns = [Column(name.replace("_", " "), numeric=True) for name in names]
    return Table("Each epoch", columns, [[figure(row[name]) for name in names] for row in history])


def score_columns(history: Sequence[Row]) -> dict[str, list[str]]:
    """Score to its columns of the validation, the mean first: "dice" to val_mean_dice, val_dice/<label>."""
    found: dict[str, list[str]] = {}
    for name in history[0] if history else ():
        if name.startswith("val_"):
            found.setdefault(name.partition("/")[0].removeprefix("val_").removeprefix("mean_"), []).append(name)
    return {score: sorted(names, key=lambda name: "/" in name) for score, names in found.items()}


def _plot(
    title: str, series: dict[str, list[tuple[float, float]]], label: str, *, log: bool = False, whole: str = ""
) -> Figure | None:
    filled = {name: points for name, points in series.items() if points}
    return curves(title, filled, y_label=label, log=log, whole=whole) if filled else None


def _points(history: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[name])) for row in history if row.get(name)]


def _spans(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a logarithmic axis shows more: all positive, and over a factor of ten."""
    values = [value for _, value in points]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 10


def _title(name: str) -> str:
    """The label that a column is of; the column without one is the mean."""
    return name.partition("/")[2] or _MEAN
